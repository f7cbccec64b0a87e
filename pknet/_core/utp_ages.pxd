from libc.stdint cimport uint16_t, uint32_t

cdef enum:
    STEPS = 16

cdef struct Marks:
    # How far the numbers have come.
    uint16_t reached
    # What the peer's clock showed when each step of 4096 numbers was reached, and when that was here.
    uint32_t timestamp[STEPS]
    double at[STEPS]


cdef class PacketAges:
    # The newest timestamp of the peer.
    cdef uint32_t newest
    # Packets in a row that were too old.
    cdef int refused
    cdef Marks received
    cdef Marks acknowledged

    cdef void note(self, uint32_t timestamp, uint16_t received, uint16_t acknowledged, double now) noexcept
    cdef bint too_old(self, uint32_t timestamp, uint16_t seq_nr, uint16_t ack_nr, double now) noexcept
