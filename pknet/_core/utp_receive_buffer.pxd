from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t

from pknet._core.byte_queue cimport ByteQueue

cdef enum Arrival:
    ARRIVED_IN_ORDER
    ARRIVED_EARLY
    ARRIVED_TWICE
    ARRIVED_BEYOND_LIMIT


cdef class ReceiveBuffer:
    # In order: sealed chunks, then the one that is being filled.
    cdef ByteQueue chunks
    cdef bytes filling
    cdef Py_ssize_t filled
    # Early: payloads by seq_nr, in a ring of a power of two; NULL where nothing has come.
    cdef PyObject** early
    cdef Py_ssize_t early_slots
    cdef Py_ssize_t early_count
    cdef Py_ssize_t early_bytes
    cdef uint16_t early_last
    cdef Py_ssize_t limit
    cdef Py_ssize_t reorder_limit
    cdef uint16_t ack_nr
    cdef bint fin_known
    cdef uint16_t fin_seq_nr
    cdef bint finished

    cdef void set_limit(self, Py_ssize_t limit) noexcept
    cdef void start(self, uint16_t ack_nr) noexcept
    cdef Py_ssize_t readable(self) noexcept
    cdef Py_ssize_t window(self) noexcept
    cdef Arrival receive(
        self, uint16_t seq_nr, const uint8_t* payload, Py_ssize_t size, Py_ssize_t hint, bint fin
    ) except? ARRIVED_BEYOND_LIMIT
    cdef bytes read(self, Py_ssize_t limit)
    cdef Py_ssize_t read_into(self, uint8_t* out, Py_ssize_t size) except -1
    cdef bint clear(self) except False
    cdef bint trim(self) except False
    cdef Py_ssize_t selective_ack(self, uint8_t* mask, Py_ssize_t most) noexcept
    cdef bint add(self, const uint8_t* payload, Py_ssize_t size, Py_ssize_t hint) except False
    cdef bint resize(self, Py_ssize_t size) except False
    cdef bint seal(self) except False
    cdef bint keep_early(
        self, uint16_t seq_nr, Py_ssize_t ahead, const uint8_t* payload, Py_ssize_t size
    ) except False
    cdef bint grow_early(self, Py_ssize_t wanted) except False
    cdef bint join_early(self) except False
