"""Who serves a driver's sockets: its own thread, or a thread of the program that waits for what comes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Guests"]

# How often the driver's own thread looks whether guests have gone for good, in seconds: seldom if they have
# come for long, as each look holds them up.
FIRST_LOOK = 0.001
LAST_LOOK = 0.016
# How long it relies on a guest to say that it goes: one that is interrupted may not come to that.
REST = 1.0

_FOREVER = float("inf")


class Guests:
    """Has a thread that waits alone serve the sockets meanwhile, as a guest.

    What comes need not change threads then, which costs more than the packets do. The driver's own thread
    steps aside, and takes over when no guest has come for a moment, or at once if several threads wait.

    `serve(limit)` serves once, waits for that until `limit` at most (of time.monotonic), and lets go of
    the lock while it waits; `wake()` ends its waiting. The driver's lock is held in every call.
    """

    def __init__(
        self,
        lock: threading.RLock,
        serve: Callable[[float], None],
        wake: Callable[[], None],
        is_closed: Callable[[], bool],
    ) -> None:
        self._serve = serve
        self._wake = wake
        self._is_closed = is_closed
        # Of the own thread: it serves; or it rests until a guest says that it goes.
        self._own_serves = False
        self._own_rests = False
        self._has_guest = False
        self._waiting = 0
        # How often guests have served, and how often they had when the own thread last looked.
        self._turns = 0
        self._turns_seen = 0
        self._changed = threading.Condition(lock)

    def serve(self) -> None:
        """Serve once, as the driver's own thread, and then let guests serve for as long as there are some."""
        self._own_serves = True
        try:
            self._serve(_FOREVER)
        finally:
            self._own_serves = False
            self._changed.notify_all()
        pause = FIRST_LOOK
        while self._has_guest or (
            self._turns != self._turns_seen and not self._waiting and not self._is_closed()
        ):
            self._own_rests = self._turns == self._turns_seen
            self._turns_seen = self._turns
            self._changed.wait(REST if self._own_rests else pause)
            pause = FIRST_LOOK if self._own_rests else min(2 * pause, LAST_LOOK)
        self._own_rests = False

    def wait(
        self,
        changed: threading.Condition,
        is_ready: Callable[[], bool],
        timeout: float | None,
        *,
        may_serve: bool,
    ) -> bool:
        """Wait until `is_ready()`, but no longer than `timeout` seconds, and return whether it is.

        `changed` is a condition of the lock, notified whenever that may have become so.
        """
        limit = _FOREVER if timeout is None else time.monotonic() + timeout
        self._waiting += 1
        try:
            if may_serve and self._waiting == 1:
                self._serve_until(is_ready, limit)
            # For who waits beside others, and for who is still here because the driver was closed.
            left = limit - time.monotonic()
            return changed.wait_for(is_ready, max(left, 0) if left < threading.TIMEOUT_MAX else None)
        finally:
            self._waiting -= 1

    def tell_closed(self) -> None:
        """Have the own thread look whether it is needed: the driver was closed."""
        self._changed.notify_all()

    def _serve_until(self, is_ready: Callable[[], bool], limit: float) -> None:
        self._has_guest = True
        try:
            while not self._is_closed() and not is_ready() and (left := limit - time.monotonic()) > 0:
                if self._own_serves:
                    self._wake()
                    self._changed.wait(left if left < threading.TIMEOUT_MAX else None)
                else:
                    self._turns += 1
                    self._serve(limit)
        finally:
            self._has_guest = False
            if self._own_rests or self._waiting > 1:
                self._changed.notify_all()
