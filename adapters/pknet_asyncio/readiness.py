"""Tells an event loop when sockets are ready, where it has no add_reader: Windows' Proactor loop."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

__all__ = ["Readiness", "SelectThread", "readiness_of"]


class Readiness(Protocol):
    """The four verbs of an event loop that tell when a socket is ready."""

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> Any:
        """Call back whenever `fd` is readable."""

    def remove_reader(self, fd: int) -> Any:
        """Call back no more; harmless if nothing was registered."""

    def add_writer(self, fd: int, callback: Callable[..., Any], *args: Any) -> Any:
        """Call back whenever `fd` is writable."""

    def remove_writer(self, fd: int) -> Any:
        """Call back no more; harmless if nothing was registered."""


def readiness_of(loop: asyncio.AbstractEventLoop, fd: int) -> Readiness:
    """Return the loop itself if it can watch `fd`, or else a thread that does it for the loop."""
    try:
        loop.remove_reader(fd)
    except NotImplementedError:
        return SelectThread(loop)
    return loop


class SelectThread:
    """Waits by select in a thread of its own, and calls back in the loop.

    All methods belong to the loop's thread. It waits again only after the callbacks were called: they have to
    take what is ready, or it would be ready for ever.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._state = _State()
        self._readers: dict[int, Callable[[], Any]] = {}
        self._writers: dict[int, Callable[[], Any]] = {}
        # The thread holds no reference to this object, so that it ends when this is forgotten.
        self._close = weakref.finalize(self, self._state.close)
        self.thread = threading.Thread(
            target=_run,
            args=(self._state, loop, weakref.WeakMethod(self._call_back)),
            name="pknet select",
            daemon=True,
        )
        self.thread.start()

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        """Call back whenever `fd` is readable."""
        self._readers[fd] = lambda: callback(*args)
        self._state.readers.add(fd)
        self._state.wake()

    def remove_reader(self, fd: int) -> None:
        """Call back no more; harmless if nothing was registered."""
        self._readers.pop(fd, None)
        self._state.readers.discard(fd)
        self._state.wake()

    def add_writer(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        """Call back whenever `fd` is writable."""
        self._writers[fd] = lambda: callback(*args)
        self._state.writers.add(fd)
        self._state.wake()

    def remove_writer(self, fd: int) -> None:
        """Call back no more; harmless if nothing was registered."""
        self._writers.pop(fd, None)
        self._state.writers.discard(fd)
        self._state.wake()

    def close(self) -> None:
        """End the thread."""
        self._close()
        self.thread.join()

    def _call_back(self, readable: Iterable[int], writable: Iterable[int]) -> None:
        try:
            for ready, callbacks in ((readable, self._readers), (writable, self._writers)):
                for fd in ready:
                    callback = callbacks.get(fd)
                    if callback is not None:
                        callback()
        finally:
            self._state.go_on()


class _State:
    """What the loop and the thread share."""

    def __init__(self) -> None:
        self.readers: set[int] = set()
        self.writers: set[int] = set()
        self.changed = threading.Condition()
        self.is_called_back = True
        self.is_closed = False
        self.wake_receiver, self.wake_sender = socket.socketpair()
        self.wake_receiver.setblocking(False)
        self.wake_sender.setblocking(False)

    def wake(self) -> None:
        # So many wake-ups may be under way that one more changes nothing; or the thread is gone with its
        # loop.
        with contextlib.suppress(OSError):
            self.wake_sender.send(b"\0")

    def swallow_wake_ups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.wake_receiver.recv(4096):
                pass

    def go_on(self) -> None:
        with self.changed:
            self.is_called_back = True
            self.changed.notify()

    def wait(self) -> bool:
        """Wait until what was ready has been seen to; return False if all is over."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_called_back or self.is_closed)
            return not self.is_closed

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.changed.notify()
        self.wake()


def _run(
    state: _State,
    loop: asyncio.AbstractEventLoop,
    callback_of: Callable[[], Callable[[Iterable[int], Iterable[int]], None] | None],
) -> None:
    with state.wake_receiver, state.wake_sender:
        while state.wait():
            try:
                readable, writable, _ = select.select(
                    [state.wake_receiver.fileno(), *state.readers], list(state.writers), []
                )
            except (OSError, ValueError):
                # A socket was closed meanwhile; it is off the lists by now.
                continue
            if state.wake_receiver.fileno() in readable:
                state.swallow_wake_ups()
                readable.remove(state.wake_receiver.fileno())
            if readable or writable:
                state.is_called_back = False
                if not _post(loop, callback_of(), readable, writable):
                    return


def _post(
    loop: asyncio.AbstractEventLoop,
    callback: Callable[[Iterable[int], Iterable[int]], None] | None,
    readable: list[int],
    writable: list[int],
) -> bool:
    """Hand over to the loop; return False if it is closed, or nobody is interested any more."""
    if callback is None:
        return False
    try:
        loop.call_soon_threadsafe(callback, readable, writable)
    except RuntimeError:
        return False
    return True
