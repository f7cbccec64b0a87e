from libc.stdint cimport uint32_t

cdef enum:
    # The history of minima against which queueing delay is measured: one a minute (RFC 6817 section 3.4.2,
    # BASE_HISTORY; libutp keeps as many).
    BASE_HISTORY = 13
    # The delay that counts is the least of the last few (RFC 6817 section 3.4.2, CURRENT_FILTER).
    CURRENT_FILTER = 4
    # Never below two segments (RFC 6817 section 2.4.2, MIN_CWND).
    MIN_WINDOW_SEGMENTS = 2
    # How much slower slow start goes once it has seen a queue (RFC 9406 section 4.3, CSS_GROWTH_DIVISOR).
    CSS_GROWTH_DIVISOR = 4


# What an acknowledgement tells of the path. Bytes are payload, times are seconds.
cdef struct AckSample:
    double now
    # What has newly arrived, and what has been taken for lost because of arrivals since that was last told.
    Py_ssize_t acked
    Py_ssize_t lost
    # What is in the network after that.
    Py_ssize_t in_flight
    # The round trip of the newest packet that was sent only once, or -1; the smoothed and the shortest one,
    # 0 and infinite before the first sample.
    double rtt
    double smoothed_rtt
    double least_rtt
    # One-way delay in microseconds, on a circle of 2**32.
    bint has_delay
    uint32_t delay
    # Whether it was the congestion window that limited what was in flight, and what has arrived was sent
    # after the last loss that was reacted to. Else it says nothing for a larger window.
    bint may_grow
    # Bytes a second at which the path delivered a flight of packets, 0 if it isn't known, and whether that
    # says nothing of how much more it could have carried.
    double rate
    bint rate_is_low
    # Whether it may be too high, since something that counts had arrived before and was told late.
    bint rate_may_be_high
    # Whether a round trip has passed since this was last so.
    bint new_round


cdef class DelayHistory:
    cdef uint32_t base[BASE_HISTORY]
    cdef uint32_t recent[CURRENT_FILTER]
    cdef int base_count
    cdef int base_at
    cdef int recent_count
    cdef int recent_at
    cdef double minute_ends
    cdef uint32_t lowest

    cdef void add(self, uint32_t delay, double now) noexcept
    cdef void find_lowest(self) noexcept
    cdef uint32_t queueing(self) noexcept


cdef class MaxFilter:
    cdef double span
    cdef double best[3]
    cdef double at[3]

    cdef void add(self, double value, double time) noexcept
    cdef double max(self) noexcept


cdef class CongestionController:
    # Bytes of payload that may be in flight.
    cdef double window
    cdef Py_ssize_t segment
    # Seconds, or -1 if it isn't known.
    cdef double queueing_delay

    cdef void resize(self, Py_ssize_t segment) noexcept
    cdef void take_over(self, CongestionController before) noexcept
    cdef double full_window(self) noexcept
    cdef double pacing_rate(self, double rtt) noexcept
    cdef bint in_slow_start(self) noexcept
    cdef void on_ack(self, const AckSample* sample) noexcept
    cdef void on_loss(self, double now) noexcept
    cdef void on_timeout(self, double now) noexcept
    cdef double least_window(self) noexcept


cdef class WindowController(CongestionController):
    cdef double slow_start_threshold

    cdef double growth_that_ends_slow_start(self, double rtt) noexcept
