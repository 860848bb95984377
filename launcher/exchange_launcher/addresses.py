"""Addresses as people type them: where a service answers on this machine, and where on the network."""

import contextlib
import ipaddress
import socket

import psutil

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
_BEYOND = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses of no machine (RFC 5737, RFC 3849). They are reached by the default route, if at all."""
_VIRTUAL = ("docker", "br-", "veth", "virbr", "vmnet", "tun", "tap", "wg")
"""How the interfaces begin that lead to no other machine of the room."""


def url(host: str, port: int) -> str:
    """The URL of a port on a host."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_host(host: str) -> str:
    """How this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def public_host(host: str) -> str | None:
    """How other machines reach what listens on `host`; None without an address on a network. Sends no traffic."""
    if host not in WILDCARDS:
        return host
    families = [socket.AF_INET6] if host == "::" else [socket.AF_INET]
    if host == "::" and _takes_both():
        families.insert(0, socket.AF_INET)
    for family in families:
        if address := _of_default_route(family) or _of_an_interface(family):
            return address
    return None


def _takes_both() -> bool:
    """Whether what listens on :: takes IPv4 too."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            return not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        return False


def _of_default_route(family: socket.AddressFamily) -> str | None:
    """This machine's address on the interface of the default route. To connect a UDP socket sends no traffic."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((_BEYOND[family], 9))
        address = str(probe.getsockname()[0])
        return address if _reaches_others(address) else None
    return None


def _of_an_interface(family: socket.AddressFamily) -> str | None:
    """The first address of an interface that is up."""
    up = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if name.startswith(_VIRTUAL) or name not in up or not up[name].isup:
            continue
        for one in addresses:
            if one.family == family and _reaches_others(one.address):
                return str(one.address)
    return None


def _reaches_others(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)
