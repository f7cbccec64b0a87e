"""What a driver keeps of an object that only the program holds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pknet_blocking.descriptor import Descriptor

if TYPE_CHECKING:
    from pknet_blocking.driver import Driver

__all__ = ["Served"]


class Served:
    """The part of a stream or listener that lives on in its driver when the program has dropped the object.

    The object refers to it, and it never to the object: else nothing would ever be collected, as the driver's
    thread refers to all that it serves. `changed` is a condition of the driver's lock, notified whenever
    there may be something new for who waits.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.changed = threading.Condition(driver.lock)
        self.is_closed = False
        self.is_released = False
        self._descriptor: Descriptor | None = None

    # The driver's lock is held.

    def is_readable(self) -> bool:
        """Return whether receiving, or accepting, would not wait."""
        raise NotImplementedError

    def is_writable(self) -> bool:
        """Return whether sending would not wait."""
        raise NotImplementedError

    def close(self) -> None:
        """Close; harmless when repeated."""
        raise NotImplementedError

    def tell(self) -> None:
        """Have those who wait look again."""
        self.changed.notify_all()
        self.show()

    def show(self) -> None:
        """Show `select` what is so now."""
        if self._descriptor is not None:
            self._descriptor.show(readable=self.is_readable(), writable=self.is_writable())

    # It need not be held.

    def fileno(self) -> int:
        """Return a file descriptor that `select` finds as ready as this is; -1 once released."""
        with self.driver.lock:
            if self.is_released:
                return -1
            if self._descriptor is None:
                self._descriptor = Descriptor()
                self.show()
            return self._descriptor.fileno()

    def release(self) -> None:
        """Close, and give back what the system gave."""
        with self.driver.lock:
            self.is_released = True
            self.close()
            if self._descriptor is not None:
                self._descriptor.close()
                self._descriptor = None

    def release_soon(self) -> None:
        """Have the driver's thread release it: finalizers ask for this, and must not take a lock."""
        if not self.is_released:
            self.is_closed = self.is_released = True
            self.driver.call_soon(self.release)
