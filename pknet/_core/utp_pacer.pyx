"""When the next packets may leave, so that a window does not leave as one burst.

A token bucket that fills a little faster than the window allows. A burst is what a path's buffers, and the
peer's receive buffer, must be able to hold at once.
"""

from libc.math cimport INFINITY

cdef enum:
    # RFC 6928: what may always leave at once.
    MIN_BURST_SEGMENTS = 10
    # Four of the longest runs: more at once and a receive buffer of the usual default size overflows.
    MAX_BURST = 4 * 62000

# How many times its window a connection may send in a round trip, as Linux has it for TCP.
cdef double SLOW_START_GAIN = 2.0
cdef double GAIN = 1.25
# The bucket holds this many seconds' worth: more than the error of an event loop's timers.
cdef double BURST_TIME = 0.004
# And a timer waits for this many.
cdef double WAKE_UP_TIME = 0.001


cdef class Pacer:
    """A token bucket of bytes."""

    cdef void refill(
        self, double window, double rtt, bint in_slow_start, Py_ssize_t segment, double now
    ) noexcept:
        """Bring the credit up to date, where `window` bytes may be in flight and a round trip takes `rtt`."""
        cdef double least = MIN_BURST_SEGMENTS * segment
        if rtt == 0:
            self.credit = self.burst = least
            return
        self.rate = (SLOW_START_GAIN if in_slow_start else GAIN) * window / rtt
        self.burst = min(max(self.rate * BURST_TIME, least), max(<double> MAX_BURST, least))
        self.credit = min(self.credit + self.rate * (now - self.refilled_at), self.burst)
        self.refilled_at = now

    cdef double next_departure(self) noexcept:
        """Return when there is credit again that is worth a wake-up."""
        if self.rate == 0:
            return INFINITY
        return self.refilled_at + (min(self.rate * WAKE_UP_TIME, self.burst) - self.credit) / self.rate
