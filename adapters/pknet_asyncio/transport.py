"""A stream of a machine as an asyncio.Transport."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from pknet.errors import StateError
from pknet.utp import (
    CloseReason,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    DataReceived,
    EofReceived,
    SendBufferDrained,
)
from pknet_io.errors import connection_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pknet.machine import ByteStream
    from pknet.network import NodeStream
    from pknet_asyncio.driver import Driver

__all__ = ["StreamTransport"]

READ_SIZE = 1 << 18
HIGH_WATER = 1 << 16


class StreamTransport(asyncio.Transport):
    """The transport of one stream of a machine that a Driver drives.

    The protocol's `connection_made` is called when the stream is open; `on_lost` when the transport is over.
    What a protocol's callback raises is told to the loop's exception handler, and the stream is aborted.
    """

    def __init__(
        self,
        driver: Driver,
        stream: ByteStream,
        protocol: asyncio.BaseProtocol,
        on_lost: Callable[[StreamTransport], None],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__({"sockname": driver.socket.address, **(extra or {})})
        self.stream = stream
        self.opened: asyncio.Future[None] = driver.loop.create_future()
        self.lost: asyncio.Future[None] = driver.loop.create_future()
        stream.context = self
        self._driver = driver
        self._protocol = protocol
        self._on_lost = on_lost
        self._is_open = False
        # What the machine's own send buffer has not taken yet.
        self._backlog: deque[bytes | memoryview] = deque()
        self._backlog_size = 0
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._writing_is_paused = False
        self._reading_is_paused = False
        self._eof_is_written = False
        self._eof_is_told = False
        self._closing = False
        self._is_cut = False
        self._is_lost = False
        self._ended: ConnectionClosed | None = None

    @property
    def undelivered(self) -> int:
        """How many of the bytes that were written are not known to have arrived; none, if it never opened."""
        if self._ended is not None:
            return self._ended.undelivered + self._backlog_size
        return self.stream.unacknowledged + self._backlog_size

    # What the machine tells.

    def handle_event(self, event: object) -> None:
        """Take an event of the stream."""
        match event:
            case ConnectionOpened() | ConnectionAccepted():
                self._guard(self._open)
            case DataReceived() | EofReceived():
                self._guard(self._read)
            case SendBufferDrained():
                self._guard(self._write_backlog)
            case ConnectionClosed():
                self._ended = event
                if self._is_open:
                    self._guard(self._read)
                else:
                    self._fail_to_open(event)

    def _guard(self, step: Callable[[], None]) -> None:
        """Take a step that may call the protocol."""
        try:
            step()
        except Exception as error:
            self._driver.loop.call_exception_handler(
                {
                    "message": "Fatal error: a callback of a protocol failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            self.abort()

    def _open(self) -> None:
        self._is_open = True
        if not self.opened.done():
            self.opened.set_result(None)
        self._protocol.connection_made(self)
        self._read()

    def _fail_to_open(self, event: ConnectionClosed) -> None:
        self._is_lost = self._closing = True
        if not self.opened.done():
            error = connection_error(event.reason, event.undelivered)
            self.opened.set_exception(error or ConnectionAbortedError("the connection was closed"))
        self.lost.set_result(None)
        self._on_lost(self)

    def _read(self) -> None:
        """Hand on what has come, then the end of it, then the end of the connection."""
        stream = self.stream
        failed = self._ended is not None and self._ended.reason is not CloseReason.FINISHED
        while not self._closing and (failed or not self._reading_is_paused):
            if stream.readable:
                self._hand_on(stream.read(READ_SIZE, self._driver.now))
            elif stream.at_eof and not self._eof_is_told:
                self._eof_is_told = True
                assert isinstance(self._protocol, asyncio.Protocol | asyncio.BufferedProtocol)
                if not self._protocol.eof_received():
                    self.close()
            else:
                break
        if self._closing and self._ended is None:
            # While the backlog is on its way, what comes is dropped: a peer that isn't read might not read
            # either.
            while stream.readable:
                stream.read(READ_SIZE, self._driver.now)
        if self._ended is not None and (failed or self._closing or self._eof_is_told):
            self._lose()
        self._driver.drain_soon()

    def _hand_on(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            assert isinstance(protocol, asyncio.Protocol)
            protocol.data_received(data)
            return
        rest = memoryview(data)
        while rest:
            buffer = memoryview(protocol.get_buffer(len(rest))).cast("B")
            part = min(len(buffer), len(rest))
            buffer[:part] = rest[:part]
            protocol.buffer_updated(part)
            rest = rest[part:]

    def _lose(self) -> None:
        """Tell the protocol that it is over, once."""
        if self._is_lost:
            return
        assert self._ended is not None
        self._is_lost = self._closing = True
        self._backlog.clear()
        error = connection_error(self._ended.reason, self.undelivered, at_eof=self._eof_is_told)
        try:
            self._protocol.connection_lost(error)
        finally:
            self.lost.set_result(None)
            self._on_lost(self)

    # asyncio.BaseTransport and asyncio.ReadTransport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return "peername" or "sockname" as (host, port), or "node_id" for a stream to a node."""
        if name == "peername":
            return self.stream.remote
        return super().get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the stream to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Return whether the transport is closed or about to be."""
        return self._closing

    def is_reading(self) -> bool:
        """Return whether what comes is handed on."""
        return not self._reading_is_paused and not self._closing

    def pause_reading(self) -> None:
        """Leave what comes to wait; when the receive window is full, the peer waits too."""
        self._reading_is_paused = True

    def resume_reading(self) -> None:
        """Hand on what has come and what comes."""
        if self._reading_is_paused:
            self._reading_is_paused = False
            if self._is_open and not self._is_lost:
                self._driver.loop.call_soon(self._read_again)

    def _read_again(self) -> None:
        if not self._is_lost and not self._reading_is_paused:
            self._guard(self._read)

    def close(self) -> None:
        """Close once all that was written is delivered; nothing more is read."""
        if not self._closing:
            self._closing = True
            if not self._backlog:
                self._finish()
            if self._is_open:
                # Never at once: a protocol doesn't expect to be told from within its own call.
                self._driver.loop.call_soon(self._guard, self._read)

    def cut(self) -> None:
        """Have `close` tell the peer that this is not all; after `write_eof` it is. For streams to nodes."""
        self._is_cut = True

    def abort(self) -> None:
        """Close at once; what is not delivered is lost."""
        self._closing = True
        if self._ended is None:
            self.stream.abort(self._driver.now)
            self._driver.drain_soon()
        elif not self._is_lost:
            self._driver.loop.call_soon(self._guard, self._read)

    # asyncio.WriteTransport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data, or keep it until the machine takes it."""
        if self._eof_is_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._closing or self._ended is not None:
            return
        # A caller may change its buffer after this call.
        kept = bytes(data)
        if not self._backlog:
            taken = self._send(kept)
            self._driver.drain_soon()
            if taken == len(kept):
                return
            self._backlog.append(memoryview(kept)[taken:])
            self._backlog_size += len(kept) - taken
        else:
            self._backlog.append(kept)
            self._backlog_size += len(kept)
        if self._backlog_size > self._high and not self._writing_is_paused:
            self._writing_is_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces of data."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Finish the sending side once all that was written is sent; reading goes on."""
        if not self._eof_is_written and not self._closing:
            self._eof_is_written = True
            if not self._backlog:
                self._finish()

    def can_write_eof(self) -> bool:
        """Return True: each direction of a stream ends by itself."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for room in the machine's send buffer."""
        return self._backlog_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and high water marks in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set between which sizes of the write buffer the protocol is paused and resumed."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low

    def _write_backlog(self) -> None:
        while self._backlog and self._ended is None:
            taken = self._send(self._backlog[0])
            self._backlog_size -= taken
            if taken < len(self._backlog[0]):
                self._backlog[0] = memoryview(self._backlog[0])[taken:]
                break
            self._backlog.popleft()
        if self._writing_is_paused and self._backlog_size <= self._low:
            self._writing_is_paused = False
            self._protocol.resume_writing()
        if not self._backlog and (self._closing or self._eof_is_written):
            self._finish()
        self._driver.drain_soon()

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self.stream.send(data, self._driver.now)
        except StateError:
            # It has ended, and the event that says so is on its way.
            return 0

    def _finish(self) -> None:
        """Tell the machine what was asked for while there was a backlog."""
        if self._ended is None:
            if self._closing and self._is_cut and not self._eof_is_written:
                cast("NodeStream", self.stream).cut(self._driver.now)
            elif self._closing:
                self.stream.close(self._driver.now)
            else:
                self.stream.finish(self._driver.now)
            self._driver.drain_soon()
