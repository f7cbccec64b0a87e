from libc.stdint cimport uint16_t, uint32_t

from pknet._core.utp_log cimport EventLog
from pknet._core.utp_packet cimport HeaderFields
from pknet._core.utp_receive_buffer cimport ReceiveBuffer
from pknet._core.utp_sender cimport Sender
from pknet._core.utp_shared cimport Shared


cdef class Outlet:
    cdef Shared shared
    cdef Sender sender
    cdef ReceiveBuffer receiving
    # The peer, and the socket towards it.
    cdef object remote
    cdef object local
    # The id that the peer receives under.
    cdef uint16_t send_id
    # Of the newest packet that came, as it goes back to the peer.
    cdef uint32_t timestamp_difference
    # The window that the peer knows of.
    cdef Py_ssize_t advertised
    # How often it was shut.
    cdef unsigned long long closures
    cdef double last_sent
    cdef unsigned long long packets_sent
    cdef EventLog log

    cdef void take_timestamp(self, uint32_t timestamp) noexcept
    cdef void fill_header(self, HeaderFields* header) noexcept
    cdef bint send_run(self, bytes run, Py_ssize_t segment, bint may_fragment) except False
    cdef bint send_bare(self, bytes packet) except False
    cdef bint send_syn(self, uint16_t seq_nr) except False
    cdef bint send_state(self) except False
    cdef bint send_reset(self) except False
