from pknet._core.utp_congestion cimport AckSample, WindowController


cdef class Cubic(WindowController):
    # The window at the last loss, and what Reno's would be now (RFC 9438: W_max, W_est), in bytes, so that
    # they stay what they are when packets get another size.
    cdef double most
    cdef double reno
    # When the window began to grow after the last loss, or -1; seconds from there until it is `most` again;
    # and how steep the curve is, in bytes a second cubed.
    cdef double epoch
    cdef double until_most
    cdef double scale
    cdef double last_ack
    # Of this round and the one before: the shortest round trip, and how many samples there are.
    cdef double round_least
    cdef double previous_least
    cdef int round_samples
    # Rounds of careful growth, or -1, and the round trip that began them.
    cdef int careful_rounds
    cdef double careful_since

    cdef void search(self, const AckSample* sample) noexcept
    cdef void grow(self, const AckSample* sample) noexcept
    cdef void remember_window(self) noexcept
