"""What the connections of an endpoint share."""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t

# Beyond this a double can't tell microseconds apart, nor an int64 hold them in the end.
cdef double LATEST_TIME = 1e12


cdef class Shared:
    """Time, timers, what is to be sent and told: the endpoint owns it, its connections write to it."""

    def __cinit__(self, UtpConfig config not None):
        self.config = config
        self.counters = UtpCounters()
        self.timers = TimerQueue()
        self.now = -INFINITY
        self.events = []
        self.transmits = []
        self.unsettled = []
        self.finished = []
        self.half_open = {}
        self.places = -1
        self.records = []
        self.open_log = config.open_log

    cdef bint advance(self, double now) except False:
        """Move time to `now`; it never goes back, whatever the caller's clock says.

        Raises ValueError if `now` is not a time in seconds.
        """
        if not -LATEST_TIME < now < LATEST_TIME:
            raise ValueError(f"now must be a number of seconds, not {now}")
        if now > self.now:
            self.now = now
        return True

    cdef bint tell(self, event) except False:
        """Add an event."""
        self.events.append(event)
        return True

    cdef uint32_t wire_time(self) noexcept:
        """Return the time as it stands in headers, microseconds modulo 2**32; 0 means "none" there."""
        cdef uint32_t micros = <uint32_t> <int64_t> (self.now * 1e6)
        return micros if micros else 1
