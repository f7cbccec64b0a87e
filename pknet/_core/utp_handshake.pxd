from libc.stdint cimport uint16_t

from pknet._core.utp_outlet cimport Outlet
from pknet._core.utp_packet cimport PacketHeader


cdef class Handshake:
    cdef Outlet outlet
    cdef bint is_initiator
    cdef uint16_t syn_seq_nr
    # Whether the SYN, or the SYN-ACK, is to be sent.
    cdef bint is_due
    # Whether the initiator is known to have the SYN-ACK.
    cdef bint is_proven
    cdef int transmissions
    cdef double sent_at

    cdef bint take_syn_ack(self, const PacketHeader* packet) noexcept
    cdef bint take_syn_again(self, const PacketHeader* syn) noexcept
    cdef bint take_proof(self, const PacketHeader* packet) noexcept
    cdef bint takes_reset(self, const PacketHeader* packet) noexcept
    cdef bint send(self) except False
    cdef void fire_timers(self, double now) noexcept


cdef Handshake dial(Outlet outlet, uint16_t seq_nr)
cdef Handshake answer(Outlet outlet, const PacketHeader* syn, uint16_t seq_nr)
