"""The end of an event loop: what was closed before is delivered all the same, as the kernel does it for TCP.

asyncio has one hook for this: `loop.shutdown_asyncgens`, which `asyncio.run` calls between the program's last
task and the closing of the loop, closes each asynchronous generator that was begun in the loop, and waits
until that is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
import weakref
from typing import TYPE_CHECKING

from pknet.utp import CloseReason
from pknet_io.ending import EXIT_TIME, PARTING_TIME, parting
from pknet_io.errors import connection_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Any

    from pknet_asyncio.driver import Driver
    from pknet_asyncio.transport import StreamTransport

__all__ = ["LoopEnd", "deliver", "warn_of_loss"]


class LoopEnd:
    """Has a method called, and waited for, when the running loop is about to end.

    It does not keep the method's object alive. If the loop ends without `shutdown_asyncgens`, nothing is
    called.
    """

    def __init__(self, method: Callable[[], Awaitable[None]]) -> None:
        self._method = weakref.WeakMethod(method)
        self._is_over = False
        self._generator = self._wait()
        _step(self._generator.__anext__())

    def cancel(self) -> None:
        """Call nothing any more; harmless while the method is being called, or when repeated."""
        if not self._is_over:
            self._is_over = True
            _step(self._generator.aclose())

    async def _wait(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            method = self._method()
            if not self._is_over and method is not None:
                self._is_over = True
                await method()


async def deliver(driver: Driver) -> None:
    """Wait, within bounds, until what was written to the driver's closed transports is delivered.

    All others are aborted at once. What could not be delivered is told: to the program's protocols, and as a
    ResourceWarning where it had not closed the transport, or else to the loop's exception handler.
    """
    left_open = [transport for transport in driver.transports if not transport.is_closed_by_program]
    losses = [(transport, transport.undelivered) for transport in left_open]
    for transport in left_open:
        transport.abort()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EXIT_TIME):
            await driver.wait_for(lambda: all(transport.is_delivered for transport in driver.transports))
        async with asyncio.timeout(PARTING_TIME):
            await driver.wait_for(lambda: not parting(driver.machine))
    for transport in list(driver.transports):
        undelivered = transport.undelivered
        error = connection_error(CloseReason.TIMED_OUT, undelivered) if undelivered else None
        transport.fail(error)
        if error is not None:
            driver.loop.call_exception_handler(
                {
                    "message": f"The program ended within {EXIT_TIME:g} s of closing {transport!r}",
                    "exception": error,
                    "transport": transport,
                }
            )
    for connection in parting(driver.machine):
        connection.abort(driver.now)
    driver.close()
    warn_of_loss(losses)


def warn_of_loss(losses: list[tuple[StreamTransport, int]]) -> None:
    """Warn of transports that were not closed before the loop ended, and of the bytes lost by that."""
    for transport, undelivered in losses:
        if undelivered:
            message = (
                f"{transport!r} was cut off by the end of its loop: {undelivered} bytes were not delivered"
            )
            warnings.warn(message, ResourceWarning, source=transport, stacklevel=2)


def _step(awaitable: Any) -> None:
    """Run what does not wait for anything."""
    with contextlib.suppress(StopIteration):
        awaitable.send(None)
