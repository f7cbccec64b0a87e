"""How much may be in flight: LEDBAT (RFC 6817), as BEP 29 asks.

Delays are microseconds on a circle of 2**32: the two clocks have nothing in common, so only differences mean
anything, and every comparison is by signed difference.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t

cdef enum:
    # Never below two segments (RFC 6817 section 2.4.2, MIN_CWND).
    MIN_WINDOW_SEGMENTS = 2
    # RFC 6928: what a fresh connection may send before it has heard anything.
    INITIAL_WINDOW_SEGMENTS = 10
    # The most a window grows in a round trip, in bytes: the gain of libutp and libtorrent.
    MAX_INCREASE_PER_RTT = 3000

# Slow start ends at this share of the target (LEDBAT++, draft-irtf-iccrg-ledbat-plus-plus section 4.4).
cdef double SLOW_START_EXIT = 0.75
# Share of what queues above the target that is given up in a round trip, and the most of the window that ever
# is.
cdef double SHRINK_GAIN = 0.5
cdef double MAX_SHRINK = 0.5


cdef inline bint earlier(uint32_t a, uint32_t b) noexcept:
    return <int32_t> (a - b) < 0


cdef class DelayHistory:
    """One-way delays: the lowest of the last minutes, and the lowest of the last few samples."""

    cdef void add(self, uint32_t delay, double now) noexcept:
        if self.base_count == 0:
            self.base[0] = delay
            self.base_count = 1
            self.lowest = delay
            self.minute_ends = now + 60
        elif now >= self.minute_ends:
            self.minute_ends = now + 60
            self.base_at = (self.base_at + 1) % BASE_HISTORY
            self.base[self.base_at] = delay
            self.base_count = min(self.base_count + 1, BASE_HISTORY)
            self.find_lowest()
        elif earlier(delay, self.base[self.base_at]):
            self.base[self.base_at] = delay
            if earlier(delay, self.lowest):
                self.lowest = delay
        self.recent[self.recent_at] = delay
        self.recent_at = (self.recent_at + 1) % CURRENT_FILTER
        self.recent_count = min(self.recent_count + 1, CURRENT_FILTER)

    cdef void find_lowest(self) noexcept:
        cdef int index
        self.lowest = self.base[0]
        for index in range(1, self.base_count):
            if earlier(self.base[index], self.lowest):
                self.lowest = self.base[index]

    cdef uint32_t queueing(self) noexcept:
        """Return the queueing delay in microseconds: the filtered current delay above the base delay."""
        cdef int index
        cdef uint32_t above
        cdef uint32_t least = 0xffffffff
        for index in range(self.recent_count):
            # `lowest` is the least of all samples of the last minutes, so no difference is negative.
            above = self.recent[index] - self.lowest
            least = min(least, above)
        return 0 if self.recent_count == 0 else least


cdef class CongestionController:
    """A window in bytes and what changes it. The connection calls; subclasses decide. Times are seconds."""

    def __cinit__(self, Py_ssize_t segment, *args):
        self.segment = segment
        self.window = INITIAL_WINDOW_SEGMENTS * segment
        self.slow_start_threshold = INFINITY
        self.queueing_delay = -1

    cdef void on_delay(self, uint32_t delay, double rtt, double now) noexcept:
        """Take a one-way delay sample in microseconds, of a packet whose round trip took `rtt` (or 0)."""

    cdef void on_ack(self, Py_ssize_t acked, double rtt, bint window_was_full, double now) noexcept:
        """Take note that `acked` bytes have arrived; `rtt` is the smoothed round trip, or 0."""

    cdef void on_loss(self, double now) noexcept:
        """Take note of loss; called once for all that is lost in a round trip."""

    cdef void on_timeout(self, double now) noexcept:
        """Take note that nothing was acknowledged for a whole retransmission timeout."""


cdef class Ledbat(CongestionController):
    """LEDBAT: yields to whatever else fills the bottleneck's queue (RFC 6817), with a slow start.

    It shrinks faster than RFC 6817 asks: by what stands in the queue above the target, a share of it in each
    round trip, where the gain of the RFC would take seconds to drain what slow start or a slower link has
    left there.
    """

    def __cinit__(self, Py_ssize_t segment, double target):
        self.history = DelayHistory()
        self.target = target

    cdef void on_delay(self, uint32_t delay, double rtt, double now) noexcept:
        self.history.add(delay, now)
        self.queueing_delay = self.history.queueing() * 1e-6
        if 0 < rtt < self.queueing_delay:
            # No packet queues for longer than its round trip; more than that is a clock that jumped.
            self.queueing_delay = rtt

    cdef void on_ack(self, Py_ssize_t acked, double rtt, bint window_was_full, double now) noexcept:
        cdef double above = self.queueing_delay - self.target
        if self.window < self.slow_start_threshold:
            if self.queueing_delay > SLOW_START_EXIT * self.target:
                # The queue is well on its way to the target: from here on grow by LEDBAT's own rule.
                self.slow_start_threshold = self.window
            elif window_was_full:
                self.window += acked
                return
        if above > 0:
            if rtt > 0:
                self.window -= acked * min(SHRINK_GAIN * above / rtt, MAX_SHRINK)
        elif window_was_full:
            # A window that the program does not fill says nothing about the path (RFC 6817,
            # ALLOWED_INCREASE).
            self.window += min(-above / self.target, <double> 1) * MAX_INCREASE_PER_RTT * acked / self.window
        self.window = max(self.window, <double> (MIN_WINDOW_SEGMENTS * self.segment))

    cdef void on_loss(self, double now) noexcept:
        self.window = max(self.window / 2, <double> (MIN_WINDOW_SEGMENTS * self.segment))
        self.slow_start_threshold = self.window

    cdef void on_timeout(self, double now) noexcept:
        self.slow_start_threshold = max(self.window / 2, <double> (MIN_WINDOW_SEGMENTS * self.segment))
        self.window = MIN_WINDOW_SEGMENTS * self.segment
