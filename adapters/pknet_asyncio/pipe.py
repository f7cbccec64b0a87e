"""A TCP connection joined to a stream: bytes both ways, half-close both ways, back-pressure both ways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pknet_io.tcp import reset_when_closed, unsent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.network import NodeStream
    from pknet_asyncio.transport import StreamTransport
    from pknet_io.network import PipeRecord

__all__ = ["Pipe", "PipeEnd"]


class Pipe:
    """Passes bytes between its two ends until both directions have ended.

    Give `node_end` to the transport of the stream as its protocol, `tcp_end` to that of the TCP connection.
    What comes at one end is written to the other at once: nothing waits in between. When one side breaks, the
    other is reset, so that each program learns of it. `on_over` is called when both are gone.
    """

    def __init__(self, record: PipeRecord, on_over: Callable[[Pipe], None]) -> None:
        self.record = record
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.node_end = PipeEnd(self, "bytes_from_node")
        self.tcp_end = PipeEnd(self, "bytes_to_node")
        self.node_end.other, self.tcp_end.other = self.tcp_end, self.node_end
        self._on_over = on_over
        self._is_closing = False
        # While it stops: bytes that the node was told have arrived, and that are still to be passed on.
        self._owed: int | None = None
        record.close = self.reset

    @property
    def node_stream(self) -> NodeStream | None:
        """The stream that is joined, None if it never opened."""
        transport = cast("StreamTransport | None", self.node_end.transport)
        return None if transport is None else cast("NodeStream", transport.stream)

    @property
    def unpassed(self) -> int:
        """Bytes that came from the node and that the TCP side has not taken yet."""
        transport = self.tcp_end.transport
        if transport is None or self.tcp_end.is_lost:
            return 0
        count = transport.get_write_buffer_size()
        if self._owed is not None:
            count += min(self._owed, self._node_stream.unread)
            if not self.node_end.is_finished:
                # It will be reset.
                count += unsent(transport.get_extra_info("socket"))
        return count

    def stop(self) -> None:
        """Take nothing more from TCP, and from the node only what it was told has arrived; then end.

        A side whose source has not finished learns that it was cut off: the node by the end of its stream,
        the TCP connection by `reset`, which has to follow when nothing is unpassed.
        """
        if self._is_closing:
            return
        node, tcp = self.node_end.transport, self.tcp_end.transport
        if node is None or tcp is None:
            self.reset()
            return
        self._is_closing = True
        tcp.pause_reading()
        if not self.tcp_end.is_finished:
            cast("StreamTransport", node).cut()
        self._owed = self._node_stream.unread
        self.passed(0)

    def passed(self, count: int) -> None:
        """Take note that so many bytes from the node were passed on, or its end."""
        if self._owed is None:
            return
        self._owed = max(self._owed - count, 0)
        if not self.may_read_on:
            self._finish()

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is taken from the TCP side."""
        return self._is_closing

    @property
    def may_read_on(self) -> bool:
        """Whether more is taken from the node."""
        if not self._is_closing:
            return True
        stream = self._node_stream
        return bool(self._owed and stream.unread) or (stream.at_eof and not self.node_end.is_finished)

    @property
    def _node_stream(self) -> NodeStream:
        return cast("NodeStream", self.node_stream)

    def reset(self) -> None:
        """Break both sides at once; what is under way is lost."""
        self._is_closing = True
        for end in (self.tcp_end, self.node_end):
            end.reset()
        self._note_if_over()

    def made(self) -> None:
        """Take note that an end has its transport."""
        if self._is_closing:
            self.reset()
        elif self.node_end.transport is not None and self.tcp_end.transport is not None:
            self.node_end.transport.resume_reading()
            self.tcp_end.transport.resume_reading()

    def finished(self) -> None:
        """Take note that the side of an end has finished."""
        if self.node_end.is_finished and self.tcp_end.is_finished:
            self._finish()

    def lost(self) -> None:
        """Take note that the transport of an end is over."""
        if not self._is_closing:
            self.reset()
        self._note_if_over()

    def _finish(self) -> None:
        """Close each side when it has taken what came from the other, if that was all."""
        self._is_closing = True
        if self.node_end.transport is not None:
            self.node_end.transport.close()
        if self.tcp_end.transport is not None and self.node_end.is_finished:
            self.tcp_end.transport.close()

    def _note_if_over(self) -> None:
        gone = all(end.is_lost or end.transport is None for end in (self.tcp_end, self.node_end))
        if gone and not self.over.done():
            self.over.set_result(None)
            self._on_over(self)


class PipeEnd(asyncio.Protocol):
    """One end of a pipe; `counter` is the field of the record that counts what comes in here."""

    other: PipeEnd

    def __init__(self, pipe: Pipe, counter: str) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_finished = False
        self.is_lost = False
        self._pipe = pipe
        self._counter = counter

    def reset(self) -> None:
        """Break this side."""
        if self.transport is not None and not self.is_lost:
            tcp = self.transport.get_extra_info("socket")
            if tcp is not None:
                reset_when_closed(tcp)
            self.transport.abort()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the other end before anything is read."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        if self is self._pipe.tcp_end:
            peer = transport.get_extra_info("peername") or self._pipe.record.tcp_address
            self._pipe.record.tcp_address = peer[:2]
        self._pipe.made()

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        if self.other.transport is not None and not self.other.is_lost:
            self.other.transport.write(data)
            setattr(self._pipe.record, self._counter, getattr(self._pipe.record, self._counter) + len(data))
        if self is self._pipe.node_end:
            self._pipe.passed(len(data))

    def eof_received(self) -> bool:
        """Pass on that this side has finished; the other direction goes on."""
        self.is_finished = True
        if self.other.transport is not None and not self.other.is_lost:
            try:
                self.other.transport.write_eof()
            except OSError:
                # A TCP connection that was reset, which nobody has noticed yet.
                self._pipe.reset()
        self._pipe.passed(0)
        self._pipe.finished()
        return True

    def pause_writing(self) -> None:
        """Read no more at the other end until this one has room."""
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read at the other end again."""
        is_allowed = self._pipe.may_read_on if self is self._pipe.tcp_end else not self._pipe.is_closing
        if self.other.transport is not None and is_allowed:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Break the other side too, unless both have finished."""
        self.is_lost = True
        self._pipe.lost()
