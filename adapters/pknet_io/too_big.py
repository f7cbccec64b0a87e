"""Datagrams that the system refused as too long for the path, and telling the machine that made them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from pknet.machine import Machine
    from pknet_io.addresses import Sockaddr
    from pknet_io.constants import Family
    from pknet_io.udp import UdpSocket

__all__ = ["QUOTED_BYTES", "PacketTooBig", "largest_datagram", "too_big_reporter"]

# So much of a datagram is kept: what tells whose it was.
QUOTED_BYTES = 64


class PacketTooBig(NamedTuple):
    """A datagram that was to leave with DF, and is longer than the system says that the path carries."""

    data: bytes
    """The first bytes of it."""
    max_datagram: int | None
    """Longest UDP payload that the system lets pass, None where it doesn't say."""
    remote: Any
    local: Hashable | None


def largest_datagram(family: Family, sockaddr: Sockaddr) -> int | None:
    """Return the longest UDP payload that the system lets pass to an address; None where it doesn't say.

    That is the MTU of the route: of the interface, or what an ICMP message has lowered it to.
    """
    if family.mtu is None:
        return None
    try:
        # Only a connected socket is told.
        with socket.socket(family.address_family, socket.SOCK_DGRAM) as asking:
            asking.connect(sockaddr)
            return asking.getsockopt(family.level, family.mtu) - family.header_bytes
    except OSError:
        return None


def too_big_reporter(machine: Machine) -> Callable[[Iterable[UdpSocket], float], bool]:
    """Return what tells a machine of the datagrams that sockets refused as too long.

    It returns whether there were any. A machine that can't be told sends such datagrams in vain.
    """
    receive = getattr(machine, "receive_packet_too_big", None)

    def report(sockets: Iterable[UdpSocket], now: float) -> bool:
        told = False
        for udp in sockets:
            for data, max_datagram, remote, local in udp.take_too_big():
                if receive is not None:
                    receive(data, max_datagram, remote, local, now)
                    told = True
        return told

    return report
