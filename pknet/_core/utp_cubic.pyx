"""CUBIC (RFC 9438), as most TCP has it, with HyStart++ (RFC 9406): grows until something is lost.

It takes its share beside TCP, and fills the queue as TCP does.
"""

from libc.math cimport INFINITY, cbrt

from pknet._core.utp_congestion cimport CSS_GROWTH_DIVISOR

cdef enum:
    # RFC 9406 section 4.3: N_RTT_SAMPLE, CSS_ROUNDS.
    SAMPLES = 8
    CAREFUL_ROUNDS = 5

# RFC 9438 section 4.1, 4.6: how fast the window grows, in segments a second cubed, and what a loss leaves of
# it.
cdef double SCALE = 0.4
cdef double LEFT = 0.7
# Section 4.3: what Reno would have to grow by, with such small losses, to have the share it has.
cdef double RENO_GROWTH = 3 * (1 - LEFT) / (1 + LEFT)
# Section 4.2: the most that a window grows in a round trip.
cdef double MOST_GROWTH = 1.5


cdef class Cubic(WindowController):
    """CUBIC. Its windows are in bytes, where the RFC has segments."""

    def __cinit__(self, *args):
        self.epoch = self.careful_rounds = -1
        self.round_least = self.previous_least = INFINITY

    cdef void on_ack(self, const AckSample* sample) noexcept:
        if sample.smoothed_rtt > 0:
            self.queueing_delay = sample.smoothed_rtt - sample.least_rtt
        if self.in_slow_start():
            self.search(sample)
        elif not sample.may_grow:
            # Time in which the program had nothing to send does not count (section 5.8).
            self.epoch += sample.now - self.last_ack if self.epoch >= 0 else 0
        else:
            self.grow(sample)
        self.last_ack = sample.now

    cdef void search(self, const AckSample* sample) noexcept:
        """Slow start that ends when round trips grow longer (RFC 9406 section 4.2)."""
        cdef double gain = 1
        if sample.new_round:
            if self.careful_rounds >= 0:
                self.careful_rounds += 1
            self.previous_least = self.round_least
            self.round_least = INFINITY
            self.round_samples = 0
        if sample.rtt >= 0:
            self.round_samples += 1
            self.round_least = min(self.round_least, sample.rtt)
        if self.round_samples >= SAMPLES and self.previous_least < INFINITY:
            if self.careful_rounds >= 0:
                if self.round_least < self.careful_since:
                    self.careful_rounds = -1
            elif self.round_least >= self.previous_least + self.growth_that_ends_slow_start(
                self.previous_least
            ):
                self.careful_rounds = 0
                self.careful_since = self.round_least
        if self.careful_rounds >= CAREFUL_ROUNDS:
            self.slow_start_threshold = self.window
            return
        if self.careful_rounds >= 0:
            gain /= CSS_GROWTH_DIVISOR
        if sample.may_grow:
            self.window = min(self.window + gain * sample.acked, self.slow_start_threshold)

    cdef void grow(self, const AckSample* sample) noexcept:
        """Grow along the cubic curve, or as Reno where that is faster (RFC 9438 section 4.2, 4.3)."""
        cdef double window = self.window
        cdef double share = sample.acked / window
        cdef double now_at, later
        if self.epoch < 0:
            self.epoch = sample.now
            self.reno = window
            self.most = max(self.most, window)
            self.scale = SCALE * self.segment
            self.until_most = cbrt((self.most - window) / self.scale)
        self.reno += (RENO_GROWTH if self.reno < self.most else 1) * self.segment * share
        now_at = sample.now - self.epoch - self.until_most
        later = now_at + sample.smoothed_rtt
        if self.scale * now_at * now_at * now_at + self.most < self.reno:
            self.window = max(window, self.reno)
        else:
            later = self.scale * later * later * later + self.most
            self.window += (min(max(later, window), MOST_GROWTH * window) - window) * share

    cdef void on_loss(self, double now) noexcept:
        self.remember_window()
        self.window = self.slow_start_threshold = max(self.window * LEFT, self.least_window())

    cdef void on_timeout(self, double now) noexcept:
        self.remember_window()
        self.slow_start_threshold = max(self.window * LEFT, self.least_window())
        self.window = self.least_window()

    cdef void remember_window(self) noexcept:
        """Note where loss began; below where it began before, make room for others (section 4.7)."""
        self.most = self.window * (1 + LEFT) / 2 if self.window < self.most else self.window
        self.epoch = -1
