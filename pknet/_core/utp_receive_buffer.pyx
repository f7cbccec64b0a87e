"""What has come and is not read yet: payload in order, and packets that came early.

Payload is copied once, from the datagram into the chunk that the reader is given.

The window is the limit less what is readable and less what came early: libutp and libtorrent don't count
against it what a selective ACK has acknowledged. A peer that keeps to it finds room for all that it sends. Of
one that doesn't, no more is kept than one and a half times the limit, or one packet beside what came early.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_RawFree, PyMem_RawMalloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memcpy, memset

from pknet._core.utp_packet cimport MAX_SELECTIVE_ACK, seq_before, seq_distance


cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject** bytes_object, Py_ssize_t size) except -1

cdef enum:
    # Small payloads share a chunk of at least this size, so that a flood of tiny packets costs no object
    # each.
    MIN_CHUNK = 4096
    # A chunk is as large as what is readable already, up to this.
    MAX_CHUNK = 65536
    # Packets past a missing one are kept, whatever they hold, up to one for each so many bytes of the limit.
    BYTES_PER_EARLY = 512
    MIN_REORDER_LIMIT = 1024
    # Below half of the sequence numbers, so that early and late can't be confused.
    MAX_REORDER_LIMIT = 24576
    FIRST_EARLY_SLOTS = 32
    # Early packets are kept beyond the limit, up to this share of it; beyond that as much again is for what
    # they wait for.
    SHARE_BEYOND_LIMIT = 4
    LARGE_BLOCK = 16777216

# glibc gives free memory back to the system beyond 128 KiB, and has it again page by page for the next
# batch: a fifth of the speed of one stream. Who has once freed a block so large is left twice as much.
# Nothing is ever written to it, so that it costs no memory.
PyMem_RawFree(PyMem_RawMalloc(LARGE_BLOCK))


# It holds bytes alone, so nothing refers back to it.
@cython.no_gc
cdef class ReceiveBuffer:
    """Payload between the network and the reader."""

    def __cinit__(self, Py_ssize_t limit):
        self.chunks = ByteQueue()
        self.set_limit(limit)

    def __dealloc__(self):
        cdef Py_ssize_t slot
        if self.early != NULL:
            for slot in range(self.early_slots):
                if self.early[slot] != NULL:
                    Py_DECREF(<object> self.early[slot])
            PyMem_Free(self.early)

    cdef void set_limit(self, Py_ssize_t limit) noexcept:
        """Set how many bytes may be kept. If that is fewer than before, the peer has to be told."""
        self.limit = limit
        self.reorder_limit = min(
            max(limit // BYTES_PER_EARLY, <Py_ssize_t> MIN_REORDER_LIMIT), <Py_ssize_t> MAX_REORDER_LIMIT
        )

    cdef void start(self, uint16_t ack_nr) noexcept:
        """Set the number before the first one that is to come."""
        self.ack_nr = ack_nr

    cdef Py_ssize_t readable(self) noexcept:
        """Return how many bytes are there to read."""
        return self.chunks.size + self.filled

    cdef Py_ssize_t window(self) noexcept:
        """Return for how many bytes there is room: the wnd_size to advertise."""
        return max(self.limit - self.readable() - self.early_bytes, <Py_ssize_t> 0)

    cdef Arrival receive(
        self, uint16_t seq_nr, const uint8_t* payload, Py_ssize_t size, Py_ssize_t hint, bint fin
    ) except? ARRIVED_BEYOND_LIMIT:
        """Take the packet `seq_nr`. `hint`: about how many bytes of payload may follow it in this batch."""
        cdef Py_ssize_t ahead = seq_distance(self.ack_nr + 1, seq_nr)
        cdef Py_ssize_t readable = self.readable()
        cdef Py_ssize_t room = self.limit - readable
        cdef Py_ssize_t share = self.limit // SHARE_BEYOND_LIMIT
        if ahead >= 1 << 15:
            return ARRIVED_TWICE
        if ahead >= self.reorder_limit:
            return ARRIVED_BEYOND_LIMIT
        if self.fin_known and seq_before(self.fin_seq_nr, seq_nr):
            # Past the peer's FIN there is nothing.
            return ARRIVED_BEYOND_LIMIT
        if ahead > 0:
            if ahead < self.early_slots and self.early[seq_nr & (self.early_slots - 1)] != NULL:
                return ARRIVED_TWICE
            # Nor do libutp and libtorrent count what they take for lost, so they send beyond the window then.
            room += share - self.early_bytes
        elif readable:
            room -= max(self.early_bytes - 2 * share, <Py_ssize_t> 0)
        # With nothing to read, what is in order needs no room beside what came early: else a peer that sent
        # too much waits for ever.
        if size > room:
            return ARRIVED_BEYOND_LIMIT
        if fin and not self.fin_known:
            if self.early_count and seq_before(seq_nr, self.early_last):
                return ARRIVED_BEYOND_LIMIT
            self.fin_known = True
            self.fin_seq_nr = seq_nr
        if ahead > 0:
            self.keep_early(seq_nr, ahead, payload, size)
            return ARRIVED_EARLY
        self.add(payload, size, hint)
        self.ack_nr = seq_nr
        if self.early_count:
            self.join_early()
        if self.fin_known and self.ack_nr == self.fin_seq_nr:
            self.finished = True
        return ARRIVED_IN_ORDER

    # For the reader.

    cdef bytes read(self, Py_ssize_t limit):
        """Return at most `limit` bytes and no more than one chunk; b"" if nothing is readable."""
        if self.chunks.size == 0 and limit > 0:
            self.seal()
        return self.chunks.take(limit)

    cdef Py_ssize_t read_into(self, uint8_t* out, Py_ssize_t size) except -1:
        """Copy at most `size` bytes to `out` and return how many."""
        if self.chunks.size < size:
            self.seal()
        return self.chunks.take_into(out, size)

    cdef bint clear(self) except False:
        """Throw away what is readable."""
        self.filling = None
        self.filled = 0
        self.chunks.clear()
        return True

    cdef bint trim(self) except False:
        """Give back what the chunk being filled holds in vain, once a batch of datagrams has been taken."""
        cdef Py_ssize_t needed = max(self.filled, <Py_ssize_t> MIN_CHUNK)
        if self.filling is not None and PyBytes_GET_SIZE(self.filling) > 2 * needed:
            self.resize(needed)
        return True

    # For acknowledgements.

    cdef Py_ssize_t selective_ack(self, uint8_t* mask, Py_ssize_t most) noexcept:
        """Write the mask of early packets; return its size in bytes, 0 if there are none.

        Bit 0 of the first byte is ack_nr + 2 (BEP 29): ack_nr + 1 is missing, or it would not be early. The
        size is a multiple of 4; what lies beyond the reach of `most` bytes, or of 252, is left out.
        """
        cdef Py_ssize_t bits, size, bit
        cdef uint16_t first = self.ack_nr + 2
        if self.early_count == 0:
            return 0
        bits = seq_distance(first, self.early_last) + 1
        size = min(((bits + 31) // 32) * 4, min(most, <Py_ssize_t> MAX_SELECTIVE_ACK) // 4 * 4)
        bits = min(bits, size * 8)
        memset(mask, 0, size)
        for bit in range(bits):
            if self.early[<uint16_t> (first + bit) & (self.early_slots - 1)] != NULL:
                mask[bit >> 3] |= <uint8_t> (1 << (bit & 7))
        return size

    # Payload in order.

    cdef bint add(self, const uint8_t* payload, Py_ssize_t size, Py_ssize_t hint) except False:
        """Append payload that is in order."""
        cdef Py_ssize_t capacity
        if size == 0:
            return True
        if self.filling is None or PyBytes_GET_SIZE(self.filling) - self.filled < size:
            capacity = max(size, hint, <Py_ssize_t> MIN_CHUNK, min(self.readable(), <Py_ssize_t> MAX_CHUNK))
            self.seal()
            self.filling = PyBytes_FromStringAndSize(NULL, capacity)
        memcpy(PyBytes_AS_STRING(self.filling) + self.filled, payload, size)
        self.filled += size
        return True

    cdef bint resize(self, Py_ssize_t size) except False:
        """Give the chunk that is being filled another size, not 0."""
        cdef PyObject* chunk = <PyObject*> self.filling
        # Resizing wants the only reference, and takes it.
        Py_INCREF(self.filling)
        self.filling = None
        _PyBytes_Resize(&chunk, size)
        self.filling = <bytes> <object> chunk
        Py_DECREF(self.filling)
        return True

    cdef bint seal(self) except False:
        """Put the chunk that is being filled among the others."""
        if self.filled:
            if self.filled < PyBytes_GET_SIZE(self.filling):
                self.resize(self.filled)
            self.chunks.append(self.filling, <const uint8_t*> PyBytes_AS_STRING(self.filling), self.filled)
            self.filled = 0
        self.filling = None
        return True

    # Payload that came early.

    cdef bint keep_early(
        self, uint16_t seq_nr, Py_ssize_t ahead, const uint8_t* payload, Py_ssize_t size
    ) except False:
        cdef bytes kept = PyBytes_FromStringAndSize(<const char*> payload, size)
        if ahead >= self.early_slots:
            self.grow_early(ahead + 1)
        Py_INCREF(kept)
        self.early[seq_nr & (self.early_slots - 1)] = <PyObject*> kept
        if self.early_count == 0 or seq_before(self.early_last, seq_nr):
            self.early_last = seq_nr
        self.early_count += 1
        self.early_bytes += size
        return True

    cdef bint grow_early(self, Py_ssize_t wanted) except False:
        cdef Py_ssize_t slots = max(self.early_slots, <Py_ssize_t> FIRST_EARLY_SLOTS)
        cdef PyObject** ring
        cdef uint16_t seq_nr = self.ack_nr
        cdef Py_ssize_t moved = 0
        while slots < wanted:
            slots *= 2
        ring = <PyObject**> PyMem_Calloc(slots, sizeof(PyObject*))
        if ring == NULL:
            raise MemoryError
        while moved < self.early_count:
            seq_nr += 1
            if self.early[seq_nr & (self.early_slots - 1)] != NULL:
                ring[seq_nr & (slots - 1)] = self.early[seq_nr & (self.early_slots - 1)]
                moved += 1
        PyMem_Free(self.early)
        self.early = ring
        self.early_slots = slots
        return True

    cdef bint join_early(self) except False:
        """Move what came early and is in order now behind what is readable."""
        cdef Py_ssize_t slot
        cdef bytes payload
        while self.early_count:
            slot = <uint16_t> (self.ack_nr + 1) & (self.early_slots - 1)
            if self.early[slot] == NULL:
                break
            payload = <bytes> <object> self.early[slot]
            self.add(<const uint8_t*> PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), self.early_bytes)
            self.ack_nr += 1
            self.early[slot] = NULL
            self.early_count -= 1
            self.early_bytes -= PyBytes_GET_SIZE(payload)
            Py_DECREF(payload)
        return True
