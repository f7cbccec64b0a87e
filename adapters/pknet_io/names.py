"""Names of hosts to addresses."""

from __future__ import annotations

import contextlib
import socket
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    Address = tuple[str, int]

__all__ = ["any_address_like", "resolve", "resolve_all"]

# Of all names together: as many as a node may have (pknet.network.NodeInfo).
MAX_ADDRESSES = 16


def resolve(host: str, port: int) -> list[Address]:
    """Look up a host and return its addresses as (host, port), the system's first choice first.

    Blocks while the system asks its name servers. Raises OSError (socket.gaierror) if there is none.
    """
    found: list[Address] = []
    for family, _, _, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICSERV
    ):
        if family in (socket.AF_INET, socket.AF_INET6):
            found.append((str(address[0]), int(address[1])))
    if not found:
        raise OSError(f"{host} has no IPv4 or IPv6 address")
    return list(dict.fromkeys(found))[:MAX_ADDRESSES]


def resolve_all(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Look up several hosts, and leave out those that have no address; what is an address already stays.

    At most 16 are returned, the first of each host before the second of any.
    """
    found: list[list[Address]] = []
    for host, port in addresses:
        with contextlib.suppress(OSError):
            found.append(resolve(host, port))
    in_turn = (address for rank in zip_longest(*found) for address in rank if address is not None)
    return tuple(dict.fromkeys(in_turn))[:MAX_ADDRESSES]


def any_address_like(address: Address) -> Address:
    """Return what to bind a socket to that is to send to an address of this family."""
    return ("::" if ":" in address[0] else "0.0.0.0"), 0
