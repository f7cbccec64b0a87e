"""Sockets that fail on purpose, and the few verbs that the tests of pknet_io share."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from typing import TYPE_CHECKING

from pknet_io import Received, UdpSocket, constants

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOOPBACKS = ["127.0.0.1", "::1"]
WILDCARDS = {"127.0.0.1": "0.0.0.0", "::1": "::"}


class FailingSocket(socket.socket):
    """A real socket whose next sends fail with the errnos of `script`; 0 lets one through."""

    script: Sequence[int] = ()

    def fail(self, *script: int) -> None:
        self.script = script

    def _maybe_fail(self) -> None:
        code, *self.script = self.script or [0]
        if code:
            raise OSError(code, os.strerror(code))

    def sendto(self, *args):
        self._maybe_fail()
        return super().sendto(*args)

    def sendmsg(self, *args):
        self._maybe_fail()
        return super().sendmsg(*args)


class RecordingSocket(FailingSocket):
    """A socket that sends nothing: `wire` has what would have left, `calls` the segment size of each call."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        super().__init__(family, socket.SOCK_DGRAM)
        self.wire: list[bytes] = []
        self.calls: list[int | None] = []
        self.addresses: list[tuple[str, int] | tuple[str, int, int, int]] = []

    def _record(self, data: bytes, segment_size: int | None) -> None:
        self.calls.append(segment_size)
        self._maybe_fail()
        size = segment_size or max(len(data), 1)
        self.wire += [data[at : at + size] for at in range(0, len(data), size)]

    def sendto(self, data, address):
        self.addresses.append(address)
        self._record(bytes(data), None)

    def sendmsg(self, buffers, messages, flags, address):
        self.addresses.append(address)
        for level, kind, value in messages:
            if (level, kind) == (constants.SOL_UDP, constants.UDP_SEGMENT):
                self._record(b"".join(buffers), struct.unpack("=H", value)[0])
                return
        self._record(b"".join(buffers), None)


class PlainSocket(socket.socket):
    """A socket as on Windows, where Python has no sendmsg and no recvmsg_into."""

    @property
    def sendmsg(self):
        raise AttributeError("sendmsg")

    @property
    def recvmsg_into(self):
        raise AttributeError("recvmsg_into")


def loopback(host: str, kind: type[socket.socket] = socket.socket) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = kind(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def receive_one(sock: UdpSocket) -> Received:
    """Wait for what comes next."""
    readable, _, _ = select.select([sock], [], [], 10)
    received = sock.receive() if readable else None
    assert received is not None, "nothing came"
    return received


def split(received: Received) -> list[bytes]:
    data = bytes(received.data)
    size = received.segment_size or max(len(data), 1)
    return [data[at : at + size] for at in range(0, max(len(data), 1), size)]


def receive_datagrams(sock: UdpSocket, count: int) -> list[bytes]:
    """Wait for `count` datagrams; return all that has come by then, also if it is more."""
    datagrams: list[bytes] = []
    while len(datagrams) < count:
        datagrams += split(receive_one(sock))
    while (received := sock.receive()) is not None:
        datagrams += split(received)
    return datagrams


def numbered(sizes: Iterable[int]) -> list[bytes]:
    """Return datagrams of these sizes, each with a content of its own."""
    return [(index.to_bytes(4, "big") * (size // 4 + 1))[:size] for index, size in enumerate(sizes)]


def until_deliverable(host: str) -> str:
    """Return the shell command that waits until the kernel delivers to an IPv6 address that was just added.

    It has the address at once, but gets the route that delivers to it from a worker, also without duplicate
    address detection: what is sent to it before that is lost, with no error.
    """
    return f"until ip -6 route show table local | grep -q '^local {host} '; do :; done"


FULL = errno.EAGAIN
