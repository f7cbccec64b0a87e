"""Names of hosts to addresses."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["resolve", "resolve_all"]


def resolve(host: str, port: int) -> tuple[Literal["IPv4", "IPv6"], tuple[str, int]]:
    """Look up a host and return the family and (host, port) of its first address.

    Blocks while the system asks its name servers. Raises OSError (socket.gaierror) if there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICSERV)
    for family, _, _, _, address in found:
        if family == socket.AF_INET:
            return "IPv4", (str(address[0]), int(address[1]))
        if family == socket.AF_INET6:
            return "IPv6", (str(address[0]), int(address[1]))
    raise OSError(f"{host} has no IPv4 or IPv6 address")


def resolve_all(addresses: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Look up several hosts, and leave out those that have no address; what is an address already stays."""
    found: list[tuple[str, int]] = []
    for host, port in addresses:
        try:
            found.append(resolve(host, port)[1])
        except OSError:
            continue
    return tuple(found)
