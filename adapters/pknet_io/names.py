"""Names of hosts to addresses."""

from __future__ import annotations

import errno
import socket
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    Address = tuple[str, int]

__all__ = ["ATTEMPT_DELAY", "any_address_like", "host_and_port", "of_family", "resolve", "resolve_all"]

# Seconds from the dial of one address to that of the next (RFC 8305 section 8, Connection Attempt Delay).
ATTEMPT_DELAY = 0.25

# Of all names together: as many as a node may have (pknet.network.NodeInfo).
MAX_ADDRESSES = 16


def host_and_port(address: Any) -> Address:
    """Return the (host, port) of an address as programs give it to sockets.

    Those of IPv6 may have a flow label, which is passed over, and a scope. Raises TypeError for what is no
    address.
    """
    if not isinstance(address, tuple | list) or not 2 <= len(address) <= 4 or not isinstance(address[0], str):
        raise TypeError(f"an address is (host, port), not {address!r}")
    host, port, *rest = address
    scoped = len(rest) == 2 and rest[1] and "%" not in host
    return (f"{host}%{rest[1]}" if scoped else host), _port_number(port)


def resolve(host: str, port: int | str) -> list[Address]:
    """Look up a host and return its addresses as (host, port), the system's first choice first.

    `port`: a number, as text too, or the name of a service. Blocks while the system asks its name servers.
    Raises OSError (socket.gaierror) if there is none,
    OverflowError if there can't be such a port.
    """
    port = _port_number(port)
    if not 0 <= port <= 65535:
        raise OverflowError(f"port must be 0-65535, not {port}")
    found: list[Address] = []
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICSERV)
    except UnicodeError:
        # A label that is empty, or longer than 63 characters.
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not a name that a host can have") from None
    for family, _, _, _, address in answers:
        if family in (socket.AF_INET, socket.AF_INET6):
            found.append((str(address[0]), int(address[1])))
    if not found:
        raise OSError(f"{host} has no IPv4 or IPv6 address")
    return list(dict.fromkeys(found))[:MAX_ADDRESSES]


def resolve_all(addresses: Iterable[Address]) -> tuple[tuple[Address, ...], list[str]]:
    """Look up several hosts; return their addresses, and those hosts that have none.

    What is an address already stays. At most 16 are returned, the first of each host before the second of
    any.
    """
    found: list[list[Address]] = []
    unknown = []
    for host, port in addresses:
        try:
            found.append(resolve(host, port))
        except OSError:
            unknown.append(host)
    in_turn = (address for rank in zip_longest(*found) for address in rank if address is not None)
    return tuple(dict.fromkeys(in_turn))[:MAX_ADDRESSES], unknown


def of_family(host: str, addresses: list[Address], own: Address | None) -> list[Address]:
    """Return those of a host's addresses that a socket bound to `own` can send to; all if that is None.

    Raises OSError if there is none, or if the port is 0, which nobody has.
    """
    if any(not port for _, port in addresses):
        raise OSError(errno.EADDRNOTAVAIL, f"nobody can have port 0 of {host}")
    found = [address for address in addresses if own is None or (":" in address[0]) == (":" in own[0])]
    if not found:
        raise OSError(f"{host} has no address of the family of {own and own[0]}")
    return found


def any_address_like(address: Address) -> Address:
    """Return what to bind a socket to that is to send to an address of this family."""
    return ("::" if ":" in address[0] else "0.0.0.0"), 0


def _port_number(port: int | str) -> int:
    if not isinstance(port, int | str):
        raise TypeError(f"a port is a number, not {port!r}")
    if isinstance(port, int):
        return port
    return int(port) if port.isdecimal() else socket.getservbyname(port)
