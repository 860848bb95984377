"""A client's session: its limits, its requests and its reports. All protocols use it.

A session serves one REST request or one connection. The methods that only build a command do not wait. The caller sends
the command with `send`, and converts the result with `entered_order` or `changed_order`. The coroutines send a request and
wait for its result.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from microexchange.access import as_client
from microexchange.commands import CancelAll, CancelOrder, Command, NewOrder, ReplaceOrder
from microexchange.enums import OrderStatus, Side
from microexchange.participants import name_key
from microexchange.records import Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import CommandRejected, OrderRepeated, OrderReport, Trade
from order_entry_gateway.administration import Administration
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.pending_commands import OnResult
from order_entry_gateway.requests import (
    AmendRequest,
    ClientRequest,
    OrderRequest,
    find_security,
    new_order,
    replace_order,
)
from order_entry_gateway.subscriptions import OnReport, OnRevoked

MAX_RESUMED_REPORTS = 10_000
"""Missed order reports that a client can receive when it resumes."""


class EnteredOrder(NamedTuple):
    """The answer to a new order."""

    report: OrderReport
    """Its newest report."""
    trades: list[Trade]
    """The trades that its entry caused."""
    is_duplicate: bool = False
    """Whether an earlier command has entered it."""


class ClientSession:
    """The access of an authenticated client to the market."""

    __slots__ = ("_on_report", "_on_revoked", "_order_service", "address", "client_id", "key_id")

    def __init__(self, order_service: OrderService, client_id: str, key_id: str = "", address: str = "") -> None:
        """`key_id` is the id of the API key; empty for none. `address` is the one whose limit of accounts counts.

        Raises:
            Refusal: `FORBIDDEN`: it is the admin.
        """
        self._order_service = order_service
        self.client_id = as_client(client_id)
        self.key_id = key_id
        self.address = address
        self._on_report: OnReport | None = None
        self._on_revoked: OnRevoked | None = None

    # --- reports --------------------------------------------------------------------------------------------

    def connect(self, on_report: OnReport, on_revoked: OnRevoked) -> None:
        """Receive the client's order reports, and the revocation of the API key, until `disconnect`. Planned cancels are
        dropped.

        The caller counts the connection for the client: `Place.give_to`.
        """
        subscriptions = self._order_service.subscriptions
        self._on_report, self._on_revoked = on_report, on_revoked
        subscriptions.subscribe_to_revocation(self.key_id or name_key(self.client_id), on_revoked)
        self._order_service.drop_planned_cancel(self.client_id)
        subscriptions.subscribe_to_orders(self.client_id, on_report)

    def disconnect(self, cancel_after_seconds: float | None = None) -> None:
        """End the subscriptions of `connect`. Cancel the client's orders after a delay, or keep them if it is None."""
        if self._on_report is not None and self._on_revoked is not None:
            subscriptions = self._order_service.subscriptions
            subscriptions.unsubscribe_from_orders(self.client_id, self._on_report)
            subscriptions.unsubscribe_from_revocation(self.key_id or name_key(self.client_id), self._on_revoked)
            self._on_report = self._on_revoked = None
            if cancel_after_seconds is not None:
                self._order_service.plan_cancel(self.client_id, cancel_after_seconds)

    async def missed_reports(self, after: int) -> list[tuple[int, OrderReport]]:
        """Return the engine's reports of the client's orders with numbers above `after`, up to now, oldest first, with their
        numbers.

        Raises:
            Refusal: `TOO_LARGE`: there are more than `MAX_RESUMED_REPORTS`. `UNAVAILABLE`: they are not in memory, and the
                database is not available.
        """
        recent_reports = self._order_service.recent_reports
        found: list[tuple[int, OrderReport]] = []
        if not recent_reports or recent_reports[0].number > after + 1:
            limit = MAX_RESUMED_REPORTS + 1
            found = await self._order_service.history.reports_after(self.client_id, after, limit)
        last = found[-1][0] if found else after
        recent = (entry for entry in recent_reports if entry.number > last and entry.report.client_id == self.client_id)
        found += [(entry.number, entry.report) for entry in recent]
        if len(found) > MAX_RESUMED_REPORTS:
            text = f"more than {MAX_RESUMED_REPORTS} reports were missed: log in without resume_from, and call GET /orders"
            raise Refusal(Code.TOO_LARGE, text, "resume_from")
        return found

    # --- limits ---------------------------------------------------------------------------------------------

    def admit(self, entering: bool = False) -> None:
        """Count one request. `entering` is true for a new order.

        Raises:
            Refusal: `RATE_LIMITED`: too many requests. `LIMIT_EXCEEDED`: too many open orders.
        """
        client_id, limits = self.client_id, self._order_service.limits
        seconds = limits.requests.take(client_id, time.monotonic())
        if seconds:
            text = f"more than {limits.requests.rate:g} requests a second: wait {seconds:.3f} s"
            raise Refusal(Code.RATE_LIMITED, text, retry_after=seconds, limit=limits.requests.rate)
        counts = self._order_service.state.open_order_counts
        if entering and limits.open_orders and counts.get(client_id, 0) >= limits.open_orders:
            text = f"you have {limits.open_orders} orders open, which is the limit: cancel some"
            raise Refusal(Code.LIMIT_EXCEEDED, text)

    @property
    def must_open_account(self) -> bool:
        """Return whether `open_first_account` must be called before an order, as in a classroom."""
        return self._order_service.policy.must_open_account(self.client_id, self._order_service.state.clients)

    async def open_first_account(self) -> None:
        """Open the client's account, if it has none.

        Raises:
            Refusal: The account could not be opened, or the address has opened too many.
        """
        self._order_service.limits.admit_account(self.address)
        try:
            await Administration(self._order_service).open_account(ClientRequest(client_id=self.client_id))
        except Refusal as refusal:
            if refusal.code is not Code.CLIENT_EXISTS:
                raise

    # --- requests without waiting ---------------------------------------------------------------------------

    def send(self, command: Command, on_result: OnResult) -> None:
        """Send a command of this session. `on_result` receives all reports that it caused, or a refusal."""
        self._order_service.send(command, on_result)

    def new_order(self, request: OrderRequest) -> NewOrder:
        """Return the command that enters an order now. `entered_order` converts its result.

        Raises:
            Refusal: The request is not valid, or no command can be sent.
        """
        command_id, now = self._order_service.next_command()
        return new_order(request, self._order_service.state.securities, self.client_id, command_id, now)

    def cancel_order(self, order_id: int) -> CancelOrder:
        """Return the command that cancels an order now. `changed_order` converts its result.

        The engine decides about an order that is not in memory: it may be old, and open.

        Raises:
            Refusal: `UNKNOWN_ORDER`, `ORDER_CLOSED`, or no command can be sent.
        """
        known = self.known_report(order_id)
        if known is not None:
            _check_open(known)
        command_id, now = self._order_service.next_command(even_if_full=True)
        return CancelOrder(command_id, now, self.client_id, order_id)

    def amend_order(self, known: OrderReport, request: AmendRequest) -> ReplaceOrder:
        """Return the command that changes an order now. `changed_order` converts its result. `known` is the order's newest
        report.

        Raises:
            Refusal: `ORDER_CLOSED`, the request is not valid, or no command can be sent.
        """
        _check_open(known)
        command_id, now = self._order_service.next_command()
        security = self._order_service.security(known.symbol)
        return replace_order(request, security, self.client_id, known.order_id, command_id, now)

    def cancel_all_orders(self, symbol: str, side: Side | None) -> CancelAll:
        """Return the command that cancels all open orders, or those of a security or a side. An empty `symbol` is all.

        Raises:
            Refusal: `UNKNOWN_SYMBOL`, or no command can be sent.
        """
        if symbol:
            self.check_symbol(symbol)
        command_id, now = self._order_service.next_command(even_if_full=True)
        return CancelAll(command_id, now, self.client_id, symbol, side)

    def known_report(self, order_id: int) -> OrderReport | None:
        """Return the newest report of the client's order, or None if the order is not in memory.

        Raises:
            Refusal: `UNKNOWN_ORDER`: it is another client's order.
        """
        known = self._order_service.known_report(order_id)
        return None if known is None else self._check_owner(known, order_id)

    def check_symbol(self, symbol: str) -> None:
        """Check that a security is listed.

        Raises:
            Refusal: `UNKNOWN_SYMBOL`.
        """
        find_security(self._order_service.state.securities, symbol)

    # --- requests that wait ---------------------------------------------------------------------------------

    async def enter(self, request: OrderRequest) -> EnteredOrder:
        """Enter an order. If it repeats an earlier one, return that one.

        Raises:
            Refusal: The order was rejected, or its outcome is not known.
        """
        if self.must_open_account:
            await self.open_first_account()
        command = self.new_order(request)
        reports = await self._order_service.request(command)
        if first_id := first_order_id(reports):
            return await self.first_order(first_id)
        return EnteredOrder(*entered_order(command.command_id, reports))

    async def first_order(self, order_id: int) -> EnteredOrder:
        """Return the present state of an order, as the answer to an order that repeats it.

        Raises:
            Refusal: `DUPLICATE_CLIENT_ORDER_ID`: the history of the order is removed. `UNAVAILABLE`: the database is not
                available.
        """
        try:
            return EnteredOrder(await self.find(order_id), [], is_duplicate=True)
        except Refusal as refusal:
            if refusal.code is not Code.UNKNOWN_ORDER:
                raise
        text = f"this is the client_order_id of your order {order_id}, whose history is removed: send a new one"
        raise Refusal(Code.DUPLICATE_CLIENT_ORDER_ID, text, "client_order_id")

    async def cancel(self, order_id: int) -> OrderReport:
        """Cancel an order. Return its newest report.

        Raises:
            Refusal: The order was not cancelled, or the outcome is not known.
        """
        result = await self._order_service.request(self.cancel_order(order_id))
        try:
            report, _ = changed_order(order_id, result)
        except Refusal as refusal:
            if refusal.code is Code.ORDER_CLOSED:
                await self.find(order_id)  # raises UNKNOWN_ORDER if it was never the client's
            raise
        return report

    async def amend(self, order_id: int, request: AmendRequest) -> tuple[OrderReport, list[Trade]]:
        """Change an order. Return its newest report, and the trades that the change caused.

        Raises:
            Refusal: The order was not changed, or the outcome is not known.
        """
        known = await self.find(order_id)
        return changed_order(order_id, await self._order_service.request(self.amend_order(known, request)))

    async def cancel_all(self, symbol: str = "", side: Side | None = None) -> list[OrderReport]:
        """Cancel all open orders, or those of a security or a side. Return their newest reports.

        Raises:
            Refusal: As `cancel_all_orders` does, or the outcome is not known.
        """
        reports = await self._order_service.request(self.cancel_all_orders(symbol, side))
        return [report for report in reports if isinstance(report, OrderReport)]

    async def find(self, order_id: int) -> OrderReport:
        """Return the newest report of an order, from memory or from the database.

        Raises:
            Refusal: `UNKNOWN_ORDER`, or `UNAVAILABLE` if the database is not available.
        """
        report = self._order_service.known_report(order_id)
        if report is None:
            report = await self._order_service.history.newest_report(self.client_id, order_id)
        return self._check_owner(report, order_id)

    async def search(
        self, client_order_id: str, symbol: str, only_open: bool, before: int, limit: int
    ) -> tuple[list[OrderReport], int | None]:
        """Return a page of the client's orders, newest first, each by its newest report, and the `before` of the next page.

        A report in memory is newer than a stored one. An empty `client_order_id` or `symbol` selects all.

        Raises:
            Refusal: `UNAVAILABLE`: the database is not available.
        """
        found = {
            report.order_id: report
            for report in self._order_service.known_reports(self.client_id)
            if report.order_id < before and client_order_id in ("", report.client_order_id) and symbol in ("", report.symbol)
        }
        stored: list[OrderReport] = []
        try:
            stored = await self._order_service.history.orders(self.client_id, client_order_id, symbol, before, limit)
        except Refusal:
            if not (client_order_id and found):
                raise
        found = {**{report.order_id: report for report in stored}, **found}
        page = sorted(found.values(), key=lambda report: report.order_id, reverse=True)
        next_before = page[limit - 1].order_id if len(page) >= limit else None
        return [report for report in page[:limit] if not (only_open and report.status.is_final)], next_before

    async def fills(self, symbol: str, before: int, limit: int) -> list[tuple[int, OrderReport]]:
        """Return a page of the client's stored fills, newest first, with their numbers. An empty `symbol` selects all.

        Raises:
            Refusal: `UNAVAILABLE`: the database is not available.
        """
        return await self._order_service.history.fills(self.client_id, symbol, before, limit)

    def _check_owner(self, known: OrderReport | None, order_id: int) -> OrderReport:
        if known is None or known.client_id != self.client_id:
            raise Refusal(Code.UNKNOWN_ORDER, f"you have no order {order_id}", "order_id")
        return known


