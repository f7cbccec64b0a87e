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
# A round trip that takes longer is a peer's clock that says nonsense.
cdef double LONGEST_ROUND = 10


cdef class WindowTuner:
    """Measures, on the receiver's side, the round trip and what is read in it, and has the window follow."""

    def __cinit__(self, Shared shared not None, ReceiveBuffer receiving not None):
        self.shared = shared
        self.receiving = receiving
        self.least = self.least_before = INFINITY
        self.span_ends = self.since = -INFINITY

    cdef double measure(self, uint32_t there, uint32_t back) noexcept:
        """Take the one-way delays of a packet that came and of the one that it answers, in microseconds.

        Returns the round trip that follows, in seconds, or -1.

        Each is by two clocks that have nothing in common; in their sum the difference cancels out. So who
        only receives knows the round trip too.
        """
        cdef double rtt = <int32_t> (there + back) * 1e-6
        if rtt < 0 or rtt > LONGEST_ROUND:
            return -1
        if self.shared.now >= self.span_ends:
            self.span_ends = self.shared.now + SPAN
            self.least_before = self.least
            self.least = rtt
        elif rtt < self.least:
            self.least = rtt
        return rtt

    cdef void read(self, Py_ssize_t count, double least_rtt) noexcept:
        """Note that `count` bytes were read, and grow the window if that asks for it.

        `least_rtt`: the shortest round trip that this side has measured as a sender, infinite if none.
        """
        cdef double rtt = max(min(self.least, self.least_before, least_rtt), SHORTEST_ROUND)
        cdef double now = self.shared.now
        self.taken += count
        # With no round trip known this is never so.
        if now >= self.since + max(rtt, SHORTEST_COUNT):
            if self.since > -INFINITY:
                self.grow(ROOM * self.taken * rtt / (now - self.since))
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

    cdef void give_back(self) noexcept:
        """Leave the memory to others: nothing comes any more."""
        self.shared.growth -= self.receiving.limit - self.shared.config.first_receive_buffer
