"""The count of open connections, and its limits: of the service, of an address and of a client.

A connection takes a place when the server accepts it, and leaves it when it ends. The gateway and the feed use this module.

A proxy, or the gateway in front of a feed, has connections of many clients. Their WebSockets move to the address that the
trusted header names. Their HTTP connections count for no address.
"""

import resource
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from starlette.types import Scope

from microexchange.listening import is_loopback
from microexchange.refusals import Code, Refusal

LOCAL_RESERVE = 64
"""Connections from this machine beyond the total, so that health checks and the admin still have an answer."""
ADDRESS_RESERVE = 64
"""Connections of an address beyond its limit that may send one request. It is refused, unless a gateway forwards it: the
gateway and its clients may have one address."""
DESCRIPTOR_RESERVE = 256
"""Descriptors of a process that are not for clients: the log, the databases and files."""
MAX_DESCRIPTORS = 65_536
"""The number of descriptors that a service asks the operating system for."""
_PLACE = "microexchange.place"
"""The field of a scope with the place of its connection."""


def available_connections() -> int:
    """Raise the number of descriptors of this process as far as it may, and return the connections that it suffices for.

    A forwarded WebSocket needs two descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return (wanted - DESCRIPTOR_RESERVE) // 2


class ConnectionLimits:
    """The open connections of one service, by address and by client."""

    def __init__(
        self, total: int = 0, per_address: int = 0, per_client: int = 0, trusted_proxies: Sequence[str] = ()
    ) -> None:
        """Each limit is a number of connections; 0 for no limit. `trusted_proxies` are addresses and networks."""
        self.total = total
        self.per_address = per_address
        self.per_client = per_client
        self.open = 0
        """Connections that are open now."""
        self.ended = 0
        """Connections that have ended since the start."""
        self.refused = 0
        """Connections beyond a limit that still read their refusal."""
        self._proxies = [ip_network(proxy) for proxy in trusted_proxies]
        self._addresses: Counter[str] = Counter()
        self._clients: Counter[str] = Counter()

    def take(self, address: str) -> "Place":
        """Return a place for a new connection from `address`.

        Raises:
            Refusal: `UNAVAILABLE`: the service has too many connections. `RATE_LIMITED`: the address has too many.
        """
        is_proxy = self._is_proxy(address)
        reserve = LOCAL_RESERVE if not is_proxy and is_loopback(address) else 0
        if self.total and self.open >= self.total + reserve:
            raise Refusal(Code.UNAVAILABLE, f"the service has {self.total} connections, which is the limit: try again")
        place = Place(self)
        if address and not is_proxy:
            place.begin(address)
        self.open += 1
        return place

    def by_address(self, address: str) -> int:
        """Return the open connections that count for `address`."""
        return self._addresses[address]

    def by_client(self, client_id: str) -> int:
        """Return the open WebSockets of a client."""
        return self._clients[client_id]

    def add_address(self, address: str, reserve: int = 0) -> None:
        """Count a connection of `address`, which may be in the reserve beyond the limit.

        Raises:
            Refusal: `RATE_LIMITED`: it has too many.
        """
        if self.per_address and self._addresses[address] >= self.per_address + reserve:
            raise _too_many(address, self.per_address)
        self._addresses[address] += 1

    def check_address(self, address: str) -> None:
        """Check that an address has no connections in its reserve.

        Raises:
            Refusal: `RATE_LIMITED`: it has some.
        """
        if self.per_address and self._addresses[address] > self.per_address:
            raise _too_many(address, self.per_address)

    def add_client(self, client_id: str) -> None:
        """Count a WebSocket of a client.

        Raises:
            Refusal: `RATE_LIMITED`: it has too many.
        """
        if self.per_client and self._clients[client_id] >= self.per_client:
            raise _too_many(client_id, self.per_client)
        self._clients[client_id] += 1

    def remove(self, address: str, client_id: str) -> None:
        """Count one connection less for an address and a client. Either may be empty."""
        for counter, name in ((self._addresses, address), (self._clients, client_id)):
            if name:
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)


class Place:
    """One open connection in the counts."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self.address = ""
        """The address that it counts for; empty for none."""
        self._client_id = ""
        self._is_taken = True
        self._is_confirmed = True
        """False for a connection in the reserve of its address, until the address has fewer."""

    def begin(self, address: str) -> None:
        """Count a new connection for the address that it is from.

        Raises:
            Refusal: `RATE_LIMITED`: the address and its reserve are full.
        """
        self._limits.add_address(address, ADDRESS_RESERVE)
        self.address, self._is_confirmed = address, False

    def confirm(self) -> None:
        """Check that the connection is within the limit of its address. Then it stays so.

        Raises:
            Refusal: `RATE_LIMITED`: it is not.
        """
        if not self._is_confirmed:
            self._limits.check_address(self.address)
            self._is_confirmed = True

    def move_to(self, address: str) -> None:
        """Count the connection for `address` alone, or for no address if it is empty.

        Raises:
            Refusal: `RATE_LIMITED`: the address has too many. Then the connection counts as before.
        """
        if self._is_taken and address != self.address:
            if address:
                self._limits.add_address(address)
            self._limits.remove(self.address, "")
            self.address, self._is_confirmed = address, True

    def give_to(self, client_id: str) -> None:
        """Count the connection for a client.

        Raises:
            Refusal: `RATE_LIMITED`: the client has too many. Then the connection counts as before.
        """
        if self._is_taken and client_id != self._client_id:
            self._limits.add_client(client_id)
            self._limits.remove("", self._client_id)
            self._client_id = client_id

    def leave(self) -> None:
        """End the count of the connection. A second call has no effect."""
        if self._is_taken:
            self._is_taken = False
            self._limits.remove(self.address, self._client_id)
            self._limits.open -= 1
            self._limits.ended += 1


def put_place(scope: Any, place: Place) -> None:
    """Store the place of its connection in `scope`."""
    scope[_PLACE] = place


def place_of(scope: Scope) -> Place:
    """Return the place of a scope's connection. A scope that no server made has one without limits."""
    found: Place = scope.get(_PLACE) or uncounted_place()
    return found


def uncounted_place() -> Place:
    """Return the place of a connection that no server counts."""
    return ConnectionLimits().take("")


def _too_many(name: str, limit: int) -> Refusal:
    return Refusal(Code.RATE_LIMITED, f"{name} has {limit} connections, which is the limit: close some")
