"""How long the datagrams may be that a path carries: DPLPMTUD (RFC 8899), a state machine of its own.

It is told what arrived and what was lost, and says how long new packets are and when one of them is to be
longer, as a probe. It relies on no ICMP. uTP has no padding and can't cut a packet anew, so a probe carries
payload that would have gone anyway, and what is lost is sent again with leave to be fragmented: however wrong
the size is, everything arrives.

A fresh path begins at a size that nearly every path carries, and the first probe is for the ceiling: where
that passes, one round trip is spent at the smaller size, and where it doesn't, one packet is late. libutp
begins at the ceiling, and a path that is narrower loses the whole first flight.

All sizes are bytes of UDP payload.
"""

from libc.math cimport INFINITY

cdef enum:
    # RFC 8899 section 5.1.2, BASE_PLPMTU.
    BASE = 1200
    # MAX_PROBES; the RFC has 3, but a search that was misled by chance is made good by the next one.
    MAX_PROBES = 2
    # The search is over when no more than this could be gained.
    LEAST_GAIN = 16
    # So many losses in a row of what is long, while nothing long arrives, are a black hole.
    BLACK_HOLE = 3

# RFC 8899 section 5.1.1, PMTU_RAISE_TIMER, in seconds.
cdef double RAISE_TIME = 600


cdef class PathMtu:
    """What is known of one path.

    The floor is what every path carries, in fragments if need be; with a floor at the ceiling there is
    nothing to find out.
    """

    def __cinit__(self, Py_ssize_t ceiling, Py_ssize_t floor):
        self.ceiling = ceiling
        self.floor = min(floor, ceiling)
        self.size = max(self.floor, min(<Py_ssize_t> BASE, ceiling))
        self.shrunk_at = self.proven_at = -INFINITY
        self.search()
        self.absolve()

    cdef bint is_at_floor(self) noexcept:
        """Return whether new packets are so short that they may as well be fragmented."""
        return self.size <= self.floor

    cdef bint is_proven(self) noexcept:
        """Return whether anything long has arrived since there was reason to doubt it."""
        return self.proven_at > self.shrunk_at

    # The search (RFC 8899 section 5.3).

    cdef Py_ssize_t wanted_probe(self, double now) noexcept:
        """Return the size for which a probe is wanted now, 0 if none is."""
        if self.size >= self.ceiling or self.probe:
            return 0
        if self.is_over():
            if self.search_at == INFINITY:
                self.search_at = now + RAISE_TIME
            if now < self.search_at:
                return 0
            # Just above what is known: if that still fails nothing has changed, and one size was in vain.
            self.top = min(self.failed, self.ceiling)
            self.failed = self.top + 1
            self.search_at = INFINITY
            self.again = True
        if self.failed > self.top:
            return self.top
        return (self.size + self.failed) // 2

    cdef bint is_over(self) noexcept:
        return self.size >= self.top or (
            self.failed <= self.top and self.failed - self.size <= LEAST_GAIN
        )

    cdef void search(self) noexcept:
        """Begin a search, with the ceiling."""
        self.top = self.ceiling
        self.failed = self.top + 1
        self.probe = self.probes_lost = 0
        self.search_at = INFINITY
        self.again = False

    # What has become of packets that were sent once, with DF.

    cdef void on_arrival(self, Py_ssize_t size, double sent_at) noexcept:
        """Take note of a datagram that arrived; of those shorter than `proof` it needs not be told."""
        self.proven_at = max(self.proven_at, sent_at)
        if self.suspects:
            self.absolve()
        if size <= self.size or sent_at < self.shrunk_at:
            return
        self.size = size
        self.probe = self.probes_lost = 0
        self.absolve()
        self.top = max(self.top, size)
        if self.failed <= size or self.again:
            # There is more room than the last search found.
            self.search()

    cdef void on_loss(self, Py_ssize_t size, double sent_at) noexcept:
        """Take note of a datagram that was lost, but was no probe."""
        if size > self.floor and sent_at > self.proven_at:
            self.suspects += 1
            self.proof = min(self.proof, size)

    cdef void on_probe_gone(self, Py_ssize_t size, bint is_lost) noexcept:
        """Take note that a probe will tell nothing more: it was lost, or is only sent again."""
        if size != self.probe:
            return
        self.probe = 0
        self.probes_lost += is_lost
        if self.probes_lost == MAX_PROBES:
            self.probes_lost = 0
            self.failed = min(self.failed, size)

    cdef void absolve(self) noexcept:
        """Hold none of the losses so far against the size."""
        self.suspects = 0
        # At the floor there is nothing to prove.
        self.proof = self.size if self.size > self.floor else self.floor + 1

    # Smaller again.

    cdef bint judge(self, double now) noexcept:
        """Shrink if what is long vanishes (RFC 8899 section 4.3); return whether none of it ever arrived.

        It may be wrong to do so: after an outage a probe soon finds the old size again.
        """
        cdef bint was_unproven = self.proven_at == -INFINITY
        if self.suspects < BLACK_HOLE:
            return False
        self.search()
        self.shrink(BASE if self.size > BASE else 0, now)
        return was_unproven

    cdef void limit(self, Py_ssize_t size, Py_ssize_t refused, double now) noexcept:
        """Believe a router or the system, but never what it says above the ceiling or below the floor.

        `size` is what it lets pass, 0 if it doesn't say; `refused` is what it did not.
        """
        if refused <= self.floor:
            return
        if size == 0:
            self.failed = min(self.failed, refused)
            self.probe = self.probes_lost = 0
            if self.size >= refused:
                self.shrink(BASE if refused > BASE else 0, now)
            return
        size = max(size, self.floor)
        if size < self.top:
            self.search()
            self.top = size
            self.failed = size + 1
        if size < self.size:
            self.shrink(size, now)

    cdef void shrink(self, Py_ssize_t size, double now) noexcept:
        """Go down to `size` or to the floor; what was sent before counts no more."""
        self.size = max(size, self.floor)
        self.shrunk_at = self.proven_at = now
        self.absolve()
