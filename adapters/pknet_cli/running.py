"""Running a command until it is done or the user has had enough."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, TypeVar

import click

from pknet.errors import PknetError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["run", "run_until_stopped"]

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's work; an error that the user can do something about becomes one line."""
    try:
        return asyncio.run(work)
    except (PknetError, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None
    except KeyboardInterrupt:
        raise click.Abort from None


def run_until_stopped(work: Callable[[asyncio.Event], Coroutine[object, object, None]]) -> None:
    """Run a command that goes on until the event it is given is set: by Ctrl-C, or a request to terminate."""

    async def with_signals() -> None:
        stop = asyncio.Event()
        # Before anything is printed: who reads that may ask for the end at once.
        for number in (signal.SIGINT, signal.SIGTERM):
            # Where loops can't, as on Windows, Ctrl-C raises KeyboardInterrupt.
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await work(stop)

    run(with_signals())
