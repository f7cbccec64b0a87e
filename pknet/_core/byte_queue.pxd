from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t


cdef struct Piece:
    # The bytes object that it lies in.
    PyObject* owner
    const uint8_t* start
    Py_ssize_t size


cdef class ByteQueue:
    # The queue is pieces[first:end], in memory for `slots` of them.
    cdef Piece* pieces
    cdef Py_ssize_t first
    cdef Py_ssize_t end
    cdef Py_ssize_t slots
    # Bytes in all.
    cdef Py_ssize_t size

    cdef bint append(self, bytes owner, const uint8_t* start, Py_ssize_t size) except False
    cdef bytes take(self, Py_ssize_t limit)
    cdef Py_ssize_t take_into(self, uint8_t* out, Py_ssize_t size) noexcept
    cdef void clear(self) noexcept
    cdef void drop(self, Piece* piece, Py_ssize_t size) noexcept
    cdef bint make_room(self) except False
