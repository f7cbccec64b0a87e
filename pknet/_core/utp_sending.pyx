"""What the program gave and the peer has not acknowledged.

Payload is copied once: from the program's bytes into the run that goes on the wire. A packet in flight only points
there; a run is freed when its last packet is acknowledged. A packet's payload is fixed once it has a sequence
number, since uTP counts packets and the first copy may yet arrive.

Loss is found by RFC 6675's rule over sequence numbers (three later packets have arrived), and for what was sent
more than once by time, as in RACK (RFC 8985): something sent later has arrived.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memcpy

from collections import deque

from pknet._core.utp_packet cimport (
    EXTENSION_NONE, HEADER_SIZE, ST_DATA, ST_FIN, seq_distance, write_header,
)

cdef enum:
    FIRST_SLOTS = 16
    # RFC 6675 DupThresh.
    DUPLICATE_THRESHOLD = 3


cdef class SendBuffer:
    """Payload between the program and the peer's acknowledgement."""

    def __cinit__(self):
        self.pending = deque()

    def __dealloc__(self):
        cdef uint16_t seq_nr
        if self.ring != NULL:
            seq_nr = self.first
            while seq_nr != self.next:
                Py_DECREF(<object> self.packet(seq_nr).run)
                seq_nr += 1
            PyMem_Free(self.ring)

    cdef void start(self, uint16_t seq_nr):
        """Set the first sequence number to use."""
        self.first = self.next = seq_nr

    cdef bint append(self, bytes data) except False:
        self.pending.append(data)
        self.pending_bytes += PyBytes_GET_SIZE(data)
        return True

    cdef Py_ssize_t outstanding(self) noexcept:
        """Return how many packets are not acknowledged in order."""
        return seq_distance(self.first, self.next)

    cdef SentPacket* packet(self, uint16_t seq_nr) noexcept:
        """Return the slot of `seq_nr`, which must be between `first` and `next`."""
        return &self.ring[seq_nr & (self.slots - 1)]

    cdef bint acknowledge(
        self, uint16_t ack_nr, const uint8_t* mask, Py_ssize_t mask_size, double now, double srtt, Acknowledged* result
    ) noexcept:
        """Take an acknowledgement; return False, having changed nothing, if it is of packets never sent.

        `mask` may be NULL. An old acknowledgement only adds what its mask says, if that lies in the ring.
        """
        cdef Py_ssize_t in_order = seq_distance(self.first, ack_nr + 1)
        cdef Py_ssize_t index, bit, ahead
        cdef uint16_t seq_nr
        cdef SentPacket* packet
        result.packets = result.bytes = result.lost = 0
        result.advanced = result.fin = False
        result.rtt = -1
        if in_order >= 1 << 15:
            in_order = 0
        elif in_order > self.outstanding():
            return False
        for index in range(in_order):
            packet = self.packet(self.first)
            if not packet.flags & SACKED:
                self.settle(packet, now, result)
            else:
                self.sacked_count -= 1
            if packet.flags & IS_FIN:
                result.fin = True
            self.outstanding_bytes -= packet.size
            Py_DECREF(<object> packet.run)
            self.first += 1
        result.advanced = in_order > 0
        for index in range(mask_size):
            if mask[index] == 0:
                continue
            for bit in range(8):
                if not mask[index] & (1 << bit):
                    continue
                seq_nr = <uint16_t> (ack_nr + 2 + index * 8 + bit)
                ahead = seq_distance(self.first, seq_nr)
                if ahead >= self.outstanding():
                    continue
                packet = self.packet(seq_nr)
                if packet.flags & SACKED:
                    continue
                self.settle(packet, now, result)
                packet.flags |= SACKED
                if self.sacked_count == 0 or seq_distance(self.highest_sacked, seq_nr) < 1 << 15:
                    self.highest_sacked = seq_nr
                self.sacked_count += 1
        if self.sacked_count and result.packets:
            result.lost = self.find_lost(srtt)
        return True

    cdef void settle(self, SentPacket* packet, double now, Acknowledged* result) noexcept:
        """Count a packet that has arrived."""
        result.packets += 1
        result.bytes += packet.size
        if packet.flags & LOST:
            packet.flags &= ~LOST
            self.lost_count -= 1
        else:
            self.in_flight_bytes -= packet.size
        if packet.transmissions == 1:
            result.rtt = now - packet.sent_at
        self.newest_delivered = max(self.newest_delivered, packet.sent_at)

    cdef Py_ssize_t find_lost(self, double srtt) noexcept:
        """Mark what must be lost, given what has arrived; return how many packets that are."""
        cdef Py_ssize_t later = self.sacked_count
        cdef Py_ssize_t lost = 0
        cdef double reordering = srtt / 4
        cdef uint16_t seq_nr = self.first
        cdef SentPacket* packet
        while later > 0 and seq_nr != self.next:
            packet = self.packet(seq_nr)
            seq_nr += 1
            if packet.flags & SACKED:
                later -= 1
            elif packet.flags & LOST:
                pass
            elif packet.transmissions == 1:
                if later >= DUPLICATE_THRESHOLD:
                    lost += self.mark_lost(packet)
            elif self.newest_delivered > packet.sent_at + reordering:
                lost += self.mark_lost(packet)
        return lost

    cdef Py_ssize_t mark_lost(self, SentPacket* packet) noexcept:
        """Take a packet for lost; return 1, or 0 if it has arrived or was taken for lost before."""
        if packet.flags & (SACKED | LOST):
            return 0
        packet.flags |= LOST
        self.lost_count += 1
        self.in_flight_bytes -= packet.size
        return 1

    cdef Py_ssize_t mark_all_lost(self) noexcept:
        """Take all that has not arrived for lost, as after a timeout; return how many packets that are."""
        cdef Py_ssize_t lost = 0
        cdef uint16_t seq_nr = self.first
        while seq_nr != self.next:
            lost += self.mark_lost(self.packet(seq_nr))
            seq_nr += 1
        return lost

    cdef bytes new_run(
        self, Py_ssize_t count, Py_ssize_t segment, Py_ssize_t last, const HeaderFields* header, double now
    ):
        """Give sequence numbers to pending payload: `count` packets of `segment` bytes, then one of `last` if not 0.

        The caller sees to it that so much is pending. Returns the packets back to back, as they go on the wire.
        """
        cdef Py_ssize_t total = count * (HEADER_SIZE + segment) + (HEADER_SIZE + last if last else 0)
        cdef bytes run = PyBytes_FromStringAndSize(NULL, total)
        cdef uint8_t* start = <uint8_t*> PyBytes_AS_STRING(run)
        cdef Py_ssize_t offset = 0
        cdef Py_ssize_t size
        while offset < total:
            size = min(segment, total - offset - HEADER_SIZE)
            write_header(
                start + offset, ST_DATA, EXTENSION_NONE, header.connection_id, header.timestamp,
                header.timestamp_difference, header.wnd_size, self.next, header.ack_nr,
            )
            self.copy_pending(start + offset + HEADER_SIZE, size)
            self.push(run, offset + HEADER_SIZE, size, now, 0)
            offset += HEADER_SIZE + size
        return run

    cdef bytes fin(self, const HeaderFields* header, double now):
        """Give the FIN its sequence number and return it."""
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE)
        write_header(
            <uint8_t*> PyBytes_AS_STRING(packet), ST_FIN, EXTENSION_NONE, header.connection_id, header.timestamp,
            header.timestamp_difference, header.wnd_size, self.next, header.ack_nr,
        )
        self.push(packet, HEADER_SIZE, 0, now, IS_FIN)
        return packet

    cdef bytes lost_run(
        self, Py_ssize_t budget, Py_ssize_t most, const HeaderFields* header, double now, Py_ssize_t* segment
    ):
        """Send lost packets again: the first of them, and those that can go in one run with it.

        At most `most` packets of `budget` bytes of payload together, but at least one; None if nothing is lost.
        `segment` is set to the size of the first. Headers are fresh; payloads are as they were.
        """
        cdef uint16_t seq_nr = self.first
        cdef uint16_t chosen[64]
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t total = 0
        cdef Py_ssize_t index
        cdef SentPacket* packet
        cdef bytes run
        cdef uint8_t* out
        if self.lost_count == 0:
            return None
        most = min(most, 64)
        while seq_nr != self.next and count < most:
            packet = self.packet(seq_nr)
            if packet.flags & LOST:
                if count and (packet.size > segment[0] or packet.size > budget):
                    break
                if count == 0:
                    segment[0] = packet.size
                chosen[count] = seq_nr
                count += 1
                total += HEADER_SIZE + packet.size
                budget -= packet.size
                if packet.size < segment[0]:
                    break
            seq_nr += 1
        run = PyBytes_FromStringAndSize(NULL, total)
        out = <uint8_t*> PyBytes_AS_STRING(run)
        for index in range(count):
            packet = self.packet(chosen[index])
            write_header(
                out, ST_FIN if packet.flags & IS_FIN else ST_DATA, EXTENSION_NONE, header.connection_id,
                header.timestamp, header.timestamp_difference, header.wnd_size, chosen[index], header.ack_nr,
            )
            memcpy(out + HEADER_SIZE, PyBytes_AS_STRING(<bytes> <object> packet.run) + packet.offset, packet.size)
            out += HEADER_SIZE + packet.size
            packet.flags &= ~LOST
            packet.transmissions = min(packet.transmissions + 1, 255)
            packet.sent_at = now
            self.in_flight_bytes += packet.size
        self.lost_count -= count
        return run

    cdef SentPacket* push(self, bytes run, Py_ssize_t offset, Py_ssize_t size, double now, uint8_t flags) except NULL:
        """Enter a packet that leaves now under the next sequence number."""
        cdef SentPacket* packet
        if self.outstanding() == self.slots:
            self.grow()
        packet = self.packet(self.next)
        Py_INCREF(run)
        packet.run = <PyObject*> run
        packet.offset = <uint32_t> offset
        packet.size = <uint16_t> size
        packet.sent_at = now
        packet.transmissions = 1
        packet.flags = flags
        self.next += 1
        self.outstanding_bytes += size
        self.in_flight_bytes += size
        return packet

    cdef void copy_pending(self, uint8_t* out, Py_ssize_t size):
        """Move `size` bytes from what is pending to `out`."""
        cdef bytes chunk
        cdef Py_ssize_t part
        self.pending_bytes -= size
        while size > 0:
            chunk = <bytes> self.pending[0]
            part = min(PyBytes_GET_SIZE(chunk) - self.pending_offset, size)
            memcpy(out, PyBytes_AS_STRING(chunk) + self.pending_offset, part)
            out += part
            size -= part
            self.pending_offset += part
            if self.pending_offset == PyBytes_GET_SIZE(chunk):
                self.pending.popleft()
                self.pending_offset = 0

    cdef bint grow(self) except False:
        cdef Py_ssize_t slots = max(self.slots * 2, FIRST_SLOTS)
        cdef SentPacket* ring = <SentPacket*> PyMem_Malloc(slots * sizeof(SentPacket))
        cdef uint16_t seq_nr = self.first
        if ring == NULL:
            raise MemoryError
        while seq_nr != self.next:
            ring[seq_nr & (slots - 1)] = self.packet(seq_nr)[0]
            seq_nr += 1
        PyMem_Free(self.ring)
        self.ring = ring
        self.slots = slots
        return True
