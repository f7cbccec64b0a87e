"""Running a command until it is done or the user has had enough."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, TypeVar

from click.exceptions import Exit

from pknet_cli.output import say

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["interrupted", "run", "until_stopped"]

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's work; Ctrl-C, or a request to terminate, cancels it."""
    return asyncio.run(_run(work))


async def until_stopped() -> None:
    """Wait for Ctrl-C, or a request to terminate; work that waits here has done what it was for."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.get_running_loop().create_future()
    say("Stopping.")


def interrupted(number: int = signal.SIGINT) -> Exit:
    """Say that the work was not done, and return what ends the command with the status of shells for that."""
    say("Interrupted.")
    return Exit(128 + number)


async def _run(work: Coroutine[object, object, T]) -> T:
    task = asyncio.ensure_future(work)
    asked: list[int] = []

    def stop(number: int) -> None:
        asked.append(number)
        task.cancel()

    # Before anything is printed: who reads that may ask for the end at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where loops can't, as on Windows, asyncio itself cancels at Ctrl-C, and raises KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not asked:
            raise
        raise interrupted(asked[-1]) from None
