from libc.stdint cimport uint8_t


cdef class ByteQueue:
    cdef list chunks
    # Where the queue begins: in chunks[first], `offset` bytes on.
    cdef Py_ssize_t first
    cdef Py_ssize_t offset
    cdef Py_ssize_t size

    cdef bint append(self, bytes chunk) except False
    cdef bytes take(self, Py_ssize_t limit)
    cdef Py_ssize_t take_into(self, uint8_t* out, Py_ssize_t size) except -1
    cdef bint clear(self) except False
    cdef bint drop_first(self) except False
