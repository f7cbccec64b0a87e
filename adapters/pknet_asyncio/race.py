"""Several attempts of which the first to succeed counts: "Happy Eyeballs" (RFC 8305 section 5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

__all__ = ["first_to_succeed"]

T = TypeVar("T")


async def first_to_succeed(
    attempts: Sequence[Callable[[], Coroutine[Any, Any, T]]], delay: float, give_back: Callable[[T], None]
) -> T:
    """Start attempts in order, each `delay` seconds after the one before or when all before have failed.

    Return what the first brings that succeeds; the others are cancelled, and what they bring all the same is
    given back. Raises what the first one raised if all fail.
    """
    waiting = list(attempts)
    started: list[asyncio.Task[T]] = []
    running: set[asyncio.Task[T]] = set()
    chosen = None
    try:
        while waiting or running:
            if waiting:
                started.append(asyncio.ensure_future(waiting.pop(0)()))
                running.add(started[-1])
            done, running = await asyncio.wait(
                running, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            chosen = next((task for task in done if task.exception() is None), None)
            if chosen is not None:
                return chosen.result()
        return started[0].result()
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task in started:
            if task is not chosen and not task.cancelled() and task.exception() is None:
                give_back(task.result())
