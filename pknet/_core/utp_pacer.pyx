"""When the next packets may leave, so that a window does not leave as one burst.

A token bucket that fills at the rate of the congestion controller. A burst is what a path's buffers, and the
peer's receive buffer, must be able to hold at once.
"""

from libc.math cimport INFINITY

cdef enum:
    # RFC 6928: what may always leave at once.
    MIN_BURST_SEGMENTS = 10
    # Four of the longest runs: more at once and a receive buffer of the usual default size overflows.
    MAX_BURST = 4 * 60000

# The bucket holds this many seconds' worth: more than the error of an event loop's timers.
cdef double BURST_TIME = 0.004
# And a timer waits for this many.
cdef double WAKE_UP_TIME = 0.001


cdef class Pacer:
    """A token bucket of bytes."""

    cdef void refill(self, double rate, Py_ssize_t segment, double now) noexcept:
        """Bring the credit up to date, where `rate` bytes a second may leave, or 0 while that isn't known."""
        cdef double least = MIN_BURST_SEGMENTS * segment
        if rate == 0:
            self.credit = self.burst = least
            return
        self.rate = rate
        self.burst = min(max(self.rate * BURST_TIME, least), max(<double> MAX_BURST, least))
        self.credit = min(self.credit + self.rate * (now - self.refilled_at), self.burst)
        self.refilled_at = now

    cdef void forgive(self) noexcept:
        """Owe nothing: what left without credit, for nothing was in flight, has arrived."""
        self.credit = max(self.credit, <double> 0)

    cdef double next_departure(self) noexcept:
        """Return when there is credit again that is worth a wake-up."""
        if self.rate == 0:
            return INFINITY
        return self.refilled_at + (min(self.rate * WAKE_UP_TIME, self.burst) - self.credit) / self.rate
