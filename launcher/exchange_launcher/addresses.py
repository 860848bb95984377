"""The addresses of a service on this machine and on the network."""

import contextlib
import ipaddress
import socket

import psutil

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound  # nosec B104
_DOCUMENTATION_ADDRESSES = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses that no machine has (RFC 5737, RFC 3849). Only the default route leads to them."""
_VIRTUAL_PREFIXES = ("docker", "br-", "veth", "virbr", "vmnet", "tun", "tap", "wg")
"""Prefixes of the names of virtual interfaces. Other machines on the network cannot connect to their addresses."""


def url(host: str, port: int) -> str:
    """Return the URL of a port on a host."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_host(host: str) -> str:
    """Return the address by which this machine connects to a service that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound  # nosec B104


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to `host`."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def public_host(host: str) -> str | None:
    """Return the address by which other machines connect to a service that listens on `host`.

    Return None if this machine has no address on a network. The function sends no traffic.
    """
    if host not in WILDCARDS:
        return host
    families = [socket.AF_INET6] if host == "::" else [socket.AF_INET]
    if host == "::" and _accepts_ipv4_on_ipv6():
        families.insert(0, socket.AF_INET)
    for family in families:
        if address := _of_default_route(family) or _of_an_interface(family):
            return address
    return None


def _accepts_ipv4_on_ipv6() -> bool:
    """Return whether a service that listens on `::` also accepts IPv4 connections."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            return not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        return False


def _of_default_route(family: socket.AddressFamily) -> str | None:
    """Return this machine's address on the interface of the default route, or None."""
    # `connect` of a UDP socket sends no traffic.
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((_DOCUMENTATION_ADDRESSES[family], 9))
        address = str(probe.getsockname()[0])
        return address if _is_public(address) else None
    return None


def _of_an_interface(family: socket.AddressFamily) -> str | None:
    """Return the first address of an interface that is up, or None."""
    up = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if name.startswith(_VIRTUAL_PREFIXES) or name not in up or not up[name].isup:
            continue
        for address in addresses:
            if address.family == family and _is_public(address.address):
                return str(address.address)
    return None


def _is_public(address: str) -> bool:
    """Return whether other machines may be able to connect to an address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)
