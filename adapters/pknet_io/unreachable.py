"""Datagrams for a port that nobody has, as Linux's error queue quotes them, and telling the machine."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, NamedTuple

from pknet_io import constants, options
from pknet_io.addresses import Address, to_address
from pknet_io.too_big import QUOTED_BYTES

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from pknet.machine import Machine
    from pknet_io.udp import UdpSocket

__all__ = ["ErrorQueue", "Unreachable", "unreachable_reporter"]

# struct sock_extended_err of <linux/errqueue.h>, as far as it matters: ee_errno, ee_origin.
_EXTENDED_ERROR = struct.Struct("=IB")
_FROM_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_CONTROL_SPACE = 256
_MAX_KEPT = 64


class Unreachable(NamedTuple):
    """A datagram that the remote's system has answered by ICMP: nobody has that port."""

    data: bytes
    """The first bytes of it, as many as the message quotes."""
    remote: Address


class ErrorQueue:
    """What ICMP messages say of a socket's datagrams, where the system tells (Linux, IP_RECVERR).

    It is off until it is wanted: while it is on, such a message may cost a datagram to somebody else.
    """

    def __init__(self, sock: socket.socket, family: constants.Family) -> None:
        self._sock = sock
        self._family = family
        self.is_on = False
        self.unreachable: list[Unreachable] = []

    def turn(self, wanted: bool) -> None:
        """Turn it on, or off."""
        if wanted:
            self.is_on = options.turn_on(self._sock, self._family.level, self._family.receive_errors)
        elif self.is_on and self._family.receive_errors is not None:
            self._sock.setsockopt(self._family.level, self._family.receive_errors, 0)
            self.is_on = False

    def read(self) -> None:
        """Take all that is in it: the socket stays ready to read until it is empty."""
        while True:
            try:
                data, messages, _, sockaddr = self._sock.recvmsg(
                    QUOTED_BYTES, _CONTROL_SPACE, constants.MSG_ERRQUEUE
                )
            except OSError:
                return
            if len(self.unreachable) < _MAX_KEPT and sockaddr and self._says_unreachable(messages):
                self.unreachable.append(Unreachable(data, to_address(sockaddr)))

    def _says_unreachable(self, messages: list[tuple[int, int, bytes]]) -> bool:
        for level, kind, value in messages:
            if level == self._family.level and kind == self._family.receive_errors:
                code, origin = _EXTENDED_ERROR.unpack_from(value)
                return code == errno.ECONNREFUSED and origin in _FROM_ICMP
        return False


def unreachable_reporter(machine: Machine) -> Callable[[Iterable[UdpSocket], float], bool]:
    """Return what tells a machine of the datagrams for ports that nobody has.

    It returns whether there were any. A machine that can't be told finds out by silence.
    """
    receive = getattr(machine, "receive_unreachable", None)

    def report(sockets: Iterable[UdpSocket], now: float) -> bool:
        told = False
        for udp in sockets:
            for data, remote in udp.take_unreachable():
                if receive is not None:
                    receive(data, remote, udp.local, now)
                    told = True
        return told

    return report
