cdef class RttEstimator:
    # Seconds; smoothed is 0 and least is infinite before the first sample.
    cdef double smoothed
    cdef double variation
    cdef double least
    # The retransmission timeout before it is backed off, and how often it has been.
    cdef double timeout
    cdef int backoff
    cdef double min_timeout
    cdef double max_timeout

    cdef void sample(self, double rtt) noexcept
    cdef double retransmission_timeout(self) noexcept
