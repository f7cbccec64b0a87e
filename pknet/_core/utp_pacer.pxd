cdef class Pacer:
    # Bytes of payload a second; 0 before a round trip is known.
    cdef double rate
    # Bytes that may leave now, never more than `burst`; below 0 after a packet that was longer than the
    # credit.
    cdef double credit
    cdef double burst
    cdef double refilled_at

    cdef void refill(self, double rate, Py_ssize_t segment, double now) noexcept
    cdef void forgive(self) noexcept
    cdef double next_departure(self) noexcept
