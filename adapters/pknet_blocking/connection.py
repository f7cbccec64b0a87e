"""What a driver keeps of a stream: what has become of it, and its verbs without waiting."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast

from pknet.errors import StateError
from pknet.utp import (
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    EofReceived,
    SendBufferDrained,
    UtpEvent,
)
from pknet_blocking.served import Served
from pknet_io.errors import connection_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.machine import ByteStream
    from pknet.network import NodeId, NodeStream
    from pknet_blocking.driver import Driver

__all__ = ["Connection", "dispatch"]


class Connection(Served):
    """A stream of a machine, for as long as the machine has it; `on_lost` is called when that ends."""

    def __init__(self, driver: Driver, stream: ByteStream, on_lost: Callable[[Connection], None]) -> None:
        super().__init__(driver)
        self.stream = stream
        self.on_change: Callable[[], None] | None = None
        """Called when there may be more to receive, room to send, or an end."""
        self._on_lost = on_lost
        self._is_open = False
        self._eof_came = False
        self._is_full = False
        self._is_finished = False
        self._is_deaf = False
        self._is_ending = False
        self._is_told = False
        self._ended: ConnectionClosed | None = None
        stream.context = self

    @property
    def node_id(self) -> NodeId | None:
        """The id of the node at the other end, proven; None for plain uTP."""
        return getattr(self.stream, "peer", None)

    @property
    def is_open(self) -> bool:
        """Whether the peer has accepted."""
        return self._is_open

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended, one way or the other; what came before can still be received."""
        return self._ended is not None

    # The driver's lock is held.

    @property
    def undelivered(self) -> int:
        """How many of the bytes that were sent are not known to have arrived."""
        return self.stream.unacknowledged if self._ended is None else self._ended.undelivered

    def handle_event(self, event: object) -> None:
        """Take an event of the stream; to be told of one once more does no harm."""
        match event:
            case ConnectionOpened() | ConnectionAccepted():
                self._is_open = True
            case EofReceived():
                self._eof_came = True
            case SendBufferDrained():
                self._is_full = False
            case ConnectionClosed():
                self._ended = event
                self._on_lost(self)
        self.tell()
        if self.on_change is not None:
            self.on_change()

    def is_readable(self) -> bool:
        """Return whether `recv` returns or raises something at once."""
        stream = self.stream
        return self.is_closed or self._is_deaf or self.is_over or stream.readable > 0 or stream.at_eof

    def is_writable(self) -> bool:
        """Return whether `send` takes something or raises at once."""
        return self.is_closed or self._is_finished or self.is_over or not self._is_full

    def recv(self, size: int) -> bytes | None:
        """Return at most `size` bytes, b"" at the end of the stream, None if there is nothing yet.

        Raises OSError for what ended the stream otherwise, unless `recv` or `send` has done so before: that
        is told once, as by TCP, and then there is b"".
        """
        if not self._may_read():
            return None
        data = self.stream.read(size, self.driver.now)
        self._have_read()
        return data

    def recv_into(self, buffer: memoryview) -> int | None:
        """Do as `recv` does, into a buffer; return how many bytes that were."""
        if not self._may_read():
            return None
        size = self.stream.read_into(buffer, self.driver.now)
        self._have_read()
        return size

    def send(self, data: memoryview) -> int:
        """Send as much of `data` as there is room for, and return how many bytes that were.

        Raises OSError if the stream takes nothing any more.
        """
        self.check_open()
        if self._is_finished:
            raise BrokenPipeError(errno.EPIPE, "the stream was shut down by this side")
        if self.is_over:
            raise self._loss() or BrokenPipeError(errno.EPIPE, "the stream is over")
        try:
            taken = self.stream.send(data, self.driver.now)
        except StateError:
            # It has ended, and the event that says so is on its way.
            raise BrokenPipeError(errno.EPIPE, "the stream is over") from None
        if taken < len(data):
            # SendBufferDrained will follow.
            self._is_full = True
        if taken:
            self.driver.drain()
        self.show()
        return taken

    def finish(self) -> None:
        """End sending."""
        if not self._is_finished:
            self._is_finished = True
            if not self.is_over:
                self.stream.finish(self.driver.now)
                self.driver.drain()
            self.tell()

    def stop_receiving(self) -> None:
        """Wait no more for what comes: from now on `recv` returns what is there, or b""."""
        self._is_deaf = True
        self.tell()

    def check_open(self) -> None:
        """Raise OSError if the stream was closed by this side."""
        if self.is_closed:
            raise OSError(errno.EBADF, "the stream is closed")

    def error(self) -> OSError | None:
        """Return what the end of the stream has taken from the program, None if nothing or if it goes on."""
        if self._ended is None:
            return None
        at_eof = self._eof_came or self.stream.at_eof
        remote = None if self._is_open else self.stream.remote
        return connection_error(self._ended.reason, self._ended.undelivered, at_eof=at_eof, remote=remote)

    # It need not be held.

    def close(self) -> None:
        """Close; what was sent is still delivered."""
        self._end(self.stream.close)

    def cut(self) -> None:
        """Close, but tell the peer that this is not all, unless the program has said that it is.

        For streams to nodes.
        """
        self._end(self.stream.close if self.is_closed else cast("NodeStream", self.stream).cut)

    def abort(self) -> None:
        """Close at once, also in the midst of `close`; what is not delivered is lost."""
        with self.driver.lock:
            self._is_ending = False
            self._end(self.stream.abort)

    def wait_open(self, timeout: float | None) -> None:
        """Wait until the peer has accepted; raise what kept it from that, or TimeoutError."""
        with self.driver.lock:
            if not self.driver.wait(self.changed, lambda: self._is_open or self.is_over, timeout):
                raise TimeoutError("timed out")
            if self.is_over and not self._is_open:
                raise self.error() or _aborted("the connection was closed")

    def wait_closed(self, timeout: float | None) -> None:
        """Wait until the stream is over; raise what ended it before all that was sent was delivered."""
        with self.driver.lock:
            if not self.driver.wait(self.changed, lambda: self.is_over, timeout):
                raise TimeoutError("timed out")
            error = self.error()
            if error is not None:
                raise error

    def _may_read(self) -> bool:
        self.check_open()
        if not self.is_readable():
            return False
        if not (self.stream.readable or self.stream.at_eof or self._is_deaf or self._is_told):
            raise self._loss() or _aborted("the stream was aborted")
        return True

    def _loss(self) -> OSError | None:
        """Return what `error` does, once; from then on `recv` finds the end of the stream."""
        if self._is_told:
            return None
        self._is_told = True
        return self.error()

    def _have_read(self) -> None:
        self.driver.drain()
        self.show()

    def _end(self, verb: Callable[[float], None]) -> None:
        with self.driver.lock:
            self.is_closed = True
            if not self._is_ending and not self.is_over:
                self._is_ending = True
                verb(self.driver.now)
                self.driver.drain()
            self.tell()


def _aborted(message: str) -> ConnectionAbortedError:
    return ConnectionAbortedError(errno.ECONNABORTED, message)


def dispatch(event: UtpEvent) -> None:
    """Hand an event to the Connection of its stream; the driver's lock is held."""
    if event.connection.context is not None:
        event.connection.context.handle_event(event)
