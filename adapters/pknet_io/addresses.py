"""Between pknet's addresses and the socket module's.

An address of pknet is (host, port) for both families. The scope of a link-local IPv6 address stands in its
host as a numeric zone, "fe80::1%2" (RFC 4007 section 11.2): the number that the kernel gives with every
datagram.
"""

from __future__ import annotations

import socket
from typing import TypeAlias

__all__ = ["Address", "Sockaddr", "to_address", "to_sockaddr"]

Address: TypeAlias = tuple[str, int]
Sockaddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


def to_address(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Return the (host, port) of an AF_INET or AF_INET6 socket address."""
    if len(sockaddr) == 4 and sockaddr[3]:
        return f"{sockaddr[0].partition('%')[0]}%{sockaddr[3]}", sockaddr[1]
    return sockaddr[0], sockaddr[1]


def to_sockaddr(address: Address, family: int) -> Sockaddr | None:
    """Return the socket address of a (host, port), or None if it is not a numeric one of this family.

    A name is never looked up: what a peer told us to send to must not make this machine ask its resolver. A
    zone may be a number or the name of an interface.
    """
    host, port = address
    host, _, zone = host.partition("%")
    if not 0 <= port <= 0xFFFF or (zone and family != socket.AF_INET6):
        return None
    try:
        socket.inet_pton(family, host)
        scope = _scope(zone)
    except (OSError, ValueError):
        return None
    return (host, port) if family == socket.AF_INET else (host, port, 0, scope)


def _scope(zone: str) -> int:
    if not zone:
        return 0
    if not zone.isdecimal():
        return socket.if_nametoindex(zone)
    scope = int(zone)
    if scope > 0xFFFF_FFFF:
        raise ValueError("no interface has this number")
    return scope
