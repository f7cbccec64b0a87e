"""How large a receive window the path and the reader can use.

As Linux does for TCP: what the program reads in a round trip is what the path brings in one. A sender needs
room for that, for as much again while its window doubles, and for twice as much while a packet that was lost
holds up the reader.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t

from pknet._core.utp_config cimport UtpConfig

cdef enum:
    # Windows for each round trip's worth.
    ROOM = 4

# For how long a round trip counts as the shortest, at least; twice as long at most.
cdef double SPAN = 10
# Shorter round trips than that have no window that would need to grow.
cdef double SHORTEST_ROUND = 1e-4
# What is read is counted for so long, at least: who wakes up reads all that came meanwhile at one instant.
cdef double SHORTEST_COUNT = 5e-3
# A round trip counts for no more than that: it is the peer that says how long it takes.
cdef double LONGEST_ROUND = 1
# Growth that was of no use for so long is left to others.
cdef double REVIEW_TIME = 60


cdef class WindowTuner:
    """Measures, on the receiver's side, the round trip and what is read in it, and has the window follow."""

    def __cinit__(self, Shared shared not None, ReceiveBuffer receiving not None):
        self.shared = shared
        self.receiving = receiving
        self.since = -INFINITY
        self.take_path()

    cdef void take_path(self) noexcept:
        """Forget how long a round trip is."""
        self.least = self.least_before = INFINITY
        self.span_ends = -INFINITY

    cdef double measure(self, uint32_t there, uint32_t back) noexcept:
        """Take the one-way delays of a packet that came and of the one that it answers, in microseconds.

        Returns the round trip that follows, in seconds, or -1.

        Each is by two clocks that have nothing in common; in their sum the difference cancels out. So who
        only receives knows the round trip too.
        """
        cdef double round_trip = <int32_t> (there + back) * 1e-6
        cdef double rtt = min(round_trip, LONGEST_ROUND)
        if rtt < 0:
            return -1
        if self.shared.now >= self.span_ends:
            self.span_ends = self.shared.now + SPAN
            self.least_before = self.least
            self.least = rtt
        elif rtt < self.least:
            self.least = rtt
        return round_trip

    cdef void read(self, Py_ssize_t count, double least_rtt) noexcept:
        """Note that `count` bytes were read, and grow the window if that asks for it.

        `least_rtt`: the shortest round trip that this side has measured as a sender, infinite if none.
        """
        cdef double rtt = max(min(self.least, self.least_before, least_rtt), SHORTEST_ROUND)
        cdef double now = self.shared.now
        cdef double wanted
        self.taken += count
        # With no round trip known this is never so.
        if now >= self.since + max(rtt, SHORTEST_COUNT):
            if self.since > -INFINITY:
                wanted = ROOM * self.taken * rtt / (now - self.since)
                self.most_wanted = max(self.most_wanted, wanted)
                self.grow(wanted)
            self.taken = 0
            self.since = now

    cdef void grow(self, double wanted) noexcept:
        """Take what is wanted of the memory that the connections of the endpoint share, if it is there."""
        cdef UtpConfig config = self.shared.config
        cdef Py_ssize_t more = min(
            <Py_ssize_t> min(wanted, <double> config.max_receive_buffer) - self.receiving.limit,
            config.buffer_growth - self.shared.growth,
        )
        if more > 0:
            self.shared.growth += more
            self.receiving.set_limit(self.receiving.limit + more)

    cdef double next_review(self) noexcept:
        """Return when a review is due that is not arranged yet; infinite if there is nothing to leave."""
        if self.receiving.limit > self.shared.config.first_receive_buffer:
            return self.shared.now + REVIEW_TIME
        return INFINITY

    cdef bint review(self) noexcept:
        """Leave to others what was of no use since the last review; return whether that is something."""
        cdef ReceiveBuffer receiving = self.receiving
        cdef Py_ssize_t first = self.shared.config.first_receive_buffer
        # What is kept already keeps its room.
        cdef Py_ssize_t limit = max(first, receiving.readable(), <Py_ssize_t> self.most_wanted)
        cdef Py_ssize_t less = receiving.limit - limit if receiving.early_count == 0 else 0
        self.most_wanted = 0
        if less > 0:
            self.shared.growth -= less
            receiving.set_limit(limit)
        return less > 0

    cdef void give_back(self) noexcept:
        """Leave the memory to others: nothing comes any more."""
        self.shared.growth -= self.receiving.limit - self.shared.config.first_receive_buffer
