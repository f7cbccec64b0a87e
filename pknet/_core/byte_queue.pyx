"""A queue of bytes that keeps the chunks it is given."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef enum:
    # Used-up places at the front of the list are given back once there are this many.
    MANY_USED = 64


# It holds bytes alone, so nothing refers back to it.
@cython.no_gc
cdef class ByteQueue:
    """Bytes in, in chunks; bytes out, in any sizes. One that is never used costs no list."""

    def __len__(self):
        return self.size

    cdef bint append(self, bytes chunk) except False:
        """Put a chunk, which must not be empty, behind what is there."""
        if self.chunks is None:
            self.chunks = []
        self.chunks.append(chunk)
        self.size += PyBytes_GET_SIZE(chunk)
        return True

    cdef bytes take(self, Py_ssize_t limit):
        """Take at most `limit` bytes, and no more than one chunk, so that a whole chunk is not copied."""
        cdef bytes chunk
        cdef Py_ssize_t left
        if self.size == 0 or limit <= 0:
            return b""
        chunk = <bytes> self.chunks[self.first]
        left = PyBytes_GET_SIZE(chunk) - self.offset
        if left > limit:
            chunk = chunk[self.offset:self.offset + limit]
            self.offset += limit
            self.size -= limit
            return chunk
        if self.offset:
            chunk = chunk[self.offset:]
        self.drop_first()
        self.size -= left
        return chunk

    cdef Py_ssize_t take_into(self, uint8_t* out, Py_ssize_t size) except -1:
        """Move at most `size` bytes to `out` and return how many."""
        cdef bytes chunk
        cdef Py_ssize_t part
        cdef Py_ssize_t done = 0
        while done < size and self.size:
            chunk = <bytes> self.chunks[self.first]
            part = min(PyBytes_GET_SIZE(chunk) - self.offset, size - done)
            memcpy(out + done, PyBytes_AS_STRING(chunk) + self.offset, part)
            done += part
            self.size -= part
            self.offset += part
            if self.offset == PyBytes_GET_SIZE(chunk):
                self.drop_first()
        return done

    cdef bint clear(self) except False:
        """Forget all."""
        self.chunks = None
        self.first = self.offset = self.size = 0
        return True

    cdef bint drop_first(self) except False:
        self.chunks[self.first] = None
        self.first += 1
        self.offset = 0
        if self.first == len(self.chunks):
            self.chunks.clear()
            self.first = 0
        elif self.first >= MANY_USED and 2 * self.first >= len(self.chunks):
            del self.chunks[:self.first]
            self.first = 0
        return True
