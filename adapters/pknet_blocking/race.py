"""Several dials of which the first to open counts: "Happy Eyeballs" (RFC 8305 section 5)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pknet_blocking.connection import Connection

__all__ = ["first_to_open"]


def first_to_open(
    dials: Sequence[Callable[[Callable[[], None]], Connection]], delay: float, timeout: float | None
) -> Connection:
    """Begin dials in order, each `delay` seconds after the one before or when all before have failed.

    Each is called with what it is to call when something has changed, and has failed if it raises OSError.
    Return the first connection that opens; the others are aborted, and their drivers closed. Raises what
    ended the first one if all fail, TimeoutError.
    """
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    changed = threading.Event()
    begun: list[Connection] = []
    # What the first dial raised, if it could not even begin.
    error: OSError | None = None
    try:
        for number, dial in enumerate(dials, 1):
            try:
                begun.append(dial(changed.set))
            except OSError as failure:
                if number == 1:
                    error = failure
            pause = delay if number < len(dials) else float("inf")
            until = min(time.monotonic() + pause, deadline)
            while True:
                # It may be over by now, too: then its methods say so.
                for connection in begun:
                    if connection.is_open:
                        begun.remove(connection)
                        connection.on_change = None
                        return connection
                left = until - time.monotonic()
                if left <= 0 or all(connection.is_over for connection in begun):
                    break
                changed.wait(left if left < threading.TIMEOUT_MAX else None)
                changed.clear()
        _fail(begun, error)
    finally:
        for connection in begun:
            with connection.driver.lock:
                # The peer may have answered already: it is told.
                connection.abort()
                connection.driver.close()
            connection.driver.join()


def _fail(begun: list[Connection], error: OSError | None) -> NoReturn:
    if all(connection.is_over for connection in begun):
        if error is not None:
            raise error
        begun[0].wait_open(0)
    raise TimeoutError("timed out")