def first_order_id(reports: Sequence[Record]) -> int:
    """Return the id of the order that a new order repeats, or 0. `reports` are those that its command caused."""
    return next((report.order_id for report in reports if isinstance(report, OrderRepeated)), 0)


def entered_order(order_id: int, reports: Sequence[Record]) -> tuple[OrderReport, list[Trade]]:
    """Return the newest report of a new order and its trades, from the reports that its command caused.

    Raises:
        Refusal: The order was rejected.
    """
    newest = _reports_of(order_id, reports)[-1]
    if newest.status is OrderStatus.REJECTED:
        field = "client_order_id" if newest.code == Code.DUPLICATE_CLIENT_ORDER_ID else None
        raise Refusal(Code(newest.code), newest.text, field)
    return newest, _trades_of(order_id, reports)


def changed_order(order_id: int, reports: Sequence[Record]) -> tuple[OrderReport, list[Trade]]:
    """Return the newest report of a changed or cancelled order and its trades, from the reports that the command caused.

    Raises:
        Refusal: The command was rejected.
    """
    own = _reports_of(order_id, reports)
    if own:
        return own[-1], _trades_of(order_id, reports)
    for report in reports:
        if isinstance(report, CommandRejected):
            if report.code == Code.UNKNOWN_ORDER:
                # The order was open when the gateway checked it. It has ended since.
                raise Refusal(Code.ORDER_CLOSED, f"order {order_id} ended before the request arrived", "order_id")
            raise Refusal(Code(report.code), report.text)
    raise Refusal(Code.INTERNAL, "the engine's answer has no report of the order")


def _check_open(known: OrderReport) -> None:
    if known.status.is_final:
        raise Refusal(Code.ORDER_CLOSED, f"order {known.order_id} is {known.status} already", "order_id")


def _reports_of(order_id: int, reports: Sequence[Record]) -> list[OrderReport]:
    return [report for report in reports if isinstance(report, OrderReport) and report.order_id == order_id]


def _trades_of(order_id: int, reports: Sequence[Record]) -> list[Trade]:
    """Return the order's trades. A command may also cause trades of others: triggered orders, an auction that ends."""
    return [
        report
        for report in reports
        if isinstance(report, Trade) and order_id in (report.taker_order_id, report.maker_order_id)
    ]
