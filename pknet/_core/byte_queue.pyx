"""A queue of bytes that are not copied on their way in: pieces of the bytes objects that they come in."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memcpy, memmove

cdef enum:
    FIRST_SLOTS = 4
    # Memory for more pieces than these is given back once the queue is empty.
    MANY_SLOTS = 64


# It holds bytes alone, so nothing refers back to it.
@cython.no_gc
cdef class ByteQueue:
    """Bytes in, in pieces; bytes out, in any sizes. One that is never used costs no memory for pieces."""

    def __dealloc__(self):
        self.clear()

    def __len__(self):
        return self.size

    cdef bint append(self, bytes owner, const uint8_t* start, Py_ssize_t size) except False:
        """Put `size` bytes, not 0, behind what is there: those from `start`, which must lie in `owner`."""
        cdef const uint8_t* begin = <const uint8_t*> PyBytes_AS_STRING(owner)
        cdef Piece* last
        if size <= 0 or start < begin or size > PyBytes_GET_SIZE(owner) - (start - begin):
            raise ValueError("a piece has to lie in the bytes object that owns it")
        if self.end > self.first:
            last = &self.pieces[self.end - 1]
            if last.owner == <PyObject*> owner and last.start + last.size == start:
                last.size += size
                self.size += size
                return True
        if self.end == self.slots:
            self.make_room()
        Py_INCREF(owner)
        self.pieces[self.end] = Piece(<PyObject*> owner, start, size)
        self.end += 1
        self.size += size
        return True

    cdef bytes take(self, Py_ssize_t limit):
        """Take at most `limit` bytes, and no more than one piece: a whole bytes object is not copied."""
        cdef Piece* piece
        cdef bytes taken
        if self.size == 0 or limit <= 0:
            return b""
        piece = &self.pieces[self.first]
        taken = <bytes> <object> piece.owner
        limit = min(limit, piece.size)
        if limit < PyBytes_GET_SIZE(taken):
            taken = PyBytes_FromStringAndSize(<const char*> piece.start, limit)
        self.drop(piece, limit)
        return taken

    cdef Py_ssize_t take_into(self, uint8_t* out, Py_ssize_t size) noexcept:
        """Move at most `size` bytes to `out` and return how many."""
        cdef Piece* piece
        cdef Py_ssize_t part
        cdef Py_ssize_t done = 0
        while done < size and self.size:
            piece = &self.pieces[self.first]
            part = min(piece.size, size - done)
            memcpy(out + done, piece.start, part)
            self.drop(piece, part)
            done += part
        return done

    cdef void clear(self) noexcept:
        """Forget all."""
        cdef Py_ssize_t index
        for index in range(self.first, self.end):
            Py_DECREF(<object> self.pieces[index].owner)
        PyMem_Free(self.pieces)
        self.pieces = NULL
        self.first = self.end = self.slots = self.size = 0

    cdef void drop(self, Piece* piece, Py_ssize_t size) noexcept:
        """Forget the first `size` bytes of the first piece."""
        piece.start += size
        piece.size -= size
        self.size -= size
        if piece.size:
            return
        Py_DECREF(<object> piece.owner)
        self.first += 1
        if self.first < self.end:
            return
        self.first = self.end = 0
        if self.slots > MANY_SLOTS:
            self.clear()

    cdef bint make_room(self) except False:
        """Make room for another piece: where pieces were that are used up, if those are half of all."""
        cdef Piece* pieces = self.pieces
        cdef Py_ssize_t slots
        if self.first and 2 * self.first >= self.slots:
            memmove(pieces, pieces + self.first, (self.end - self.first) * sizeof(Piece))
            self.end -= self.first
            self.first = 0
            return True
        slots = max(2 * self.slots, <Py_ssize_t> FIRST_SLOTS)
        pieces = <Piece*> PyMem_Realloc(pieces, slots * sizeof(Piece))
        if pieces == NULL:
            raise MemoryError
        self.pieces = pieces
        self.slots = slots
        return True
