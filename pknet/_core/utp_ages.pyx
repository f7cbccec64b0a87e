"""Packets that were on their way for so long that their 16-bit numbers mean something else by now.

At 1 Gbit/s the sequence numbers come round in less than a second, and a packet that the network has held for
so long looks like one that is to come. TCP has the same problem with 32 bits, and PAWS as an answer
(RFC 7323 section 5); here each packet has a timestamp too.

No more than 24 000 packets are in flight. So number n is sent after n - 32768 had been received, and the
packet that had the same number 65 536 ago had been received before that, for all later ones were. What the
peer's clock showed at the time is a border between the two, and it is enough to remember it for each step of
4096 numbers. An acknowledgement of n is one of n sent, and the same holds.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t

cdef enum:
    STEP_BITS = 12
    HALF = 1 << 15
    MAX_REFUSED = 32

# How long a packet may live in the network, as RFC 9293 section 3.4.1 assumes for TCP: an older border
# divides nothing, and its timestamp may have come round.
cdef double MAX_LIFETIME = 120


cdef class PacketAges:
    """Knows, for a connection that has gone on for a while, which packets are from an earlier round."""

    def __cinit__(self, uint32_t timestamp, uint16_t received, uint16_t acknowledged):
        """Begin with the peer's newest timestamp, and how far the numbers of both directions have come."""
        self.newest = timestamp
        begin(&self.received, received)
        begin(&self.acknowledged, acknowledged)

    cdef void note(self, uint32_t timestamp, uint16_t received, uint16_t acknowledged, double now) noexcept:
        """Note how far the numbers have come with a packet of this timestamp."""
        if <int32_t> (timestamp - self.newest) > 0:
            self.newest = timestamp
        reach(&self.received, received, self.newest, now)
        reach(&self.acknowledged, acknowledged, self.newest, now)

    cdef bint too_old(self, uint32_t timestamp, uint16_t seq_nr, uint16_t ack_nr, double now) noexcept:
        """Return whether a packet must be from an earlier round of the numbers."""
        if not (
            precedes(&self.received, seq_nr, timestamp, now)
            or precedes(&self.acknowledged, ack_nr, timestamp, now)
        ):
            self.refused = 0
            return False
        self.refused += 1
        if self.refused > MAX_REFUSED:
            # Nothing else comes: it is the peer's clock that went back.
            self.newest = timestamp
            begin(&self.received, self.received.reached)
            begin(&self.acknowledged, self.acknowledged.reached)
        return True


cdef void begin(Marks* marks, uint16_t reached) noexcept:
    cdef int step
    marks.reached = reached
    for step in range(STEPS):
        marks.at[step] = -INFINITY


cdef inline void reach(Marks* marks, uint16_t reached, uint32_t timestamp, double now) noexcept:
    cdef uint16_t step = marks.reached >> STEP_BITS
    while step != reached >> STEP_BITS:
        step = (step + 1) % STEPS
        marks.timestamp[step] = timestamp
        marks.at[step] = now
    marks.reached = reached


cdef inline bint precedes(const Marks* marks, uint16_t number, uint32_t timestamp, double now) noexcept:
    cdef uint16_t step = <uint16_t> (number - HALF) >> STEP_BITS
    return now - marks.at[step] < MAX_LIFETIME and <int32_t> (timestamp - marks.timestamp[step]) < 0
