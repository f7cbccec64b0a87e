"""Drives a machine over a UDP socket, by a thread of its own or by one of the program that waits.

That serves the machine's timers and sockets (see `guests`); the program's threads call the machine's verbs
under the driver's lock, send at once what comes of it, and wait on conditions of that lock.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket as sockets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from pknet_blocking.ending import deliver_at_exit
from pknet_blocking.guests import Guests
from pknet_io.driver import DriverBase
from pknet_io.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.machine import Machine
    from pknet_io import UdpSocket

__all__ = ["Driver"]

# A selector takes no more than 24.8 days (epoll_wait has milliseconds in an int); after this it waits anew.
LONGEST_WAIT = 86400.0

_logger = logging.getLogger("pknet")


class Driver(DriverBase):
    """Joins a machine to UDP sockets; `on_event` is called, under the lock, for each of the machine's events.

    Hold `lock` while calling a domain verb of the machine, and call `drain` before letting go of it. What is
    called under the lock must not wait for anything. Nothing is received before `start`.

    A signal handler of the program may raise wherever the main thread runs Python, so the lock is entered
    itself, which is C, and not by way of a Condition: that could be interrupted with the lock taken for good.
    """

    def __init__(self, machine: Machine, socket: UdpSocket, on_event: Callable[[Any], None]) -> None:
        super().__init__(machine, socket, on_event)
        self.address = socket.address
        """The (host, port) that the socket is bound to, or was."""
        self.on_exit: Callable[[], None] = lambda: None
        """Called when the program ends and this is not closed by then; the lock is held."""
        self.lock = threading.RLock()
        self._acquire_restore: Callable[[tuple[int, int]], None] = getattr(self.lock, "_acquire_restore")  # noqa: B009
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = sockets.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._wake_up)
        self._soon: deque[Callable[[], None]] = deque()
        # Until when the serving thread sleeps; -inf while it is awake and will look at the deadline itself.
        self._sleeps_until = float("-inf")
        self._is_asleep = False
        self._drained = threading.Condition(self.lock)
        self._guests = Guests(self.lock, self._serve, self._wake, lambda: self._closed)
        self._thread = threading.Thread(target=self._run, name=f"pknet {self.address}", daemon=True)
        self._started = False
        self.add_socket(socket)

    @property
    def now(self) -> float:
        """The clock that the machine is given as `now`."""
        return time.monotonic()

    def start(self) -> None:
        """Begin, once whoever is told of events is ready for them."""
        self._thread.start()
        self._started = True
        deliver_at_exit(self)

    def add_socket(self, socket: UdpSocket) -> None:
        """Drive one more socket, for datagrams whose `local` is one of its handles."""
        with self.lock:
            self._sockets[socket] = Outbox(socket)
            self._selector.register(socket.fileno(), selectors.EVENT_READ, socket)
            self._wake()

    def remove_socket(self, socket: UdpSocket) -> None:
        """Stop driving a socket and close it."""
        with self.lock:
            if self._sockets.pop(socket, None) is not None:
                self._selector.unregister(socket.fileno())
                socket.close()

    def watch(self, socket: sockets.socket, events: int, callback: Callable[[], None]) -> None:
        """Call back, under the lock, whenever a socket of the caller's is ready for one of `events`.

        They are those of `selectors`. With other events, watch it for those from now on; with none, no more:
        that comes before it is closed.
        """
        with self.lock:
            if self._closed:
                return
            is_watched = socket in self._selector.get_map()
            if not events:
                if is_watched:
                    self._selector.unregister(socket)
            elif is_watched:
                self._selector.modify(socket, events, callback)
            else:
                self._selector.register(socket, events, callback)
            self._wake()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have the thread call back soon, under the lock.

        It takes no lock, so a finalizer may call it, in the midst of whatever a thread was doing.
        """
        self._soon.append(callback)
        try:
            self._wake_sender.send(b"\0")
        except BlockingIOError:
            pass  # So many wake-ups are under way that one more changes nothing.
        except OSError:
            # The thread has ended, and the machine with it.
            self.call_what_is_due()

    def call_what_is_due(self) -> None:
        """Call now what `call_soon` was asked for."""
        with self.lock:
            # No more than there are now: what fails may ask to be called once more.
            for _ in range(len(self._soon)):
                if self._soon:
                    self._try(self._soon.popleft())

    def drain(self) -> None:
        """Send what the machine wants sent, hand on its events, and see to it that its timer is served."""
        with self.lock:
            if self._closed:
                return
            if self._draining:
                self._drain_is_due = True
                return
            try:
                self._drain_and_notify()
            except BaseException:
                self._leave_rest_to_thread()
                raise

    def wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition()` is true, asked after each drain, but no longer than `timeout`.

        Return whether it is; not if the driver is closed first.
        """
        with self.lock:
            limit = None if timeout is None else max(timeout, 0)
            self.wait(self._drained, lambda: self._closed or condition(), limit)
            return not self._closed and condition()

    def wait(self, changed: threading.Condition, is_ready: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `is_ready()`, but no longer than `timeout` seconds, and return whether it is.

        `changed`: a condition of the lock, notified when that may have become so. The lock is held, once.
        """
        is_own = threading.current_thread() is self._thread
        may_serve = self._started and not self._draining and not is_own
        return self._guests.wait(changed, is_ready, timeout, may_serve=may_serve)

    def close_when(self, idle: Callable[[], bool]) -> None:
        """Close as soon as `idle()` is true, asked after each drain: until then what lingers is answered."""
        with self.lock:
            self._idle = idle
            self.drain()

    def close(self) -> None:
        """Send what the machine still wants sent, if the kernel takes it at once, and close the sockets.

        The thread ends soon after; `join` waits for that.
        """
        with self.lock:
            if self._closed:
                return
            self._drain_to_close()
            for socket in list(self._sockets):
                self.remove_socket(socket)
            self._closed = True
            self._drained.notify_all()
            self._guests.tell_closed()
            if self._started:
                self._wake()
            else:
                self._release()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, after `close`. The lock must not be held."""
        if self._started and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _drain_and_notify(self) -> None:
        self._drain()
        self._drained.notify_all()
        self._close_if_idle()
        if not self._closed:
            deadline = self.machine.next_timeout()
            if deadline is not None and deadline < self._sleeps_until:
                self._wake()

    def _report_failure(self, event: Any, error: Exception) -> None:
        _logger.error("the handling of %r failed", event, exc_info=error)

    def _run(self) -> None:
        with self.lock:
            try:
                while not self._closed:
                    self._guests.serve()
            finally:
                self._release()

    def _release(self) -> None:
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()
        # What was asked for before that, and did not find it closed.
        self.call_what_is_due()

    def _serve(self, limit: float) -> None:
        """Wait until something is ready or due, but no longer than until `limit`, and see to it.

        The lock is held, once, but for the waiting.
        """
        deadline = self.machine.next_timeout()
        self._sleeps_until = limit if deadline is None else min(deadline, limit)
        timeout = min(max(self._sleeps_until - self.now, 0), LONGEST_WAIT)
        owned_once = 1, threading.get_ident()
        self._is_asleep = True
        try:
            self.lock.release()
            ready = self._selector.select(timeout)
        except OSError:
            # Where select is all there is, a socket that is closed meanwhile ends it so.
            ready = []
        finally:
            # As Condition.wait does it: unlike `acquire`, it can't be interrupted before it has the lock.
            self._acquire_restore(owned_once)
            self._is_asleep = False
            self._sleeps_until = float("-inf")
        if self._closed:
            return
        try:
            now = self.now
            for key, mask in ready:
                self._try(self._serve_socket, key.data, mask, now)
            deadline = self.machine.next_timeout()
            if deadline is not None and deadline <= now:
                self._try(self.machine.handle_timeout, now)
            self._try(self.drain)
        except BaseException:
            self._leave_rest_to_thread()
            raise

    def _leave_rest_to_thread(self) -> None:
        """Have the thread drain, where a signal handler may have raised in the midst of something."""
        if threading.current_thread() is threading.main_thread():
            self.call_soon(self.drain)

    def _try(self, step: Callable[..., None], *arguments: object) -> None:
        """Go on after a step that fails, as an event loop would: others may still be served."""
        try:
            step(*arguments)
        except Exception:
            _logger.exception("the driver of UDP %s port %d failed", *self.address)

    def _serve_socket(self, served: Any, mask: int, now: float) -> None:
        if served in self._sockets:
            if mask & selectors.EVENT_READ:
                self._receive(served, now)
            if mask & selectors.EVENT_WRITE:
                self._send_waiting(served)
        elif callable(served):
            served()

    def _wait_for_room(self, socket: UdpSocket) -> None:
        self._watch_for(socket, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _stop_waiting_for_room(self, socket: UdpSocket) -> None:
        self._watch_for(socket, selectors.EVENT_READ)

    def _watch_for(self, socket: UdpSocket, events: int) -> None:
        self._selector.modify(socket.fileno(), events, socket)
        self._wake()

    def _wake(self) -> None:
        """Have the thread that serves look at its sockets and deadline anew; the lock is held."""
        if self._is_asleep:
            # The socket is full of wake-ups, or closed with the thread.
            with contextlib.suppress(OSError):
                self._wake_sender.send(b"\0")

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_receiver.recv(4096):
                pass
        self.call_what_is_due()
