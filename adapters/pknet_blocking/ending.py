"""The end of a blocking program: what was given to streams is delivered all the same, as it is by TCP."""

from __future__ import annotations

import atexit
import logging
import time
import warnings
import weakref
from typing import TYPE_CHECKING

from pknet.utp import UtpEndpoint
from pknet_io.ending import EXIT_TIME, PARTING_TIME, parting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pknet_blocking.connection import Connection
    from pknet_blocking.driver import Driver

__all__ = ["deliver", "deliver_at_exit"]

_logger = logging.getLogger("pknet")
_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()


def deliver_at_exit(driver: Driver) -> None:
    """Have the end of the program see to a driver, unless it is closed by then."""
    _drivers.add(driver)


def deliver(drivers: Iterable[Driver]) -> None:
    """Close all streams of drivers, wait, within bounds, until they are delivered, and close the drivers.

    The bounds are for all together. What could not be delivered is told: as a ResourceWarning where the
    program had not closed the stream, or else by an error that is logged.
    """
    endings = [_Ending(driver) for driver in drivers]
    try:
        deadline = time.monotonic() + EXIT_TIME
        for ending in endings:
            ending.driver.wait_for(ending.is_delivered, deadline - time.monotonic())
        deadline = time.monotonic() + PARTING_TIME
        for ending in endings:
            if ending.is_delivered():
                ending.driver.wait_for(ending.is_over, deadline - time.monotonic())
    finally:
        for ending in endings:
            ending.abandon()
        deadline = time.monotonic() + PARTING_TIME
        for ending in endings:
            ending.driver.join(max(deadline - time.monotonic(), 0))
    for ending in endings:
        ending.tell_losses()


class _Ending:
    """What is left to do for a driver; its streams are closed when this is made."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._left_open: list[Connection] = []
        self._closed: list[Connection] = []
        driver.call_what_is_due()
        with driver.lock:
            driver.on_exit()
            # A node does this when its network is stopped.
            connections = driver.machine.connections if isinstance(driver.machine, UtpEndpoint) else []
            for connection in connections:
                if connection.context is not None:
                    closed = connection.context.is_closed
                    (self._closed if closed else self._left_open).append(connection.context)
                    connection.close(driver.now)
            driver.drain()

    def is_delivered(self) -> bool:
        """Return whether the peers have all that was sent to them."""
        with self.driver.lock:
            return not any(connection.unacknowledged for connection in parting(self.driver.machine))

    def is_over(self) -> bool:
        """Return whether the peers have ended their sides too."""
        return not parting(self.driver.machine)

    def abandon(self) -> None:
        """Tell each peer that it is over which has not ended by itself, and close the driver."""
        with self.driver.lock:
            if isinstance(self.driver.machine, UtpEndpoint):
                for connection in self.driver.machine.connections:
                    connection.abort(self.driver.now)
            self.driver.close()

    def tell_losses(self) -> None:
        """Tell the program what its peers did not get."""
        for connection in self._closed:
            if connection.undelivered:
                _logger.error(
                    "the program ended within %g s of closing %s: %d bytes were not delivered",
                    EXIT_TIME,
                    _name(connection),
                    connection.undelivered,
                )
        for connection in self._left_open:
            if connection.undelivered:
                message = (
                    f"{_name(connection)} was cut off by the end of the program:"
                    f" {connection.undelivered} bytes were not delivered"
                )
                warnings.warn(message, ResourceWarning, stacklevel=2)


def _name(connection: Connection) -> str:
    return f"the stream from {connection.driver.address} to {connection.stream.remote}"


@atexit.register
def _deliver_at_exit() -> None:
    deliver(list(_drivers))
