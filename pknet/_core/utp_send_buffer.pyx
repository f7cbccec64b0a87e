"""What the program gave and the peer has not acknowledged.

Payload is copied once: from the program's bytes object into the run that goes on the wire. A packet in flight
only points there; a run is freed when its last packet is acknowledged. A packet's payload is fixed once it
has a sequence number, since uTP counts packets and the first copy may yet arrive.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_Check, PyMemoryView_GET_BASE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport INFINITY
from libc.string cimport memcpy

from pknet._core.utp_log cimport BY_PATH, BY_REORDERING, BY_SIZE, BY_TIME, LAST_OF_LOSSES
from pknet._core.utp_packet cimport (
    EXTENSION_NONE, HEADER_SIZE, ST_DATA, ST_FIN, bare_packet, seq_before, seq_distance, write_header,
)

cdef enum:
    FIRST_SLOTS = 16
    # The most packets in one run of packets sent again.
    MAX_LOST_RUN = 64

# What sums of times may be wrong by.
cdef double ROUNDING = 1e-6


# It holds bytes alone, so nothing refers back to it.
@cython.no_gc
cdef class SendBuffer:
    """Payload between the program and the peer's acknowledgement."""

    def __cinit__(self, PathMtu path not None):
        self.path = path
        self.pending = ByteQueue()
        self.newest_sent_at = self.newest_lost_at = -INFINITY

    def __dealloc__(self):
        cdef uint16_t seq_nr = self.first
        if self.ring != NULL:
            while seq_nr != self.next:
                Py_DECREF(<object> self.packet(seq_nr).run)
                seq_nr += 1
            PyMem_Free(self.ring)

    cdef void start(self, uint16_t seq_nr) noexcept:
        """Set the first sequence number to use."""
        self.first = self.next = self.lost_from = self.sight_end = seq_nr
        self.highest_arrived = self.told = seq_nr - 1

    cdef bint keep(self, data, const uint8_t* start, Py_ssize_t size) except False:
        """Put the program's payload, `size` bytes, not 0, at the start of `data`, behind what is pending."""
        cdef bytes owner
        cdef PyObject* viewed
        if PyMemoryView_Check(data):
            viewed = <PyObject*> PyMemoryView_GET_BASE(data)
            if viewed != NULL:
                data = <object> viewed
        if PyBytes_CheckExact(data):
            owner = <bytes> data
        else:
            # It may change before it leaves.
            owner = PyBytes_FromStringAndSize(<const char*> start, size)
            start = <const uint8_t*> PyBytes_AS_STRING(owner)
        return self.pending.append(owner, start, size)

    cdef Py_ssize_t outstanding(self) noexcept:
        """Return how many packets are not acknowledged in order."""
        return seq_distance(self.first, self.next)

    cdef SentPacket* packet(self, uint16_t seq_nr) noexcept:
        """Return the slot of `seq_nr`, which must be one that is outstanding."""
        return &self.ring[seq_nr & (self.slots - 1)]

    # Acknowledgements.

    cdef void acknowledge(
        self, uint16_t ack_nr, const uint8_t* mask, Py_ssize_t mask_size, bint is_complete, double least_rtt,
        double now, Acknowledged* result
    ) noexcept:
        """Take an acknowledgement; what it says of packets that are not outstanding is ignored.

        `mask` may be NULL. `is_complete`: a peer that has early packets would have said so. `least_rtt`: the
        shortest round trip known.
        """
        cdef Py_ssize_t in_order = seq_distance(self.first, ack_nr + 1)
        cdef Py_ssize_t index, bit, _packet
        cdef uint16_t seq_nr
        cdef SentPacket* packet
        cdef bint fills_gap = False
        cdef uint16_t told = self.told
        result.packets = result.bytes = 0
        result.advanced = result.fin = False
        result.rtt = result.delivered_before = -1
        result.newest_sent_at = -INFINITY
        result.rate = result.delivered_before_at = result.send_time = 0
        result.rate_is_low = result.rate_may_be_high = False
        if in_order > self.outstanding():
            # Older than the last one.
            in_order = 0
        else:
            self.note_told(ack_nr, mask_size, is_complete)
        for _packet in range(in_order):
            packet = self.packet(self.first)
            fills_gap |= packet.transmissions > 1
            if packet.flags & SACKED:
                self.sacked_count -= 1
                self.sacked_bytes -= packet.size
            else:
                self.note_arrival(self.first, least_rtt, now, result)
            if packet.flags & IS_FIN:
                result.fin = True
            self.outstanding_bytes -= packet.size
            self.first += 1
            Py_DECREF(<object> packet.run)
        result.advanced = in_order > 0
        for index in range(mask_size):
            if mask[index] == 0:
                continue
            for bit in range(8):
                seq_nr = <uint16_t> (ack_nr + 2 + index * 8 + bit)
                if not mask[index] & (1 << bit) or seq_distance(self.first, seq_nr) >= self.outstanding():
                    continue
                packet = self.packet(seq_nr)
                if not packet.flags & SACKED:
                    self.note_arrival(seq_nr, least_rtt, now, result)
                    packet.flags |= SACKED
                    self.sacked_count += 1
                    self.sacked_bytes += packet.size
        if result.packets:
            if fills_gap and seq_before(told, self.highest_arrived):
                # What came after the gap may have waited for this to be told.
                result.rtt = -1
                self.late_news_until = self.delivered
            self.measure_rate(least_rtt, now, result)

    cdef void note_told(self, uint16_t ack_nr, Py_ssize_t mask_size, bint is_complete) noexcept:
        """Note how far an acknowledgement tells arrived from missing: as far as its mask reaches, or if it
        has none, and the peer is one that sends them, of all.
        """
        cdef uint16_t told = <uint16_t> (ack_nr + 1 + 8 * mask_size)
        if mask_size:
            self.masks_come = True
        elif self.masks_come and is_complete:
            told = self.next - 1
        if seq_before(told, self.told):
            # This one reaches less far, and may be the first that left the peer after a loss.
            self.sight_end = told + 1
        self.told = told

    cdef void note_arrival(
        self, uint16_t seq_nr, double least_rtt, double now, Acknowledged* result
    ) noexcept:
        """Count a packet that has arrived."""
        cdef SentPacket* packet = self.packet(seq_nr)
        cdef double rtt = now - packet.sent_at
        result.packets += 1
        result.bytes += packet.size
        self.delivered += packet.size
        if packet.flags & LOST:
            packet.flags &= <uint8_t> ~LOST
            self.lost_count -= 1
        else:
            self.leave_network(packet)
        if packet.sent_at >= result.newest_sent_at:
            # If that is one sent again, it is what this answers: others may have waited for long.
            result.newest_sent_at = packet.sent_at
            result.rtt = rtt if packet.transmissions == 1 else -1
        if packet.transmissions == 1:
            if HEADER_SIZE + packet.size >= self.path.proof:
                self.path.on_arrival(HEADER_SIZE + packet.size, packet.sent_at)
            if seq_before(seq_nr, self.highest_arrived):
                self.reorders = True
        elif least_rtt < INFINITY and rtt < least_rtt - ROUNDING:
            # It was the first copy that arrived, and the second one says nothing (RFC 8985 section 6.2, step
            # 2).
            self.resent_in_vain = True
            return
        if seq_before(self.highest_arrived, seq_nr):
            self.highest_arrived = seq_nr
        if packet.sent_at > self.newest_sent_at or (
            packet.sent_at == self.newest_sent_at and seq_before(self.newest_seq_nr, seq_nr)
        ):
            self.newest_sent_at = packet.sent_at
            self.newest_seq_nr = seq_nr
            self.newest_rtt = rtt
        if packet.delivered >= result.delivered_before:
            result.delivered_before = packet.delivered
            result.delivered_before_at = packet.delivered_at
            result.send_time = packet.sent_at - packet.first_sent_at
            result.rate_is_low = (packet.flags & IS_LIMITED) != 0
            self.first_sent_at = packet.sent_at

    cdef void measure_rate(self, double least_rtt, double now, Acknowledged* result) noexcept:
        """Find the rate of delivery: what arrived since the newest packet left, by how long that took.

        The longer of the times between the two sendings and between the two acknowledgements, so that neither
        a burst nor acknowledgements that come together make it too high (section 3.1.2 and 3.3).
        """
        cdef double time
        self.delivered_at = now
        if self.limited_until and self.delivered > self.limited_until:
            self.limited_until = 0
        if result.delivered_before < 0:
            return
        time = max(now - result.delivered_before_at, result.send_time)
        if time > 0 and time >= least_rtt - ROUNDING:
            result.rate = (self.delivered - result.delivered_before) / time
            result.rate_may_be_high = result.delivered_before < self.late_news_until

    cdef void note_limited(self) noexcept:
        """Note that what is in flight is all there was to send, so that its rate is none of the path's."""
        self.limited_until = max(self.delivered + self.in_flight_bytes, <double> 1)

    cdef void stamp(self, SentPacket* packet, double now) noexcept:
        """Note on a packet that leaves now what its arrival will be measured by."""
        if self.in_flight_bytes == 0:
            self.first_sent_at = self.delivered_at = now
        packet.sent_at = now
        packet.first_sent_at = self.first_sent_at
        packet.delivered_at = self.delivered_at
        packet.delivered = self.delivered
        if self.limited_until:
            packet.flags |= IS_LIMITED
        else:
            packet.flags &= <uint8_t> ~IS_LIMITED

    cdef void leave_network(self, SentPacket* packet) noexcept:
        """Count a packet as in flight no more, if it still is."""
        if packet.flags & IS_OUT_OF_SIGHT:
            packet.flags &= <uint8_t> ~IS_OUT_OF_SIGHT
        else:
            self.in_flight_bytes -= packet.size

    # Loss.

    cdef Py_ssize_t find_lost(self, double reordering, double now, double* next_time) noexcept:
        """Mark what must be lost given what has arrived, and return how many packets that are, save probes.

        A packet is lost if three of those after it have arrived (RFC 6675), unless the path is known to
        reorder; or if one that was sent later has, and `reordering` seconds have passed since it should have
        (RFC 8985 section 6.2, step 5).
        `next_time` is when more will be lost if nothing comes, infinite if nothing will.
        """
        cdef Py_ssize_t later = self.sacked_count
        cdef Py_ssize_t lost = 0
        cdef uint16_t seq_nr = self.first
        cdef SentPacket* packet
        cdef double overdue
        next_time[0] = INFINITY
        while seq_nr != self.next and not seq_before(self.told, seq_nr):
            packet = self.packet(seq_nr)
            if packet.flags & SACKED:
                later -= 1
            elif packet.flags & LOST:
                pass
            elif packet.transmissions == 1 and later >= DUPLICATE_THRESHOLD and not self.reorders:
                lost += self.mark_lost(seq_nr, BY_REORDERING)
            elif packet.sent_at < self.newest_sent_at or (
                packet.sent_at == self.newest_sent_at and seq_before(seq_nr, self.newest_seq_nr)
            ):
                overdue = packet.sent_at + self.newest_rtt + reordering
                if overdue <= now:
                    lost += self.mark_lost(seq_nr, BY_TIME)
                else:
                    next_time[0] = min(next_time[0], overdue)
            elif packet.transmissions == 1 and later <= 0:
                # All that follow were sent later still.
                return lost
            seq_nr += 1
        self.find_out_of_sight(reordering, now, next_time)
        return lost

    cdef void find_out_of_sight(self, double reordering, double now, double* next_time) noexcept:
        """Find what must have left the network, but beyond what acknowledgements tell of: whether it arrived
        or is lost is not known yet.
        """
        cdef SentPacket* packet
        cdef double overdue
        if seq_before(self.sight_end, self.told + 1):
            self.sight_end = self.told + 1
        while seq_before(self.sight_end, self.next):
            packet = self.packet(self.sight_end)
            overdue = packet.sent_at + self.newest_rtt + reordering
            if packet.sent_at >= self.newest_sent_at or overdue > now:
                if packet.sent_at < self.newest_sent_at:
                    next_time[0] = min(next_time[0], overdue)
                break
            if not packet.flags & (SACKED | LOST | IS_OUT_OF_SIGHT):
                packet.flags |= IS_OUT_OF_SIGHT
                self.in_flight_bytes -= packet.size
            self.sight_end += 1

    cdef Py_ssize_t mark_lost(self, uint16_t seq_nr, LossCause cause) noexcept:
        """Take a packet for lost; return 1, or 0 if it is a probe or has arrived or is lost already."""
        cdef SentPacket* packet = self.packet(seq_nr)
        if packet.flags & (SACKED | LOST):
            return 0
        if self.lost_count == 0 or seq_before(seq_nr, self.lost_from):
            self.lost_from = seq_nr
        packet.flags |= LOST
        self.lost_count += 1
        self.leave_network(packet)
        self.losses[<int> cause] += 1
        if self.log is not None:
            self.log.packet_lost(seq_nr, packet.size, cause)
        if packet.flags & IS_PROBE:
            self.path.on_probe_gone(HEADER_SIZE + packet.size, cause <= LAST_OF_LOSSES)
            return 0
        if cause > LAST_OF_LOSSES:
            # It is only sent again: that says nothing of the path.
            return 1
        if packet.transmissions == 1:
            self.path.on_loss(HEADER_SIZE + packet.size, packet.sent_at)
        self.newest_lost_at = max(self.newest_lost_at, packet.sent_at)
        if cause in (BY_REORDERING, BY_TIME):
            self.newly_lost += packet.size
        return 1

    cdef void mark_lost_since(self, double since, LossCause cause) noexcept:
        """Take all for lost that left at `since` or later and has not arrived, as after a timeout."""
        cdef uint16_t seq_nr = self.first
        cdef int suspects = self.path.suspects
        if self.outstanding() and self.packet(self.first).flags & SACKED:
            # The peer has it and yet does not acknowledge it in order: it must have dropped it since (RFC
            # 2018 section 8 has the same rule).
            self.forget_selective_acks()
        while seq_nr != self.next:
            if self.packet(seq_nr).sent_at >= since:
                self.mark_lost(seq_nr, cause)
            seq_nr += 1
        if self.path.is_proven():
            # All was lost for one reason, and what is short may have been too.
            self.path.suspects = min(self.path.suspects, suspects + 1)

    cdef void take_path(self, PathMtu path) noexcept:
        """Go on over another path: what is outstanding is lost, and its arrival says nothing of that path."""
        cdef uint16_t seq_nr = self.first
        cdef SentPacket* packet
        self.mark_lost_since(-INFINITY, BY_PATH)
        self.path = path
        self.newest_sent_at = -INFINITY
        self.newest_rtt = 0
        self.reorders = self.resent_in_vain = False
        while seq_nr != self.next:
            packet = self.packet(seq_nr)
            packet.flags &= <uint8_t> ~IS_PROBE
            packet.transmissions = max(packet.transmissions, <uint8_t> 2)
            seq_nr += 1

    cdef Py_ssize_t refuse(self, uint16_t seq_nr) noexcept:
        """Take a packet for lost since it was too long; return its payload, 0 if that can't be."""
        cdef SentPacket* packet
        if seq_distance(self.first, seq_nr) >= self.outstanding():
            return 0
        packet = self.packet(seq_nr)
        if packet.transmissions > 1 or packet.flags & (SACKED | LOST):
            return 0
        packet.flags |= IS_PROBE
        self.mark_lost(seq_nr, BY_SIZE)
        return packet.size

    cdef void forget_selective_acks(self) noexcept:
        """Take for in flight what the peer said has arrived early."""
        cdef uint16_t seq_nr = self.first
        cdef SentPacket* packet
        while seq_nr != self.next:
            packet = self.packet(seq_nr)
            if packet.flags & SACKED:
                packet.flags &= <uint8_t> ~SACKED
                self.in_flight_bytes += packet.size
            seq_nr += 1
        self.sacked_count = self.sacked_bytes = 0

    # Sending.

    cdef bytes new_run(
        self, Py_ssize_t count, Py_ssize_t segment, Py_ssize_t last, const HeaderFields* header, double now
    ):
        """Give sequence numbers to pending payload: `count` packets of `segment` bytes, then one of `last` if
        not 0.

        The caller sees to it that so much is pending. Returns the packets back to back, as they go on the
        wire.
        """
        cdef Py_ssize_t total = count * (HEADER_SIZE + segment) + (HEADER_SIZE + last if last else 0)
        cdef bytes run = PyBytes_FromStringAndSize(NULL, total)
        cdef uint8_t* start = <uint8_t*> PyBytes_AS_STRING(run)
        cdef Py_ssize_t offset = 0
        cdef Py_ssize_t size
        self.reserve(count + 1)
        while offset < total:
            size = segment if count > 0 else last
            count -= 1
            write_header(start + offset, ST_DATA, EXTENSION_NONE, header, self.next)
            self.pending.take_into(start + offset + HEADER_SIZE, size)
            self.push(run, offset + HEADER_SIZE, size, now, 0)
            offset += HEADER_SIZE + size
        return run

    cdef bytes probe(self, Py_ssize_t size, const HeaderFields* header, double now):
        """Give a sequence number to `size` bytes of pending payload, as one packet that may be too long."""
        cdef bytes packet = self.new_run(1, size, 0, header, now)
        self.packet(self.next - 1).flags |= IS_PROBE
        return packet

    cdef bytes fin(self, const HeaderFields* header, double now):
        """Give the FIN its sequence number and return it."""
        cdef bytes packet = bare_packet(ST_FIN, header, self.next)
        self.reserve(1)
        self.push(packet, HEADER_SIZE, 0, now, IS_FIN)
        return packet

    cdef bytes lost_run(
        self, Py_ssize_t budget, Py_ssize_t most, const HeaderFields* header, double now, Py_ssize_t* segment,
        Py_ssize_t* count
    ):
        """Send lost packets again: the first of them, and those that can go in one run with it.

        At most `most` packets of `budget` bytes of payload together, but at least one; something must be
        lost. `segment` is set to the payload of the first, `count` to how many they are. Headers are fresh;
        payloads are as they were.
        """
        cdef uint16_t seq_nr = self.lost_from
        cdef uint16_t chosen[MAX_LOST_RUN]
        cdef Py_ssize_t total = 0
        cdef Py_ssize_t index
        cdef SentPacket* packet
        cdef bytes run
        cdef uint8_t* out
        most = min(most, <Py_ssize_t> MAX_LOST_RUN)
        count[0] = segment[0] = 0
        if seq_before(seq_nr, self.first):
            seq_nr = self.first
        while seq_nr != self.next and count[0] < most and count[0] < self.lost_count:
            packet = self.packet(seq_nr)
            if packet.flags & LOST:
                if count[0] == 0:
                    segment[0] = packet.size
                elif packet.size > min(segment[0], budget):
                    break
                chosen[count[0]] = seq_nr
                count[0] += 1
                total += HEADER_SIZE + packet.size
                budget -= packet.size
                if packet.size < segment[0]:
                    seq_nr += 1
                    break
            seq_nr += 1
        run = PyBytes_FromStringAndSize(NULL, total)
        self.lost_from = seq_nr
        out = <uint8_t*> PyBytes_AS_STRING(run)
        for index in range(count[0]):
            packet = self.packet(chosen[index])
            write_header(
                out, ST_FIN if packet.flags & IS_FIN else ST_DATA, EXTENSION_NONE, header, chosen[index]
            )
            memcpy(
                out + HEADER_SIZE, PyBytes_AS_STRING(<bytes> <object> packet.run) + packet.offset, packet.size
            )
            out += HEADER_SIZE + packet.size
            packet.flags &= <uint8_t> ~(LOST | IS_PROBE)
            packet.transmissions = <uint8_t> min(packet.transmissions + 1, 255)
            self.stamp(packet, now)
            self.in_flight_bytes += packet.size
        self.lost_count -= count[0]
        return run

    cdef void push(self, bytes run, Py_ssize_t offset, Py_ssize_t size, double now, uint8_t flags) noexcept:
        """Enter a packet that leaves now under the next sequence number; there must be a slot for it."""
        cdef SentPacket* packet = self.packet(self.next)
        Py_INCREF(run)
        packet.run = <PyObject*> run
        packet.offset = <uint32_t> offset
        packet.size = <uint16_t> size
        packet.transmissions = 1
        packet.flags = flags
        self.stamp(packet, now)
        self.next += 1
        self.outstanding_bytes += size
        self.in_flight_bytes += size

    cdef bint reserve(self, Py_ssize_t count) except False:
        """Make slots for `count` more packets."""
        cdef Py_ssize_t slots = max(self.slots, <Py_ssize_t> FIRST_SLOTS)
        cdef SentPacket* ring
        cdef uint16_t seq_nr = self.first
        count += self.outstanding()
        if count <= self.slots:
            return True
        while slots < count:
            slots *= 2
        ring = <SentPacket*> PyMem_Malloc(slots * sizeof(SentPacket))
        if ring == NULL:
            raise MemoryError
        while seq_nr != self.next:
            ring[seq_nr & (slots - 1)] = self.packet(seq_nr)[0]
            seq_nr += 1
        PyMem_Free(self.ring)
        self.ring = ring
        self.slots = slots
        return True
