"""Drives a machine over a UDP socket in an asyncio event loop.

The driver owns its socket by `loop.add_reader`: a wake-up reads what has come, up to a bound, gives it to the
machine, and then drains once: transmits are sent, events are handed on, the timer is set. asyncio's own
DatagramProtocol costs several times as much for each datagram, and can't receive or send runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pknet_asyncio.ending import LoopEnd, deliver, warn_of_loss
from pknet_asyncio.readiness import SelectThread, readiness_of
from pknet_io.driver import DriverBase
from pknet_io.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.machine import Machine
    from pknet_asyncio.transport import StreamTransport
    from pknet_io import UdpSocket

__all__ = ["Driver"]

# The sockets that are driven. A driver that is garbage has a last word to send, and without this its socket
# might be finalized before.
_open_sockets: set[UdpSocket] = set()


class Driver(DriverBase):
    """Joins a machine to UDP sockets; `on_event` is called for each of the machine's events.

    After calling a domain verb of the machine, call `drain` (or `drain_soon`, which joins several into one).
    It belongs to the loop that it was made in, and is closed before that is, once what was written to closed
    transports is delivered.
    """

    _closed = True

    def __init__(self, machine: Machine, socket: UdpSocket, on_event: Callable[[Any], None]) -> None:
        super().__init__(machine, socket, on_event)
        self.loop = asyncio.get_running_loop()
        self.transports: set[StreamTransport] = set()
        """Those of the machine's streams that are not over."""
        self._readiness = readiness_of(self.loop, socket.fileno())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline: float | None = None
        self._waiting: dict[asyncio.Future[bool], Callable[[], bool]] = {}
        self.add_socket(socket)
        self._loop_end = LoopEnd(self._end)
        self._closed = False

    @property
    def now(self) -> float:
        """The loop's clock, which is what the machine is given as `now`."""
        return self.loop.time()

    def add_socket(self, socket: UdpSocket) -> None:
        """Drive one more socket, for datagrams whose `local` is one of its handles."""
        self._sockets[socket] = Outbox(socket)
        _open_sockets.add(socket)
        self._readiness.add_reader(socket.fileno(), self._on_readable, socket)

    def remove_socket(self, socket: UdpSocket) -> None:
        """Stop driving a socket and close it."""
        if self._sockets.pop(socket, None) is not None:
            self._readiness.remove_reader(socket.fileno())
            self._readiness.remove_writer(socket.fileno())
            _open_sockets.discard(socket)
            socket.close()

    def drain_soon(self) -> None:
        """Drain once the current callback is done, however often this is called until then."""
        if self._drain_is_due or self._closed or self.loop.is_closed():
            return
        self._drain_is_due = True
        if not self._draining:
            self.loop.call_soon(self._drain_if_due)

    def drain(self) -> None:
        """Send what the machine wants sent, hand on its events and set its timer."""
        if self._draining or self._closed:
            self._drain_is_due = not self._closed
            return
        self._drain()
        for future, condition in list(self._waiting.items()):
            if not future.done() and condition():
                future.set_result(True)
        self._close_if_idle()
        if not self._closed:
            self._set_timer()

    async def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Wait until `condition()` is true, asked after each drain; return False if closed before."""
        if self._closed or condition():
            return not self._closed
        future: asyncio.Future[bool] = self.loop.create_future()
        self._waiting[future] = condition
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    def close_when(self, idle: Callable[[], bool]) -> None:
        """Close as soon as `idle()` is true, asked after each drain: until then what lingers is answered."""
        self._idle = idle
        self.drain_soon()

    def close(self) -> None:
        """Send what the machine still wants sent, if the kernel takes it at once, and close the sockets."""
        if self._closed:
            return
        self._drain_to_close()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for socket in list(self._sockets):
            self.remove_socket(socket)
        if isinstance(self._readiness, SelectThread):
            self._readiness.close()
        for future in self._waiting:
            if not future.done():
                future.set_result(False)
        self._loop_end.cancel()

    def __del__(self) -> None:
        """Do what is left to do if the loop was closed and had not called `_end`."""
        if self._closed:
            return
        self._closed = True
        losses = [(transport, transport.undelivered) for transport in self.transports]
        for transport in self.transports:
            transport.stream.abort(self.now)
        # Not by `_send`: the loop that would wait for room is closed.
        for transmit in self.machine.transmits():
            if (outbox := self._sockets.get(self._socket_of(transmit))) is not None:
                outbox.send(transmit)
        for socket in self._sockets:
            _open_sockets.discard(socket)
            socket.close()
        self._loop_end.cancel()
        warn_of_loss(losses)

    async def _end(self) -> None:
        await deliver(self)

    def _drain_if_due(self) -> None:
        if self._drain_is_due:
            self.drain()

    def _tell(self, event: Any) -> None:
        try:
            super()._tell(event)
        except BaseException:
            # A protocol of the program has raised SystemExit, say: it is not called with this again.
            self._untold.popleft()
            raise

    def _report_failure(self, event: Any, error: Exception) -> None:
        self.loop.call_exception_handler(
            {"message": f"Unhandled exception in the handling of {event!r}", "exception": error}
        )

    def _on_readable(self, socket: UdpSocket) -> None:
        try:
            self._receive(socket, self.loop.time())
        finally:
            self.drain()

    def _wait_for_room(self, socket: UdpSocket) -> None:
        self._readiness.add_writer(socket.fileno(), self._send_waiting, socket)

    def _stop_waiting_for_room(self, socket: UdpSocket) -> None:
        self._readiness.remove_writer(socket.fileno())

    def _set_timer(self) -> None:
        deadline = self.machine.next_timeout()
        if self._timer is not None:
            assert self._timer_deadline is not None
            # A timer that fires too early does no harm, and most deadlines only ever move away.
            if deadline is not None and deadline >= self._timer_deadline:
                return
            self._timer.cancel()
            self._timer = None
        self._timer_deadline = deadline
        if deadline is not None:
            self._timer = self.loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_deadline = None
        try:
            self.machine.handle_timeout(self.loop.time())
        finally:
            self.drain()
