from pknet._core.utp_congestion cimport AckSample, CongestionController, MaxFilter


cdef enum Mode:
    STARTUP
    DRAIN
    PROBE_RATE
    PROBE_RTT


cdef class Bbr(CongestionController):
    cdef Mode mode
    # The model: the best rate of the last rounds, and the shortest round trip of the last seconds.
    cdef MaxFilter rates
    cdef double rounds
    cdef double least_rtt
    cdef double least_rtt_at
    # The rate that counts as no growth if it isn't beaten by far, and for how many rounds it has not been.
    cdef double full_rate
    cdef int full_rounds
    cdef bint is_full
    # Whether nothing of its own was left in the path when it was last told of arrivals.
    cdef bint was_empty
    # Of this round.
    cdef double round_acked
    cdef double round_lost
    cdef int phase
    cdef double phase_began
    # Until when the window is held at its least, to see the round trip without a queue, and what it was
    # before.
    cdef double probe_until
    cdef double window_before
    cdef double pacing_gain
    cdef double window_gain

    cdef void measure(self, const AckSample* sample) noexcept
    cdef void note_full_path(self, const AckSample* sample) noexcept
    cdef void change_mode(self, const AckSample* sample) noexcept
    cdef bint is_doubtful(self, double now) noexcept
    cdef bint phase_is_over(self, const AckSample* sample) noexcept
    cdef void enter_probe_rate(self, double now) noexcept
    cdef void set_window(self, const AckSample* sample) noexcept
    cdef double probe_window(self) noexcept
    cdef double on_the_way(self, double gain) noexcept
