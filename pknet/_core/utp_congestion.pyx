"""How much may be in flight: what the controllers have in common, and what they measure.

Delays are microseconds on a circle of 2**32: the two clocks have nothing in common, so only differences mean
anything, and every comparison is by signed difference.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t

cdef enum:
    # RFC 6928: what a fresh connection may send before it has heard anything.
    INITIAL_WINDOW_SEGMENTS = 10

# How many times its window a connection may send in a round trip, as Linux has it for TCP: while the window
# doubles in each of them, and else.
cdef double SLOW_START_PACING_GAIN = 2.0
cdef double PACING_GAIN = 1.25

# RFC 9406 section 4.3: MIN_RTT_DIVISOR as a factor, MIN_RTT_THRESH, MAX_RTT_THRESH.
cdef double LONGER_BY = 0.125
cdef double LEAST_LONGER = 0.004
cdef double MOST_LONGER = 0.016


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


cdef class MaxFilter:
    """The largest value of the last `span` units of time, in constant space.

    Three candidates stand for all values, each the largest of those after the one before it (the algorithm is
    Kathleen Nichols's, as Linux has it in win_minmax).
    """

    def __cinit__(self, double span):
        self.span = span

    cdef void add(self, double value, double time) noexcept:
        cdef int index
        if value >= self.best[0] or time - self.at[2] > self.span:
            for index in range(3):
                self.best[index] = value
                self.at[index] = time
            return
        if value >= self.best[1]:
            self.best[1] = self.best[2] = value
            self.at[1] = self.at[2] = time
        elif value >= self.best[2]:
            self.best[2] = value
            self.at[2] = time
        if time - self.at[0] > self.span:
            # The best one is too old: the others move up, and maybe twice.
            self.best[0], self.at[0] = self.best[1], self.at[1]
            self.best[1], self.at[1] = self.best[2], self.at[2]
            self.best[2] = value
            self.at[2] = time
            if time - self.at[0] > self.span:
                self.best[0], self.at[0] = self.best[1], self.at[1]
                self.best[1] = value
                self.at[1] = time
        elif self.at[1] == self.at[0] and time - self.at[1] > self.span / 4:
            # A quarter has passed without a second best: take it from the second quarter.
            self.best[1] = self.best[2] = value
            self.at[1] = self.at[2] = time
        elif self.at[2] == self.at[1] and time - self.at[2] > self.span / 2:
            self.best[2] = value
            self.at[2] = time

    cdef double max(self) noexcept:
        """Return the largest value, 0 if there is none."""
        return self.best[0]


cdef class CongestionController:
    """A window and a pace, and what changes them. The sender calls; subclasses decide."""

    def __cinit__(self, Py_ssize_t segment, *args):
        self.segment = segment
        self.window = INITIAL_WINDOW_SEGMENTS * segment
        self.queueing_delay = -1

    cdef void resize(self, Py_ssize_t segment) noexcept:
        """Go on with packets of another size; as many bytes may be in flight as before."""
        self.segment = segment

    cdef void take_over(self, CongestionController before) noexcept:
        """Go on over the same path where another one was."""
        self.window = min(before.window, before.full_window())
        self.queueing_delay = before.queueing_delay

    cdef double full_window(self) noexcept:
        """Return what has to be in flight for the path to be full, infinite while that isn't known."""
        return INFINITY

    cdef double pacing_rate(self, double rtt) noexcept:
        """Return how many bytes a second may leave, where a round trip takes `rtt` seconds."""
        return (SLOW_START_PACING_GAIN if self.in_slow_start() else PACING_GAIN) * self.window / rtt

    cdef bint in_slow_start(self) noexcept:
        """Return whether the window doubles in each round trip."""
        return False

    cdef void on_ack(self, const AckSample* sample) noexcept:
        """Take note of what has arrived."""

    cdef void on_loss(self, double now) noexcept:
        """Take note of loss; called once for all that is lost in a round trip, before `on_ack`."""

    cdef void on_timeout(self, double now) noexcept:
        """Take note that nothing was acknowledged for a whole retransmission timeout."""

    cdef double least_window(self) noexcept:
        return MIN_WINDOW_SEGMENTS * self.segment


cdef class WindowController(CongestionController):
    """A controller that grows its window fast below a threshold and with care above it."""

    def __cinit__(self, Py_ssize_t segment, *args):
        self.slow_start_threshold = INFINITY

    cdef void take_over(self, CongestionController before) noexcept:
        CongestionController.take_over(self, before)
        self.slow_start_threshold = before.full_window()

    cdef double full_window(self) noexcept:
        return max(self.window, self.slow_start_threshold)

    cdef bint in_slow_start(self) noexcept:
        return self.window < self.slow_start_threshold

    cdef double growth_that_ends_slow_start(self, double rtt) noexcept:
        """Return by how many seconds a round trip grows on a path that is full (HyStart++, RFC 9406)."""
        return min(max(rtt * LONGER_BY, LEAST_LONGER), MOST_LONGER)

    cdef void on_timeout(self, double now) noexcept:
        # RFC 5681 section 3.1, equation 4 and what follows.
        self.slow_start_threshold = max(self.window / 2, self.least_window())
        self.window = self.least_window()
