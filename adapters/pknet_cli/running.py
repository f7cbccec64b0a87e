"""Running a network until the user has had enough."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, TypeVar

import click

from pknet.errors import PknetError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["run", "wait_for_signal"]

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's work; what a user can do something about becomes one line."""
    try:
        return asyncio.run(work)
    except (PknetError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.Abort from None


async def wait_for_signal() -> None:
    """Wait for Ctrl-C or a request to terminate."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where loops can't, as on Windows, Ctrl-C raises KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await stop.wait()
