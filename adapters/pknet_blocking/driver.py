"""Drives a machine over a UDP socket by a thread of its own.

The thread serves the machine's timers and sockets; the program's threads call the machine's verbs under the driver's
lock, send at once what comes of it, and wait on conditions of that lock.
"""

from __future__ import annotations

import atexit
import selectors
import socket as sockets
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pknet import Transmit
    from pknet.machine import SegmentMachine
    from pknet_io.udp import UdpSocket

__all__ = ["Driver"]

# Receive calls in one wake-up, then the machine answers.
MAX_RECEIVES = 32
# How long the end of the program waits for what was given to streams to be delivered.
EXIT_TIME = 5.0


class Driver:
    """Joins a machine to UDP sockets; `on_event` is called, under the lock, for each of the machine's events.

    Hold `lock` while calling a domain verb of the machine, and call `drain` before letting go of it.
    """

    def __init__(self, machine: SegmentMachine, socket: UdpSocket, on_event: Callable[[Any], None]) -> None:
        self.machine = machine
        self.socket = socket
        self.lock = threading.RLock()
        self._on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = sockets.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._sockets: dict[UdpSocket, deque[Transmit]] = {}
        # Until when the thread sleeps; -inf while it is awake and will look at the machine's deadline itself.
        self._sleeps_until = float("-inf")
        self._draining = False
        self._drain_again = False
        self._closed = False
        self._idle: Callable[[], bool] | None = None
        self._undelivered: Callable[[], bool] = lambda: False
        self._drained = threading.Condition(self.lock)
        self._thread = threading.Thread(target=self._run, name=f"pknet {socket.address}", daemon=True)
        self.add_socket(socket)
        self._thread.start()
        _drivers.add(self)

    @property
    def now(self) -> float:
        """The clock that the machine is given as `now`."""
        return time.monotonic()

    @property
    def is_closed(self) -> bool:
        """Whether the sockets are closed."""
        return self._closed

    def add_socket(self, socket: UdpSocket) -> None:
        """Drive one more socket, for datagrams whose `local` is one of its handles."""
        with self.lock:
            self._sockets[socket] = deque()
            self._selector.register(socket.fileno(), selectors.EVENT_READ, socket)
            self._wake()

    def remove_socket(self, socket: UdpSocket) -> None:
        """Stop driving a socket and close it."""
        with self.lock:
            if self._sockets.pop(socket, None) is not None:
                self._selector.unregister(socket.fileno())
                socket.close()

    def drain(self) -> None:
        """Send what the machine wants sent, hand on its events, and see to it that its timer is served."""
        with self.lock:
            if self._closed:
                return
            if self._draining:
                self._drain_again = True
                return
            self._draining = True
            try:
                while True:
                    self._drain_again = False
                    self._send(self.machine.transmits())
                    events = self.machine.events()
                    for event in events:
                        self._on_event(event)
                    if not events and not self._drain_again:
                        break
            finally:
                self._draining = False
            self._drained.notify_all()
            if self._idle is not None and self._idle():
                self.close()
                return
            deadline = self.machine.next_timeout()
            if deadline is not None and deadline < self._sleeps_until:
                self._wake()

    def deliver_before_exit(self, undelivered: Callable[[], bool]) -> None:
        """Have the end of the program wait, within a bound, while `undelivered()` is true."""
        self._undelivered = undelivered

    def wait_delivered(self, timeout: float) -> None:
        """Wait until nothing is undelivered."""
        with self._drained:
            self._drained.wait_for(lambda: self._closed or not self._undelivered(), max(timeout, 0))

    def close_when(self, idle: Callable[[], bool]) -> None:
        """Close as soon as `idle()` is true, asked after each drain: what lingers is still answered until then."""
        with self.lock:
            self._idle = idle
            self.drain()

    def close(self) -> None:
        """Send what the machine still wants sent, as far as the kernel takes it at once, and close the sockets."""
        with self.lock:
            if self._closed:
                return
            self._idle = None
            self.drain()
            self._closed = True
            for socket in list(self._sockets):
                self.remove_socket(socket)
            _drivers.discard(self)
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                with self.lock:
                    if self._closed:
                        return
                    deadline = self.machine.next_timeout()
                    self._sleeps_until = float("inf") if deadline is None else deadline
                ready = self._selector.select(None if deadline is None else max(deadline - self.now, 0))
                with self.lock:
                    self._sleeps_until = float("-inf")
                    if self._closed:
                        return
                    self._serve(ready)
        finally:
            self._selector.close()
            self._wake_receiver.close()
            self._wake_sender.close()

    def _serve(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        now = self.now
        for key, mask in ready:
            socket = key.data
            if socket is None:
                self._swallow_wake_ups()
            elif socket in self._sockets:
                if mask & selectors.EVENT_READ:
                    self._receive(socket, now)
                if mask & selectors.EVENT_WRITE:
                    self._send_waiting(socket)
        deadline = self.machine.next_timeout()
        if deadline is not None and deadline <= now:
            self.machine.handle_timeout(now)
        self.drain()

    def _receive(self, socket: UdpSocket, now: float) -> None:
        for _ in range(MAX_RECEIVES):
            received = socket.receive()
            if received is None:
                break
            data, segment_size, remote = received.data, received.segment_size, received.remote
            local = received.local if socket is self.socket else socket.local
            if segment_size is None:
                self.machine.receive_datagram(data, remote, local, now)
            else:
                self.machine.receive_segments(data, segment_size, remote, local, now)

    def _send(self, transmits: Iterable[Transmit]) -> None:
        for transmit in transmits:
            socket = self.socket if transmit.local is None else transmit.local.socket
            waiting = self._sockets.get(socket)
            if waiting is None:
                continue
            if waiting or not socket.send(transmit):
                if not waiting:
                    self._selector.modify(socket.fileno(), selectors.EVENT_READ | selectors.EVENT_WRITE, socket)
                    self._wake()
                waiting.append(transmit)

    def _send_waiting(self, socket: UdpSocket) -> None:
        waiting = self._sockets[socket]
        while waiting and socket.send(waiting[0]):
            waiting.popleft()
        if not waiting:
            self._selector.modify(socket.fileno(), selectors.EVENT_READ, socket)

    def _wake(self) -> None:
        """Have the thread look at its sockets and deadline anew."""
        if threading.current_thread() is not self._thread:
            try:
                self._wake_sender.send(b"\0")
            except BlockingIOError:
                # So many wake-ups are under way that one more changes nothing.
                pass

    def _swallow_wake_ups(self) -> None:
        try:
            while self._wake_receiver.recv(4096):
                pass
        except BlockingIOError:
            pass


_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()


@atexit.register
def _deliver_at_exit() -> None:
    """Give what closed streams still have to deliver a bounded time, as the kernel does for TCP."""
    deadline = time.monotonic() + EXIT_TIME
    for driver in list(_drivers):
        driver.wait_delivered(deadline - time.monotonic())
