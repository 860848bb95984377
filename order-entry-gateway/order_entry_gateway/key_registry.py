"""The API keys of clients: which keys were issued and revoked, as read from `data_feed`, and the way to revoke one."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from microexchange.log import LogUnavailableError
from microexchange.records import Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import KeyIssued, KeyRevoked, ParticipantChanged
from order_entry_gateway.order_history import OrderHistory
from order_entry_gateway.subscriptions import Subscriptions

Publish = Callable[[Record], "asyncio.Future[None]"]
"""Append a report to `data_feed`. The future is done when the report is durable."""


class KeyRegistry:
    """The keys of all clients."""

    def __init__(
        self,
        publish: Publish,
        history: OrderHistory,
        subscriptions: Subscriptions,
        timeout_seconds: float,
        limit: int = 0,
    ) -> None:
        """`limit` is the number of valid keys that a client may have; 0 for no limit."""
        self.revoked: set[str] = set()
        """Ids of revoked keys."""
        self._issued: dict[str, set[str]] = {}
        """Ids of the keys issued since this gateway started, by client."""
        self._publish = publish
        self._history = history
        self._subscriptions = subscriptions
        self._timeout_seconds = timeout_seconds
        self._limit = limit
        self._reserved: Counter[str] = Counter()
        """Keys that are being issued, by client."""

    def apply(self, report: Record) -> None:
        """Apply a report of a gateway, this one or another."""
        if isinstance(report, KeyIssued):
            self._issued.setdefault(report.client_id, set()).add(report.key_id)
        elif isinstance(report, KeyRevoked):
            self.revoked.add(report.key_id)
            self._subscriptions.publish_revocation(report.key_id)

    async def exists(self, client_id: str, key_id: str) -> bool:
        """Return whether the client has or had that key.

        Raises:
            Refusal: `UNAVAILABLE`: the database is not available.
        """
        if key_id in self._issued.get(client_id, ()):
            return True
        return key_id in {stored_id for stored_id, _, _ in await self._history.keys(client_id)}

    async def valid_ids(self, client_id: str) -> list[str]:
        """Return the ids of the client's keys that are not revoked.

        Raises:
            Refusal: `UNAVAILABLE`: the database is not available.
        """
        stored = {key_id for key_id, _, revoked_at in await self._history.keys(client_id) if revoked_at is None}
        return sorted((stored | self._issued.get(client_id, set())) - self.revoked)

    @contextlib.asynccontextmanager
    async def reserve(self, client_id: str) -> AsyncIterator[None]:
        """Keep room for one more key of a client while it is issued.

        Raises:
            Refusal: `LIMIT_EXCEEDED`: it has too many valid keys. `UNAVAILABLE`: the database is not available.
        """
        self._reserved[client_id] += 1
        place = self._reserved[client_id]
        try:
            if self._limit:
                valid = await self.valid_ids(client_id)
                if len(valid) + place > self._limit:
                    text = f"{client_id} has {self._limit} API keys, which is the limit: revoke some"
                    raise Refusal(Code.LIMIT_EXCEEDED, text)
            yield
        finally:
            self._reserved[client_id] -= 1
            if not self._reserved[client_id]:
                del self._reserved[client_id]

    async def publish(self, report: KeyIssued | KeyRevoked | ParticipantChanged) -> None:
        """Append the report to `data_feed`, and wait until it is durable.

        Raises:
            Refusal: `UNAVAILABLE`: nothing was done. `OUTCOME_UNKNOWN`: the report may become durable later.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._publish(report)
        except LogUnavailableError as error:
            raise Refusal(Code.UNAVAILABLE, "the exchange's log is not available: nothing was done") from error
        except TimeoutError as error:
            raise self._timed_out("the exchange's log has not confirmed it", report.client_id) from error

    async def revoke(self, client_id: str, key_id: str) -> None:
        """Revoke a key, and wait until this gateway rejects it.

        Raises:
            Refusal: As `publish` does.
        """
        revoked = asyncio.Event()
        self._subscriptions.subscribe_to_revocation(key_id, revoked.set)
        try:
            await self.publish(KeyRevoked(client_id, key_id, time.time_ns()))
            async with asyncio.timeout(self._timeout_seconds):
                await revoked.wait()
        except TimeoutError as error:
            raise self._timed_out("it is on the exchange's log, and this gateway has not read it", client_id) from error
        finally:
            self._subscriptions.unsubscribe_from_revocation(key_id, revoked.set)

    def _timed_out(self, problem: str, client_id: str) -> Refusal:
        text = f"{problem} within {self._timeout_seconds:g} s; it may still take effect: call GET /clients/{client_id}/keys"
        return Refusal(Code.OUTCOME_UNKNOWN, text)
