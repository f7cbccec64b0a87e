from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    SACKED = 1
    LOST = 2
    IS_FIN = 4


# A packet that has a sequence number and is not acknowledged. Its payload stays where it was first written for the
# wire: in `run`, at `offset`.
cdef struct SentPacket:
    PyObject* run
    double sent_at
    uint32_t offset
    uint16_t size
    uint8_t transmissions
    uint8_t flags


# The fields that every packet of a connection carries at one moment.
cdef struct HeaderFields:
    uint16_t connection_id
    uint16_t ack_nr
    uint32_t timestamp
    uint32_t timestamp_difference
    uint32_t wnd_size


# What an acknowledgement brought.
cdef struct Acknowledged:
    Py_ssize_t packets
    Py_ssize_t bytes
    bint advanced
    bint fin
    # Round trip of the newest packet that was sent only once (Karn), or -1.
    double rtt
    Py_ssize_t lost


cdef class SendBuffer:
    # Accepted from the program, without a sequence number yet.
    cdef object pending
    cdef Py_ssize_t pending_offset
    cdef readonly Py_ssize_t pending_bytes
    # In a ring of a power of two, by seq_nr: from `first` (the oldest that is not acknowledged) to before `next`.
    cdef SentPacket* ring
    cdef Py_ssize_t slots
    cdef uint16_t first
    cdef uint16_t next
    # Payload of all in the ring; payload believed to be in the network.
    cdef readonly Py_ssize_t outstanding_bytes
    cdef readonly Py_ssize_t in_flight_bytes
    cdef Py_ssize_t sacked_count
    cdef Py_ssize_t lost_count
    cdef uint16_t highest_sacked
    cdef double newest_delivered

    cdef void start(self, uint16_t seq_nr)
    cdef bint append(self, bytes data) except False
    cdef Py_ssize_t outstanding(self) noexcept
    cdef SentPacket* packet(self, uint16_t seq_nr) noexcept
    cdef bint acknowledge(
        self, uint16_t ack_nr, const uint8_t* mask, Py_ssize_t mask_size, double now, double srtt, Acknowledged* result
    ) noexcept
    cdef void settle(self, SentPacket* packet, double now, Acknowledged* result) noexcept
    cdef Py_ssize_t find_lost(self, double srtt) noexcept
    cdef Py_ssize_t mark_lost(self, SentPacket* packet) noexcept
    cdef Py_ssize_t mark_all_lost(self) noexcept
    cdef bytes new_run(
        self, Py_ssize_t count, Py_ssize_t segment, Py_ssize_t last, const HeaderFields* header, double now
    )
    cdef bytes fin(self, const HeaderFields* header, double now)
    cdef bytes lost_run(self, Py_ssize_t budget, Py_ssize_t most, const HeaderFields* header, double now, Py_ssize_t* segment)
    cdef SentPacket* push(self, bytes run, Py_ssize_t offset, Py_ssize_t size, double now, uint8_t flags) except NULL
    cdef void copy_pending(self, uint8_t* out, Py_ssize_t size)
    cdef bint grow(self) except False
