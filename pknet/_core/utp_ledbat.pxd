from pknet._core.utp_congestion cimport AckSample, DelayHistory, MaxFilter, WindowController


cdef class DelayController(WindowController):
    cdef DelayHistory history
    cdef double target
    cdef MaxFilter rates
    cdef double rounds
    cdef double least_rtt
    # The round in which slow start first saw a queue, or -1.
    cdef double queue_since
    # The round until which the window follows the rate that slow start found, up to what it was then, and the
    # queue aimed for.
    cdef double settles_until
    cdef double settles_below
    cdef double first_queue

    cdef void measure(self, const AckSample* sample) noexcept
    cdef void grow_in_slow_start(self, const AckSample* sample, double gain) noexcept
    cdef void leave_slow_start(self, double queue) noexcept
    cdef bint settle(self) noexcept


cdef class Ledbat(DelayController):
    # The most a window grows in a round trip: segments, 0 for that of libutp; bytes.
    cdef double largest_gain
    cdef double increase

    cdef void steer(self, const AckSample* sample) noexcept


cdef class LedbatPlusPlus(DelayController):
    # When the window is next held at its least, and until when it is; infinite while that isn't arranged.
    cdef double slow_down_at
    cdef double slow_down_until
    cdef double slow_down_began
    # Whether the window is on its way back to the threshold after that.
    cdef bint returning

    cdef double gain(self) noexcept
    cdef void steer(self, const AckSample* sample) noexcept
    cdef void pace_slow_downs(self, const AckSample* sample) noexcept
