from libc.stdint cimport uint32_t

cdef enum:
    # The history of minima against which queueing delay is measured: one a minute (RFC 6817 section 3.4.2,
    # BASE_HISTORY; libutp keeps as many).
    BASE_HISTORY = 13
    # The delay that counts is the least of the last few (RFC 6817 section 3.4.2, CURRENT_FILTER).
    CURRENT_FILTER = 4


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


cdef class CongestionController:
    cdef double window
    cdef double slow_start_threshold
    cdef Py_ssize_t segment
    # Seconds, or -1 if it isn't known.
    cdef double queueing_delay

    cdef void on_delay(self, uint32_t delay, double rtt, double now) noexcept
    cdef void on_ack(self, Py_ssize_t acked, double rtt, bint window_was_full, double now) noexcept
    cdef void on_loss(self, double now) noexcept
    cdef void on_timeout(self, double now) noexcept


cdef class Ledbat(CongestionController):
    cdef DelayHistory history
    cdef double target
