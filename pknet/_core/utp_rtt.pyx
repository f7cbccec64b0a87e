"""The round-trip time of a path, and how long to wait for an acknowledgement (RFC 6298)."""

from libc.math cimport INFINITY

cdef enum:
    # So many doublings reach any max_timeout.
    MAX_BACKOFF = 16

cdef double LEAST_SMOOTHED = 1e-6


cdef class RttEstimator:
    """Round-trip times and the retransmission timeout; by Karn's rule only packets sent once give samples."""

    def __cinit__(self, double initial_timeout, double min_timeout, double max_timeout):
        self.timeout = initial_timeout
        self.min_timeout = min_timeout
        self.max_timeout = max_timeout
        self.least = INFINITY

    cdef void sample(self, double rtt) noexcept:
        """Take a round-trip time (RFC 6298 section 2); it ends the back-off (section 5, the note on 5.7)."""
        self.least = min(self.least, rtt)
        if self.smoothed == 0:
            self.smoothed = max(rtt, LEAST_SMOOTHED)
            self.variation = rtt / 2
        else:
            self.variation = 0.75 * self.variation + 0.25 * abs(self.smoothed - rtt)
            self.smoothed = max(0.875 * self.smoothed + 0.125 * rtt, LEAST_SMOOTHED)
        self.timeout = min(max(self.smoothed + 4 * self.variation, self.min_timeout), self.max_timeout)
        self.backoff = 0

    cdef double retransmission_timeout(self) noexcept:
        """Return how long to wait for an acknowledgement now."""
        return min(self.timeout * (1 << min(self.backoff, MAX_BACKOFF)), self.max_timeout)
