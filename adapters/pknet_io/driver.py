"""What the drivers of both adapters have in common: everything but waiting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from pknet_io.segments import segment_receiver
from pknet_io.too_big import too_big_reporter
from pknet_io.unreachable import unreachable_reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pknet import Transmit
    from pknet.machine import Machine
    from pknet_io.local import LocalAddress
    from pknet_io.outbox import Outbox
    from pknet_io.udp import UdpSocket

__all__ = ["MAX_RECEIVES", "DriverBase"]

# Receive calls in one wake-up. Each brings a datagram or a run of up to 64 KiB; then the machine answers, so
# that acknowledgements are never further apart than this, and whatever else waits has its turn.
MAX_RECEIVES = 32


class DriverBase(ABC):
    """Joins a machine to UDP sockets: gives it what they receive, sends what it wants sent, tells its events.

    An adapter's driver says when: it waits until a socket is ready or the machine's timer is due.
    """

    _closed = False

    def __init__(self, machine: Machine, socket: UdpSocket, on_event: Callable[[Any], None]) -> None:
        self.machine = machine
        self.socket = socket
        self._on_event = on_event
        self._receive_segments = segment_receiver(machine)
        self._report_too_big = too_big_reporter(machine)
        self._report_unreachable = unreachable_reporter(machine)
        self._sockets: dict[UdpSocket, Outbox] = {}
        # Events that were taken of the machine and are not told yet.
        self._untold: deque[Any] = deque()
        self._draining = False
        self._drain_is_due = False
        self._idle: Callable[[], bool] | None = None

    @property
    @abstractmethod
    def now(self) -> float:
        """The clock that the machine is given as `now`."""

    @property
    def is_closed(self) -> bool:
        """Whether the sockets are closed."""
        return self._closed

    @abstractmethod
    def drain(self) -> None:
        """Send what the machine wants sent, hand on its events and see to its timer."""

    @abstractmethod
    def close(self) -> None:
        """Send what the machine still wants sent, if the kernel takes it at once, and close the sockets."""

    @abstractmethod
    def _wait_for_room(self, socket: UdpSocket) -> None:
        """Have `_send_waiting` called once a socket is writable: the kernel's send buffer is full."""

    @abstractmethod
    def _stop_waiting_for_room(self, socket: UdpSocket) -> None:
        """Take back `_wait_for_room`: nothing waits any more."""

    @abstractmethod
    def _report_failure(self, event: Any, error: Exception) -> None:
        """Say that the handling of an event failed."""

    def _receive(self, socket: UdpSocket, now: float) -> None:
        """Give the machine what a socket has received, up to a bound."""
        for _ in range(MAX_RECEIVES):
            received = socket.receive()
            if received is None:
                break
            data, segment_size, remote = received.data, received.segment_size, received.remote
            local = received.local if socket is self.socket else socket.local
            if segment_size is None:
                self.machine.receive_datagram(data, remote, local, now)
            else:
                self._receive_segments(data, segment_size, remote, local, now)

    def _drain(self) -> None:
        """Send what the machine wants sent and hand on its events, until it has no more of either."""
        self._draining = True
        try:
            while not self._closed:
                self._drain_is_due = False
                self._send(self.machine.transmits())
                changed = self._report_too_big(self._sockets, self.now)
                changed |= self._report_unreachable(self._sockets, self.now)
                has_told = self._tell_events()
                # Handling an event may have called a verb, and so may have made something new to send.
                if not has_told and not changed and not self._drain_is_due:
                    break
        finally:
            self._draining = False

    def _drain_to_close(self) -> None:
        """Send what the machine wants sent before the sockets are closed, also from within `_drain`."""
        self._idle = None
        self.drain()
        if self._draining:
            # Closed by the handler of an event: `_drain` still tells what it had taken, and takes no more.
            self._send(self.machine.transmits())

    def _close_if_idle(self) -> None:
        """Close if that was asked for as soon as nothing lingers, and nothing does."""
        if self._idle is not None and self._idle():
            self.close()

    def _send(self, transmits: Iterable[Transmit]) -> None:
        for transmit in transmits:
            socket = self._socket_of(transmit)
            outbox = self._sockets.get(socket)
            if outbox is not None and outbox.send(transmit):
                self._wait_for_room(socket)

    def _socket_of(self, transmit: Transmit) -> UdpSocket:
        return self.socket if transmit.local is None else cast("LocalAddress", transmit.local).socket

    def _send_waiting(self, socket: UdpSocket) -> None:
        if self._sockets[socket].flush():
            self._stop_waiting_for_room(socket)

    def _tell_events(self) -> bool:
        """Hand on the machine's events; return whether there were any.

        A signal handler that raises may end this anywhere: an event is kept until it is told, so the next
        drain goes on with it.
        """
        # One call, which can't be interrupted between taking the events and keeping them.
        self._untold.extend(chain.from_iterable(iter(self.machine.events, [])))
        has_told = bool(self._untold)
        while self._untold:
            self._tell(self._untold[0])
            self._untold.popleft()
        return has_told

    def _tell(self, event: Any) -> None:
        # Whatever goes wrong there must not cost the other events of the batch, nor what serves the machine.
        try:
            self._on_event(event)
        except Exception as error:
            self._report_failure(event, error)
