"""A stream of a machine as an object that behaves as a socket."""

from __future__ import annotations

import errno
import io
import os
import socket as sockets
import threading
import time
from typing import TYPE_CHECKING, Any, Self, cast

from pknet.errors import StateError
from pknet.utp import (
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    EofReceived,
)
from pknet_io.errors import connection_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.machine import ByteStream
    from pknet.network import NodeId, NodeStream
    from pknet_blocking.driver import Driver

__all__ = ["Stream"]


class Stream:
    """A stream with the methods of a connected TCP socket; safe to use from several threads.

    What a method waits for is bounded by `settimeout`; past it, TimeoutError is raised. With a timeout of 0
    nothing is waited for, and BlockingIOError is raised.
    """

    def __init__(self, driver: Driver, stream: ByteStream, on_lost: Callable[[Stream], None]) -> None:
        self.stream = stream
        stream.context = self
        self.on_change: Callable[[], None] | None = None
        """Called, under the driver's lock, when there may be more to receive, room to send, or an end."""
        self._driver = driver
        self._changed = threading.Condition(driver.lock)
        self._on_lost = on_lost
        self._timeout: float | None = None
        self._is_open = False
        self._eof_came = False
        self._finished = False
        self._closed = False
        self._ended: ConnectionClosed | None = None

    @property
    def node_id(self) -> NodeId | None:
        """The id of the node at the other end, proven; None for plain uTP."""
        return getattr(self.stream, "peer", None)

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended, one way or the other; what came before can still be received."""
        return self._ended is not None

    @property
    def undelivered(self) -> int:
        """How many of the bytes that were sent are not known to have arrived."""
        with self._changed:
            return self.stream.unacknowledged if self._ended is None else self._ended.undelivered

    def handle_event(self, event: object) -> None:
        """Take an event of the stream; the driver's lock is held."""
        match event:
            case ConnectionOpened() | ConnectionAccepted():
                self._is_open = True
            case EofReceived():
                self._eof_came = True
            case ConnectionClosed():
                self._ended = event
                self._on_lost(self)
        self._changed.notify_all()
        if self.on_change is not None:
            self.on_change()

    def wait_open(self, timeout: float | None) -> None:
        """Wait until the peer has accepted; raise what kept it from that, or TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_open or self._ended is not None, timeout):
                raise TimeoutError("timed out")
            if self._ended is not None and not self._is_open:
                error = connection_error(self._ended.reason, self._ended.undelivered)
                raise error or ConnectionAbortedError("the connection was closed")

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes as soon as there are any; b"" at the end of the stream."""
        if size < 0:
            raise ValueError("negative buffersize in recv")
        with self._changed:
            self._wait_readable()
            data = self.stream.read(size, self._driver.now)
            self._driver.drain()
            return data

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0) -> int:
        """Receive into a buffer, at most `size` bytes if that is given; return how many came."""
        view = memoryview(buffer).cast("B")
        data = self.recv(min(size, len(view)) if size else len(view))
        view[: len(data)] = data
        return len(data)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send as much of `data` as there is room for, waiting for some; return how many bytes that were."""
        return self._send(memoryview(data).cast("B"), self._deadline())

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`, waiting for room as often as it takes."""
        deadline = self._deadline()
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._send(rest, deadline) :]

    def shutdown(self, how: int) -> None:
        """End sending (SHUT_WR, SHUT_RDWR): the peer comes to an end when it has read all.

        SHUT_RD does nothing.
        """
        with self._changed:
            if self._ended is None and how in (sockets.SHUT_WR, sockets.SHUT_RDWR):
                self._finished = True
                self.stream.finish(self._driver.now)
                self._driver.drain()

    def close(self) -> None:
        """Close; what was sent is still delivered, by the driver's thread."""
        self._close(self.stream.close)

    def cut(self) -> None:
        """Close, but tell the peer that this is not all; after `shutdown` it is. For streams to nodes."""
        self._close(cast("NodeStream", self.stream).cut)

    def abort(self) -> None:
        """Close at once; what is not delivered is lost."""
        with self._changed:
            self._closed = True
            if self._ended is None:
                self.stream.abort(self._driver.now)
                self._driver.drain()
            self._changed.notify_all()

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the stream is over; raise what ended it before all that was sent was delivered."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended is not None, timeout):
                raise TimeoutError("timed out")
            error = self._error()
            if error is not None:
                raise error

    def settimeout(self, timeout: float | None) -> None:
        """Set how many seconds a method may wait; None for as long as it takes, 0 for not at all."""
        if timeout is not None and timeout < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """Return what `settimeout` set."""
        return self._timeout

    def getpeername(self) -> Any:
        """Return the peer's (host, port)."""
        return self.stream.remote

    def getsockname(self) -> tuple[str, int]:
        """Return the (host, port) that the UDP socket is bound to."""
        return self._driver.socket.address

    def fileno(self) -> int:
        """Raise io.UnsupportedOperation: streams share one UDP socket, so there is nothing to select on."""
        raise io.UnsupportedOperation("a uTP stream has no file descriptor of its own")

    def __enter__(self) -> Self:
        """Return the stream."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the stream."""
        self.close()

    def _close(self, close: Callable[[float], None]) -> None:
        with self._changed:
            if not self._closed:
                self._closed = True
                if self._ended is None:
                    close(self._driver.now)
                    self._driver.drain()
                self._changed.notify_all()

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self, ready: Callable[[], bool], deadline: float | None) -> None:
        if self._timeout == 0 and not ready():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        timeout = None if deadline is None else max(deadline - time.monotonic(), 0)
        if not self._changed.wait_for(ready, timeout):
            raise TimeoutError("timed out")

    def _wait_readable(self) -> None:
        if not self._is_readable():
            self._wait(self._is_readable, self._deadline())
        if self._closed:
            raise OSError(errno.EBADF, "the stream is closed")
        if not self.stream.readable and not self.stream.at_eof:
            raise self._error() or ConnectionAbortedError("the stream was aborted")

    def _is_readable(self) -> bool:
        stream = self.stream
        return self._closed or stream.readable > 0 or stream.at_eof or self._ended is not None

    def _send(self, data: memoryview, deadline: float | None) -> int:
        with self._changed:
            while True:
                if self._closed or self._finished:
                    raise BrokenPipeError(errno.EPIPE, "the stream was closed, or shut down, by this side")
                if self._ended is not None:
                    raise self._error() or BrokenPipeError(errno.EPIPE, "the stream is over")
                try:
                    taken = self.stream.send(data, self._driver.now)
                except StateError:
                    # It has ended, and the event that says so is on its way.
                    raise BrokenPipeError(errno.EPIPE, "the stream is over") from None
                if taken or not data:
                    self._driver.drain()
                    return taken
                self._wait(self._is_writable, deadline)

    def _is_writable(self) -> bool:
        return self._closed or self._finished or self._ended is not None or self.stream.writable > 0

    def _error(self) -> OSError | None:
        """Return what the end of the stream has taken from the program, None if nothing or if it goes on."""
        if self._ended is None:
            return None
        at_eof = self._eof_came or self.stream.at_eof
        return connection_error(self._ended.reason, self._ended.undelivered, at_eof=at_eof)
