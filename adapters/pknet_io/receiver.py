"""How a UdpSocket receives: one call for a datagram, or for a run of them that the kernel merged."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pknet_io import constants, control, options
from pknet_io.addresses import Address, to_address

if TYPE_CHECKING:
    from pknet_io.local import LocalAddress, LocalAddresses
    from pknet_io.stats import UdpStats

__all__ = ["Received", "Receiver"]

_BUFFER_BYTES = 1 << 16  # more than any datagram, and than any run that UDP_GRO merges


@dataclass(slots=True)
class Received:
    """One datagram, or a run of them that the kernel merged.

    `data` is a window on the socket's own buffer: it holds until the next `receive`. Copy what is to live
    longer.
    """

    data: memoryview
    segment_size: int | None
    """None for one datagram; else `data` is datagrams of this many bytes, the last maybe shorter."""
    remote: Address
    local: LocalAddress
    ecn: int
    """The two ECN bits (RFC 3168), 0 where the system does not tell."""


class Receiver:
    """The receiving half of a UdpSocket."""

    def __init__(
        self,
        sock: socket.socket,
        family: constants.Family,
        local_addresses: LocalAddresses,
        stats: UdpStats,
        *,
        wildcard: bool,
    ) -> None:
        self._sock = sock
        self._level = family.level
        self._pktinfo = family.pktinfo
        self._tos = family.received_tos
        self._local_addresses = local_addresses
        self._own = local_addresses.own
        self._by_message = local_addresses.by_message
        self._stats = stats
        self._drops = bytes(4)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._buffers = [self._buffer]
        self._window = memoryview(self._buffer).toreadonly()
        self._has_messages = hasattr(sock, "recvmsg_into") and any(
            [
                options.turn_on(sock, constants.SOL_UDP, constants.UDP_GRO),
                options.turn_on(sock, socket.SOL_SOCKET, constants.SO_RXQ_OVFL),
                options.turn_on(sock, family.level, family.receive_tos),
                # A socket bound to one address has no need to be told.
                wildcard and options.turn_on(sock, family.level, family.receive_pktinfo),
            ]
        )

    def receive(self) -> Received | None:
        """Take what the kernel has next, None if it has nothing."""
        while True:
            try:
                if self._has_messages:
                    size, messages, _, sockaddr = self._sock.recvmsg_into(
                        self._buffers, control.CONTROL_SPACE
                    )
                else:
                    size, sockaddr = self._sock.recvfrom_into(self._buffer)
                    messages = []
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in constants.ICMP_ERRORS:
                    raise
                self._stats.icmp_errors += 1
            else:
                break
        # From here on, what runs for every datagram is written out: each call of a function would cost a
        # twentieth of the system's own.
        local = self._own
        segment_size = None
        ecn = 0
        for level, kind, value in messages:
            if level == self._level:
                if kind == self._pktinfo:
                    local = self._by_message.get(value) or self._local_addresses.learn(value)
                elif kind == self._tos:
                    ecn = value[control.LOW_OCTET] & 3
            elif level == constants.SOL_UDP:
                if kind == constants.UDP_GRO:
                    segment_size = control.parse_integer(value)
            elif kind == constants.SO_RXQ_OVFL and level == socket.SOL_SOCKET:
                self._count_drops(value)
        if segment_size is None:
            self._stats.received += 1
        else:
            self._stats.received += -(-size // segment_size)
            self._stats.received_runs += 1
        remote = sockaddr if len(sockaddr) == 2 else to_address(sockaddr)
        return Received(self._window[:size], segment_size, remote, local, ecn)

    def _count_drops(self, total: bytes) -> None:
        if total != self._drops:
            # The kernel's number is cumulative and has 32 bits.
            new = control.parse_integer(total) - control.parse_integer(self._drops)
            self._stats.kernel_drops += new & 0xFFFF_FFFF
            self._drops = total
