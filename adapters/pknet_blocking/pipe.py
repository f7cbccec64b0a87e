"""A TCP connection joined to a stream: bytes both ways, half-close both ways, back-pressure both ways."""

from __future__ import annotations

import contextlib
import selectors
import socket as sockets
from typing import TYPE_CHECKING, cast

from pknet_io.tcp import reset_when_closed, send_at_once, unsent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.network import NodeStream
    from pknet_blocking.connection import Connection
    from pknet_blocking.driver import Driver
    from pknet_io.network import PipeRecord

__all__ = ["Pipe"]

CHUNK = 1 << 16


class Pipe:
    """Passes bytes between a stream and a TCP connection until both directions have ended.

    It has no thread of its own: the driver's serves the TCP socket too, and every step is taken under its
    lock. When one side breaks, the other is reset, so that each program learns of it. `on_over` is called
    when both are gone.
    """

    def __init__(
        self,
        driver: Driver,
        connection: Connection,
        tcp: sockets.socket,
        record: PipeRecord,
        on_over: Callable[[Pipe], None],
    ) -> None:
        self.record = record
        self.connection = connection
        self._driver = driver
        self._tcp = tcp
        self._on_over = on_over
        # What one side has sent and the other has not taken yet.
        self._to_node = memoryview(b"")
        self._to_tcp = memoryview(b"")
        self._dropped = 0
        self._tcp_is_finished = False
        self._node_is_finished = False
        self._told_node = False
        self._told_tcp = False
        self._is_closing = False
        # While it stops: bytes that the node was told have arrived, and that are still to be passed on.
        self._owed = 0
        self._tcp_is_closed = False
        self._is_over = False
        self._advancing = False
        self._advance_again = False
        self._watched_for = 0
        record.close = self.reset
        tcp.setblocking(False)
        send_at_once(tcp)
        connection.on_change = self._advance

    @property
    def node_stream(self) -> NodeStream:
        """The stream that is joined."""
        return cast("NodeStream", self.connection.stream)

    @property
    def unpassed(self) -> int:
        """Bytes that came from the node and that the TCP side has not taken yet."""
        count = len(self._to_tcp) + min(self._owed, self.node_stream.unread)
        if self._is_closing and not self._node_is_finished and not self._tcp_is_closed:
            # It will be reset.
            count += unsent(self._tcp)
        return count

    @property
    def undelivered(self) -> int:
        """Bytes that came by TCP and that the stream has not taken, or has never taken."""
        return len(self._to_node) + self._dropped

    def start(self) -> None:
        """Begin; the driver's lock must be held."""
        self._advance()

    def stop(self) -> None:
        """Take nothing more from TCP, and from the node only what it was told has arrived; then end.

        A side whose source has not finished learns that it was cut off: the node by the end of its stream,
        the TCP connection by `reset`, which has to follow when nothing is unpassed.
        """
        with self._driver.lock:
            if not self._is_closing:
                self._is_closing = True
                self._owed = self.node_stream.unread
                self._advance()

    def reset(self) -> None:
        """Break both sides at once; what is under way is lost."""
        with self._driver.lock:
            self._is_closing = True
            self._drop_to_node()
            self._to_tcp = memoryview(b"")
            self._owed = 0
            self.connection.abort()
            self._close_tcp(broken=True)
            self._advance()

    def _advance(self) -> None:
        """Pass on what can be passed on; the driver's lock is held."""
        if self._advancing or self._is_over:
            # Sending on the stream may tell of its events.
            self._advance_again = True
            return
        self._advancing = True
        try:
            self._advance_again = True
            while self._advance_again:
                self._advance_again = False
                self._step()
        finally:
            self._advancing = False
        self._watch()
        if self._tcp_is_closed and self.connection.is_over and not self._is_over:
            self._is_over = True
            self._on_over(self)

    def _step(self) -> None:
        try:
            self._pass_to_node()
        except OSError:
            self._drop_to_node()
            self._break()
        try:
            self._pass_to_tcp()
        except OSError:
            self._to_tcp = memoryview(b"")
            self._owed = 0
            self._break()
        if self.connection.is_over and not self._told_node:
            self._break()
        if self._told_node and self._told_tcp:
            self._is_closing = True
        if self._is_closing and not self._reads_on():
            if not self._to_node:
                if self._tcp_is_finished:
                    self.connection.close()
                else:
                    self.connection.cut()
            if not self._to_tcp and self._node_is_finished:
                self._close_tcp(broken=False)

    def _break(self) -> None:
        """Take note that one side has failed; where the pipe is closing, the other still gets what is its."""
        if not self._is_closing:
            self.reset()

    def _drop_to_node(self) -> None:
        self._dropped += len(self._to_node)
        self._to_node = memoryview(b"")

    def _pass_to_node(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                while self._to_node:
                    taken = self.connection.send(self._to_node)
                    if not taken:
                        return
                    self._to_node = self._to_node[taken:]
                if self._tcp_is_finished or self._is_closing:
                    break
                data = self._tcp.recv(CHUNK)
                self._tcp_is_finished = not data
                self._to_node = memoryview(data)
                self.record.bytes_to_node += len(data)
        if self._tcp_is_finished and not self._to_node and not self._told_node:
            self._told_node = True
            self.connection.finish()

    def _pass_to_tcp(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                while self._to_tcp:
                    self._to_tcp = self._to_tcp[self._tcp.send(self._to_tcp) :]
                if not self._reads_on():
                    break
                data = self.connection.recv(CHUNK)
                if data is None:
                    break
                self._owed = max(self._owed - len(data), 0)
                self._node_is_finished = not data
                self._to_tcp = memoryview(data)
                self.record.bytes_from_node += len(data)
        if self._node_is_finished and not self._to_tcp and not self._told_tcp:
            self._told_tcp = True
            self._tcp.shutdown(sockets.SHUT_WR)

    def _reads_on(self) -> bool:
        """Return whether more is taken from the node."""
        if self._node_is_finished:
            return False
        stream = self.node_stream
        return not self._is_closing or (self._owed > 0 and stream.unread > 0) or stream.at_eof

    def _watch(self) -> None:
        """Have the driver wait for what the TCP socket is to be used for next."""
        events = 0
        if not self._tcp_is_closed:
            if not (self._to_node or self._tcp_is_finished or self._is_closing):
                events |= selectors.EVENT_READ
            if self._to_tcp:
                events |= selectors.EVENT_WRITE
            if events != self._watched_for:
                self._driver.watch(self._tcp, events, self._advance)
        self._watched_for = events

    def _close_tcp(self, *, broken: bool) -> None:
        if not self._tcp_is_closed:
            self._tcp_is_closed = True
            self._driver.watch(self._tcp, 0, self._advance)
            if broken:
                reset_when_closed(self._tcp)
            self._tcp.close()
