"""A stream of a machine as an asyncio.Transport."""

from __future__ import annotations

import asyncio
from asyncio.constants import _SendfileMode
from asyncio.transports import _FlowControlMixin
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
from pknet_asyncio.tls import programs_transport
from pknet_io.errors import connection_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pknet.machine import ByteStream
    from pknet.network import NodeStream
    from pknet.utp import UtpStats
    from pknet_asyncio.driver import Driver

__all__ = ["StreamTransport"]

READ_SIZE = 1 << 18
# How long the peer of a closed transport may take nothing while there is a backlog; when there is none any
# more, it is the machine that watches.
CLOSING_TIMEOUT = 30.0


class StreamTransport(_FlowControlMixin):
    """The transport of one stream of a machine that a Driver drives.

    The protocol's `connection_made` is called when the stream is open, or by `begin` if it has no protocol
    until then; `on_lost` when the transport is over. What goes wrong when the protocol is told of what comes
    is told to the loop's exception handler, and the stream is aborted.
    """

    # What asyncio asks of a transport and writes down nowhere, for `loop.start_tls` and `loop.sendfile`; the
    # latter also that it is a _FlowControlMixin, and TLS that it has _force_close.
    _start_tls_compatible = True
    _sendfile_compatible = _SendfileMode.FALLBACK

    if TYPE_CHECKING:
        # typeshed has no word of them.
        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    def __init__(
        self,
        driver: Driver,
        stream: ByteStream,
        protocol: asyncio.BaseProtocol | None,
        on_lost: Callable[[StreamTransport], None],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__({"sockname": driver.socket.address, **(extra or {})}, driver.loop)
        self.stream = stream
        self.opened: asyncio.Future[None] = driver.loop.create_future()
        self.lost: asyncio.Future[None] = driver.loop.create_future()
        stream.context = self
        self.driver = driver
        # A Protocol or a BufferedProtocol, or what has the methods of one.
        self._protocol: Any = protocol
        self._on_lost = on_lost
        self._is_open = False
        # What the machine's own send buffer has not taken yet.
        self._backlog: deque[bytes | memoryview] = deque()
        self._backlog_size = 0
        self._reading_is_paused = False
        self._eof_is_written = False
        self._eof_is_told = False
        self._closing = False
        self._is_cut = False
        self._is_aborted = False
        self._abort_error: Exception | None = None
        self._is_lost = False
        self._ended: ConnectionClosed | None = None
        self._closing_timer: asyncio.TimerHandle | None = None
        driver.transports.add(self)

    @property
    def is_open(self) -> bool:
        """Whether the peer has answered, and the transport is not over."""
        return self._is_open and not self._is_lost

    @property
    def is_closed_by_program(self) -> bool:
        """Whether the program has closed it, or the TLS on it, which closes it as soon as the peer knows."""
        return self._closing or programs_transport(self).is_closing()

    @property
    def is_delivered(self) -> bool:
        """Whether it is closed, and all that was written has arrived."""
        return self._closing and not self.undelivered

    @property
    def undelivered(self) -> int:
        """How many of the bytes that were written are not known to have arrived; none, if it never opened."""
        if self._ended is not None:
            return self._ended.undelivered + self._backlog_size
        return self.stream.unacknowledged + self._backlog_size

    def stats(self) -> UtpStats | None:
        """Return the figures of the uTP connection beneath; they stay when it is over."""
        return self.stream.stats()

    def __repr__(self) -> str:
        return f"<StreamTransport of {self.stream!r}>"

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Give an open stream to its first protocol: what came until now has waited for it."""
        self._protocol = protocol
        self._guard(self._begin)

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
            self.driver.loop.call_exception_handler(
                {
                    "message": "Fatal error: a callback of a protocol failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            self._force_close(error)

    def _open(self) -> None:
        self._is_open = True
        if not self.opened.done():
            self.opened.set_result(None)
        if self._protocol is not None:
            self._begin()

    def _begin(self) -> None:
        self._protocol.connection_made(self)
        self._read()

    def _fail_to_open(self, event: ConnectionClosed) -> None:
        self._is_lost = self._closing = True
        self.driver.transports.discard(self)
        if not self.opened.done():
            error = connection_error(event.reason, event.undelivered, remote=self.stream.remote)
            self.opened.set_exception(error or ConnectionAbortedError("the connection was closed"))
        self.lost.set_result(None)
        self._on_lost(self)

    def _read(self) -> None:
        """Hand on what has come, then the end of it, then the end of the connection."""
        stream = self.stream
        if self._protocol is None and not self._closing:
            return
        while not (self._closing or self._reading_is_paused):
            if stream.readable:
                self._hand_on()
            elif stream.at_eof and not self._eof_is_told:
                self._eof_is_told = True
                if not self._protocol.eof_received():
                    self.close()
            else:
                break
        if self._closing and self._ended is None:
            # While the backlog is on its way, what comes is dropped: a peer that isn't read might not read
            # either.
            while stream.readable:
                stream.read(READ_SIZE, self.driver.now)
        # A protocol that waits until it can write won't resume reading before it is told, as with TCP.
        if self._ended is not None and (self._closing or self._backlog or not self._is_unread):
            self._lose()
        self.driver.drain_soon()

    @property
    def _is_unread(self) -> bool:
        """Whether something came that the protocol has yet to be given."""
        return self.stream.readable > 0 or (self.stream.at_eof and not self._eof_is_told)

    def _hand_on(self) -> None:
        protocol, stream, now = self._protocol, self.stream, self.driver.now
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(stream.read(READ_SIZE, now))
            return
        buffer = memoryview(protocol.get_buffer(stream.readable)).cast("B")
        if not buffer:
            raise RuntimeError("get_buffer() returned an empty buffer")
        protocol.buffer_updated(stream.read_into(buffer, now))

    def _lose(self) -> None:
        """Tell the protocol that it is over, once."""
        if self._is_lost:
            return
        error = self._reason_of_loss()
        self._is_lost = self._closing = True
        self.driver.transports.discard(self)
        if self._closing_timer is not None:
            self._closing_timer.cancel()
        self._backlog.clear()
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)
        finally:
            self.lost.set_result(None)
            self._on_lost(self)

    def _reason_of_loss(self) -> Exception | None:
        """Return what `connection_lost` is told: None if this side wanted the end, and lost nothing by it."""
        assert self._ended is not None
        if self._is_aborted:
            return self._abort_error
        nothing_more_wanted = self._eof_is_told or self._closing
        return connection_error(self._ended.reason, self.undelivered, at_eof=nothing_more_wanted)

    # asyncio.BaseTransport and asyncio.ReadTransport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return "peername", "sockname" as (host, port), "node_id" on a stream to a node, or "utp_stats"."""
        if name == "peername":
            return self.stream.remote
        if name == "utp_stats":
            return self.stats()
        return super().get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the stream to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

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
                self.driver.loop.call_soon(self._read_again)

    def _read_again(self) -> None:
        if not self._is_lost and not self._reading_is_paused:
            self._guard(self._read)

    def close(self) -> None:
        """Close once all that was written is delivered; nothing more is read.

        A peer that takes none of it for CLOSING_TIMEOUT is given up: connection_lost is told a TimeoutError.
        """
        if not self._closing:
            self._closing = True
            if self._backlog:
                self._expect_progress()
            else:
                self._finish()
            if self._is_open:
                # Never at once: a protocol doesn't expect to be told from within its own call.
                self.driver.loop.call_soon(self._guard, self._read)

    def _expect_progress(self) -> None:
        self._closing_timer = self.driver.loop.call_later(
            CLOSING_TIMEOUT, self._check_progress, self.undelivered
        )

    def _check_progress(self, before: int) -> None:
        """Give up a peer that has taken nothing since `before` bytes were undelivered."""
        if self._backlog and self._ended is None:
            if self.undelivered < before:
                self._expect_progress()
            else:
                self._force_close(connection_error(CloseReason.TIMED_OUT, before))

    def cut(self) -> None:
        """Have `close` tell the peer that this is not all; after `write_eof` it is. For streams to nodes."""
        self._is_cut = True

    def abort(self) -> None:
        """Close at once; what is not delivered is lost."""
        self.fail(None)

    def fail(self, error: Exception | None) -> None:
        """Close at once, and tell the protocol that this was why."""
        self._force_close(error)

    # TLS calls it by this name.
    def _force_close(self, error: Exception | None) -> None:
        """Close at once, and tell the protocol that this was why."""
        if self._is_aborted or self._is_lost:
            return
        self._closing = self._is_aborted = True
        self._abort_error = error
        if self._ended is None:
            self.stream.abort(self.driver.now)
            self.driver.drain_soon()
        else:
            self.driver.loop.call_soon(self._guard, self._read)

    # asyncio.WriteTransport; the limits of its buffer are _FlowControlMixin's.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data, or keep it until the machine takes it."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data: a bytes-like object is needed, not {type(data).__name__!r}")
        if self._eof_is_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._closing:
            return
        if self._ended is not None:
            # It broke while the protocol wasn't reading, and now it has to learn of it.
            self.driver.loop.call_soon(self._guard, self._lose)
            return
        if isinstance(data, memoryview):
            data = data.cast("B") if data.c_contiguous else data.tobytes()
        taken = 0
        if not self._backlog:
            taken = self._send(data)
            self.driver.drain_soon()
            if taken == len(data):
                return
        rest = memoryview(data)[taken:]
        # A caller may change its buffer after this call.
        self._backlog.append(rest if isinstance(data, bytes) else bytes(rest))
        self._backlog_size += len(rest)
        self._maybe_pause_protocol()

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
        """Return how many bytes wait for room in the machine's send buffer; none once it is lost."""
        return 0 if self._is_lost else self._backlog_size

    def _write_backlog(self) -> None:
        while self._backlog and self._ended is None:
            taken = self._send(self._backlog[0])
            self._backlog_size -= taken
            if taken < len(self._backlog[0]):
                self._backlog[0] = memoryview(self._backlog[0])[taken:]
                break
            self._backlog.popleft()
        self._maybe_resume_protocol()
        if not self._backlog and (self._closing or self._eof_is_written):
            self._finish()
        self.driver.drain_soon()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self.stream.send(data, self.driver.now)
        except StateError:
            # It has ended, and the event that says so is on its way.
            return 0

    def _finish(self) -> None:
        """Tell the machine what was asked for while there was a backlog."""
        if self._ended is None:
            if self._closing and self._is_cut and not self._eof_is_written:
                cast("NodeStream", self.stream).cut(self.driver.now)
            elif self._closing:
                self.stream.close(self.driver.now)
            else:
                self.stream.finish(self.driver.now)
            self.driver.drain_soon()
