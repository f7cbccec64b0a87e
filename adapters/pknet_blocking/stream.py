"""A stream of a machine as an object that behaves as a socket."""

from __future__ import annotations

import errno
import os
import socket as sockets
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from pknet_blocking.files import open_file
from pknet_blocking.socketlike import SocketLike

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pknet.machine import ByteStream
    from pknet.network import NodeId
    from pknet.utp import UtpStats
    from pknet_blocking.connection import Connection

    Buffer = bytes | bytearray | memoryview

__all__ = ["Stream"]

# Bytes of a file that `sendfile` reads at a time.
FILE_PART = 1 << 18


class Stream(SocketLike):
    """A stream with the methods of a connected TCP socket; safe to use from several threads.

    One that nobody refers to any more is closed, with a ResourceWarning. `flags` have to be 0.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection
        # One for each file that is open. A set, for a finalizer must not wait for a lock.
        self._files: set[object] = set()

    @property
    def stream(self) -> ByteStream:
        """The machine's own stream: a UtpConnection, or a NodeStream."""
        return self._connection.stream

    @property
    def node_id(self) -> NodeId | None:
        """The id of the node at the other end, proven; None for plain uTP."""
        return self._connection.node_id

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended, one way or the other; what came before can still be received."""
        return self._connection.is_over

    @property
    def undelivered(self) -> int:
        """How many of the bytes that were sent are not known to have arrived."""
        with self._connection.driver.lock:
            return self._connection.undelivered

    def stats(self) -> UtpStats | None:
        """Return the figures of the uTP connection beneath; they stay when it is over."""
        with self._connection.driver.lock:
            return self.stream.stats()

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return at most `bufsize` bytes as soon as there are any; b"" at the end of the stream."""
        _refuse(flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if not bufsize:
            self._connection.check_open()
            return b""
        deadline = self._deadline()
        connection = self._connection
        with connection.driver.lock:
            while (data := connection.recv(bufsize)) is None:
                self._wait(connection.is_readable, deadline)
            return data

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer, at most `nbytes` if that is given; return how many bytes came."""
        _refuse(flags)
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        view = memoryview(buffer).cast("B")
        if nbytes > len(view):
            raise ValueError("buffer too small for requested bytes")
        view = view[: nbytes or len(view)]
        if not view:
            self._connection.check_open()
            return 0
        deadline = self._deadline()
        connection = self._connection
        with connection.driver.lock:
            while (size := connection.recv_into(view)) is None:
                self._wait(connection.is_readable, deadline)
            return size

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send as much of `data` as there is room for, waiting for some; return how many bytes that were."""
        _refuse(flags)
        return self._send(memoryview(data).cast("B"), self._deadline())

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Send all of `data`, waiting for room as often as it takes."""
        _refuse(flags)
        deadline = self._deadline()
        rest = memoryview(data).cast("B")
        while True:
            rest = rest[self._send(rest, deadline) :]
            if not rest:
                break

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, None]:
        """Return what `recv` does, and None for the address, as a TCP socket on Linux does."""
        return self.recv(bufsize, flags), None

    def sendmsg(
        self, buffers: Iterable[Buffer], ancdata: Iterable[Any] = (), flags: int = 0, address: None = None
    ) -> int:
        """Send as much of the buffers, in turn, as there is room for; return how many bytes that were.

        There can be no ancillary data and no address.
        """
        if list(ancdata) or address is not None:
            raise ValueError("a stream takes no ancillary data, and has one peer")
        return self.send(b"".join(buffers), flags)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a file from `offset` on, to its end or `count` bytes of it; return how many bytes that were.

        The file is then positioned after what was sent, as with socket.sendfile.
        """
        if count is not None and count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
        if offset:
            file.seek(offset)
        sent = 0
        try:
            while count is None or sent < count:
                data = file.read(FILE_PART if count is None else min(FILE_PART, count - sent))
                if not data:
                    break
                rest = memoryview(data)
                while rest:
                    taken = self.send(rest)
                    sent += taken
                    rest = rest[taken:]
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Return a file over the stream; the arguments are those of open(), modes "r", "w" and "b".

        The stream stays open until it is closed and each such file too.
        """
        file = object()
        self._files.add(file)
        try:
            return open_file(self, mode, buffering, partial(self._let_go, file), encoding, errors, newline)
        except BaseException:
            self._let_go(file)
            raise

    def shutdown(self, how: int) -> None:
        """End sending (SHUT_WR): the peer comes to an end when it has read all; or receiving; or both.

        After SHUT_RD, `recv` returns what has come, or b"" at once, also in a thread that waits in it.
        """
        if how not in (sockets.SHUT_RD, sockets.SHUT_WR, sockets.SHUT_RDWR):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with self._connection.driver.lock:
            self._connection.check_open()
            if how != sockets.SHUT_WR:
                self._connection.stop_receiving()
            if how != sockets.SHUT_RD:
                self._connection.finish()

    def close(self) -> None:
        """Close; what was sent is still delivered, by the driver's thread."""
        self._is_closed = True
        if not self._files:
            # Not `release`: finalizers close streams too, and files.
            self._connection.release_soon()

    def abort(self) -> None:
        """Close at once; what is not delivered is lost."""
        self._is_closed = True
        with self._connection.driver.lock:
            self._connection.abort()
            self._connection.release()

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the stream is over; raise what ended it before all that was sent was delivered."""
        self._connection.wait_closed(timeout)

    def getpeername(self) -> Any:
        """Return the peer's (host, port)."""
        self._check_open()
        return self.stream.remote

    def _describe(self) -> str:
        return f"{super()._describe()}, raddr={self.stream.remote}"

    def _let_go(self, file: object) -> None:
        """Take note that a file was closed."""
        self._files.discard(file)
        if self._is_closed:
            self.close()

    def _send(self, data: memoryview, deadline: float | None) -> int:
        connection = self._connection
        with connection.driver.lock:
            while not (taken := connection.send(data)) and data:
                self._wait(connection.is_writable, deadline)
            return taken


def _refuse(flags: int) -> None:
    if flags:
        raise ValueError("flags have to be 0")
