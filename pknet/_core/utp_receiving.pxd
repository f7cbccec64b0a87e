from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t

cdef enum Arrival:
    ARRIVED_IN_ORDER
    ARRIVED_EARLY
    ARRIVED_TWICE
    ARRIVED_BEYOND_LIMIT


cdef class ReceiveBuffer:
    # In order: sealed chunks, then the one that is being filled.
    cdef object chunks
    cdef Py_ssize_t chunk_offset
    cdef bytes filling
    cdef Py_ssize_t filled
    cdef readonly Py_ssize_t readable
    # Early: payloads by seq_nr, in a ring of a power of two; NULL where nothing has come.
    cdef PyObject** early
    cdef Py_ssize_t early_slots
    cdef Py_ssize_t early_count
    cdef Py_ssize_t early_bytes
    cdef uint16_t early_last
    cdef readonly Py_ssize_t limit
    cdef Py_ssize_t reorder_limit
    cdef uint16_t ack_nr
    cdef bint fin_known
    cdef uint16_t fin_seq_nr
    cdef bint finished

    cdef void start(self, uint16_t ack_nr)
    cdef Arrival receive(self, uint16_t seq_nr, const uint8_t* payload, Py_ssize_t size, Py_ssize_t hint, bint fin)
    cdef bint add(self, const uint8_t* payload, Py_ssize_t size, Py_ssize_t hint) except False
    cdef bint keep_early(self, uint16_t seq_nr, Py_ssize_t ahead, const uint8_t* payload, Py_ssize_t size) except False
    cdef bint grow_early(self, Py_ssize_t wanted) except False
    cdef bint advance(self) except False
    cdef bint seal(self) except False
    cdef bint settle(self) except False
    cdef bytes read(self, Py_ssize_t limit)
    cdef Py_ssize_t read_into(self, uint8_t* out, Py_ssize_t size)
    cdef Py_ssize_t window(self) noexcept
    cdef Py_ssize_t selective_ack(self, uint8_t* mask) noexcept
