from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pknet._core.byte_queue cimport ByteQueue
from pknet._core.utp_log cimport LOSS_CAUSES, EventLog, LossCause
from pknet._core.utp_packet cimport HeaderFields
from pknet._core.utp_path_mtu cimport PathMtu

cdef enum:
    # RFC 6675 DupThresh: a packet is lost when so many that were sent after it have arrived.
    DUPLICATE_THRESHOLD = 3

cdef enum:
    SACKED = 1
    LOST = 2
    IS_FIN = 4
    # Sent while the program, or the peer's window, gave no more to send.
    IS_LIMITED = 8
    # Longer than the path is known to carry: its loss says nothing of congestion.
    IS_PROBE = 16
    # Has left the network, and no acknowledgement tells yet whether it arrived.
    IS_OUT_OF_SIGHT = 32


# A packet that has a sequence number and is not acknowledged. Its payload stays where it was first written
# for the wire: in `run`, at `offset`.
cdef struct SentPacket:
    PyObject* run
    double sent_at
    # As they were when it was sent (draft-cheng-iccrg-delivery-rate-estimation: P.delivered,
    # P.delivered_time, P.first_sent_time).
    double delivered
    double delivered_at
    double first_sent_at
    uint32_t offset
    uint16_t size
    uint8_t transmissions
    uint8_t flags


# What an acknowledgement brought.
cdef struct Acknowledged:
    Py_ssize_t packets
    Py_ssize_t bytes
    bint advanced
    bint fin
    # Round trip of the newest packet, or -1 if that was sent more than once (Karn), or what was sent again
    # has closed a gap; and when it left.
    double rtt
    double newest_sent_at
    # Bytes a second at which the path delivered what was in flight with the newest packet, 0 if that isn't
    # known; whether there was not enough to send to find out; and what had been delivered when that packet
    # left, -1 if none has arrived.
    double rate
    bint rate_is_low
    # Whether part of what counts as delivered meanwhile had been before, out of sight.
    bint rate_may_be_high
    double delivered_before
    double delivered_before_at
    double send_time


cdef class SendBuffer:
    # What became of packets that were sent once is told to it.
    cdef PathMtu path
    # Accepted from the program, without a sequence number yet.
    cdef ByteQueue pending
    # In a ring of a power of two, by seq_nr: from `first` (the oldest that is not acknowledged) to before
    # `next`.
    cdef SentPacket* ring
    cdef Py_ssize_t slots
    cdef uint16_t first
    cdef uint16_t next
    # Payload of all in the ring; payload believed to be in the network.
    cdef Py_ssize_t outstanding_bytes
    cdef Py_ssize_t in_flight_bytes
    cdef Py_ssize_t sacked_count
    cdef Py_ssize_t sacked_bytes
    cdef Py_ssize_t lost_count
    # No packet before this one is lost.
    cdef uint16_t lost_from
    # The packet sent last among those that have arrived, and its round trip (RFC 8985: RACK.segment,
    # RACK.rtt).
    cdef double newest_sent_at
    cdef uint16_t newest_seq_nr
    cdef double newest_rtt
    # When the newest packet was sent of those taken for lost that nobody has reacted to.
    cdef double newest_lost_at
    # Payload taken for lost because of what has arrived, since a controller was last told of it. What a
    # timeout takes for lost is all there is, whatever became of it: no measure of what the path loses.
    cdef Py_ssize_t newly_lost
    # The last packet, by number, of those that have arrived; whether one that was sent once has arrived after
    # a later one (RFC 8985: RACK.fack, RACK.reordering_seen); whether one was sent again in vain since this
    # was last asked.
    cdef uint16_t highest_arrived
    cdef uint8_t reorders
    cdef uint8_t resent_in_vain
    # The last packet of which acknowledgements tell whether it has arrived: a mask has 255 bytes at most, of
    # some peers 4. Whether the peer has sent masks.
    cdef uint16_t told
    cdef uint8_t masks_come
    # The first packet beyond `told` that may still be in the network.
    cdef uint16_t sight_end
    # Bytes that have arrived, and when the last of them were heard of (C.delivered, C.delivered_time). When
    # the packet left after which the flight is measured (C.first_sent_time).
    cdef double delivered
    cdef double delivered_at
    cdef double first_sent_at
    # Until so many bytes have arrived, there was not enough to send; 0 if there was (C.app_limited).
    cdef double limited_until
    # When so many bytes had arrived, some of them were told late.
    cdef double late_news_until
    # How many packets were taken for lost, by cause.
    cdef unsigned long long losses[LOSS_CAUSES]
    cdef EventLog log

    cdef void start(self, uint16_t seq_nr) noexcept
    cdef bint keep(self, data, const uint8_t* start, Py_ssize_t size) except False
    cdef Py_ssize_t outstanding(self) noexcept
    cdef SentPacket* packet(self, uint16_t seq_nr) noexcept
    cdef void acknowledge(
        self, uint16_t ack_nr, const uint8_t* mask, Py_ssize_t mask_size, bint is_complete, double least_rtt,
        double now, Acknowledged* result
    ) noexcept
    cdef void note_told(self, uint16_t ack_nr, Py_ssize_t mask_size, bint is_complete) noexcept
    cdef void note_arrival(self, uint16_t seq_nr, double least_rtt, double now, Acknowledged* result) noexcept
    cdef void measure_rate(self, double least_rtt, double now, Acknowledged* result) noexcept
    cdef void note_limited(self) noexcept
    cdef void leave_network(self, SentPacket* packet) noexcept
    cdef void find_out_of_sight(self, double reordering, double now, double* next_time) noexcept
    cdef void stamp(self, SentPacket* packet, double now) noexcept
    cdef Py_ssize_t find_lost(self, double reordering, double now, double* next_time) noexcept
    cdef Py_ssize_t mark_lost(self, uint16_t seq_nr, LossCause cause) noexcept
    cdef void mark_lost_since(self, double since, LossCause cause) noexcept
    cdef void take_path(self, PathMtu path) noexcept
    cdef Py_ssize_t refuse(self, uint16_t seq_nr) noexcept
    cdef void forget_selective_acks(self) noexcept
    cdef bytes new_run(
        self, Py_ssize_t count, Py_ssize_t segment, Py_ssize_t last, const HeaderFields* header, double now
    )
    cdef bytes probe(self, Py_ssize_t size, const HeaderFields* header, double now)
    cdef bytes fin(self, const HeaderFields* header, double now)
    cdef bytes lost_run(
        self, Py_ssize_t budget, Py_ssize_t most, const HeaderFields* header, double now, Py_ssize_t* segment,
        Py_ssize_t* count
    )
    cdef void push(self, bytes run, Py_ssize_t offset, Py_ssize_t size, double now, uint8_t flags) noexcept
    cdef bint reserve(self, Py_ssize_t count) except False
