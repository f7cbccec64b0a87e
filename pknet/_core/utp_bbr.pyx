"""A controller that models the path, after BBR (draft-cardwell-iccrg-bbr-congestion-control-00): the rate at
which it delivers, and the round trip when nothing queues.

It sends at that rate, and keeps at most twice in flight what a round trip holds. Loss says nothing to it
unless much of a round is lost, so it is fast where losses are of the line; and it does not yield to others as
LEDBAT does.
"""

from libc.math cimport INFINITY

cdef enum:
    # Rounds for which the best rate is remembered; rounds without growth after which the path is full.
    RATE_ROUNDS = 10
    FULL_ROUNDS = 3
    PHASES = 8
    # Rounds for which a queue is drained, if it takes so long: others may fill it as fast.
    DRAIN_ROUNDS = 4
    LEAST_SEGMENTS = 4
    # Segments beyond the model, for acknowledgements that come in bunches.
    SLACK_SEGMENTS = 48

# 2/ln(2): the least that doubles the rate in each round.
cdef double HIGH_GAIN = 2.885
cdef double WINDOW_GAIN = 2.0
# In the first phase of a cycle it asks for more, in the second it drains what that has queued.
cdef double PROBE_GAIN = 1.25
cdef double DRAIN_GAIN = 0.75
# The rate has to grow by this factor, or it is taken for all there is.
cdef double FULL_GROWTH = 1.25
# Only a queue that overflows loses so much of a round. (A timeout is none: it may be an outage, and if it is
# not, the window grows back so slowly that FULL_ROUNDS pass first.)
cdef double FULL_LOSS = 0.2
# How long the shortest round trip is believed, and how long the window is held down to see it again.
cdef double RTT_BELIEVED_FOR = 10.0
cdef double RTT_PROBE_TIME = 0.2
cdef double PROBE_RTT_GAIN = 0.5


cdef class Bbr(CongestionController):
    """A model of the path, and the phases by which it is kept up to date."""

    def __cinit__(self, *args):
        self.rates = MaxFilter(RATE_ROUNDS)
        self.least_rtt = INFINITY
        self.mode = STARTUP
        self.pacing_gain = self.window_gain = HIGH_GAIN

    cdef void take_over(self, CongestionController before) noexcept:
        CongestionController.take_over(self, before)
        self.is_full = before.full_window() < INFINITY

    cdef double full_window(self) noexcept:
        return max(self.on_the_way(1), self.least_window()) if self.is_full else INFINITY

    cdef double pacing_rate(self, double rtt) noexcept:
        if self.rates.max() > 0:
            return self.pacing_gain * self.rates.max()
        return self.pacing_gain * self.window / rtt

    cdef bint in_slow_start(self) noexcept:
        return self.mode == STARTUP

    cdef void on_ack(self, const AckSample* sample) noexcept:
        self.measure(sample)
        self.note_full_path(sample)
        self.change_mode(sample)
        self.set_window(sample)
        self.was_empty = sample.in_flight == 0

    cdef void measure(self, const AckSample* sample) noexcept:
        cdef double rate = sample.rate
        if sample.new_round:
            self.rounds += 1
        if sample.rate_may_be_high:
            rate = min(rate, self.rates.max())
        if rate > 0 and (not sample.rate_is_low or rate > self.rates.max()):
            self.rates.add(rate, self.rounds)
        if self.is_full and self.least_rtt == INFINITY:
            # By another controller's word, or all that came had been sent twice and gave no samples.
            self.least_rtt = sample.least_rtt
            self.least_rtt_at = sample.now
        if sample.rtt >= 0 and (
            sample.rtt <= self.least_rtt or self.was_empty and self.is_doubtful(sample.now)
        ):
            # A path that was empty shows it too (section 4.3.4.4).
            self.least_rtt = sample.rtt
            self.least_rtt_at = sample.now
        if sample.smoothed_rtt > 0 and self.least_rtt < INFINITY:
            self.queueing_delay = max(sample.smoothed_rtt - self.least_rtt, <double> 0)

    cdef void note_full_path(self, const AckSample* sample) noexcept:
        """Find out whether more in flight still brings a higher rate."""
        self.round_acked += sample.acked
        self.round_lost += sample.lost
        if not sample.new_round:
            return
        if not self.is_full:
            if self.round_lost > FULL_LOSS * (self.round_acked + self.round_lost):
                self.is_full = True
            elif self.rates.max() >= FULL_GROWTH * self.full_rate:
                self.full_rate = self.rates.max()
                self.full_rounds = 0
            elif not sample.rate_is_low:
                self.full_rounds += 1
                self.is_full = self.full_rounds >= FULL_ROUNDS
        self.round_acked = self.round_lost = 0

    cdef void change_mode(self, const AckSample* sample) noexcept:
        cdef double now = sample.now
        if self.mode == STARTUP and self.is_full:
            self.mode = DRAIN
            self.pacing_gain = 1 / HIGH_GAIN
        if self.mode == DRAIN and sample.in_flight <= self.on_the_way(1):
            self.enter_probe_rate(now)
        if self.mode == PROBE_RATE:
            if self.phase_is_over(sample):
                self.phase = (self.phase + 1) % PHASES
                self.phase_began = now
                self.pacing_gain = PROBE_GAIN if self.phase == 0 else DRAIN_GAIN if self.phase == 1 else 1
        if self.mode != PROBE_RTT and self.is_doubtful(now):
            self.mode = PROBE_RTT
            self.pacing_gain = 1
            self.probe_until = INFINITY
            self.window_before = self.window
        if self.mode == PROBE_RTT:
            if self.probe_until == INFINITY and sample.in_flight <= self.probe_window():
                self.probe_until = now + max(RTT_PROBE_TIME, sample.smoothed_rtt)
                self.least_rtt = sample.rtt if sample.rtt >= 0 else sample.smoothed_rtt
            elif now >= self.probe_until:
                self.least_rtt_at = now
                self.window = max(self.window, self.window_before)
                if self.is_full:
                    self.enter_probe_rate(now)
                else:
                    self.mode = STARTUP
                    self.pacing_gain = self.window_gain = HIGH_GAIN

    cdef bint is_doubtful(self, double now) noexcept:
        """Return whether the round trip without a queue was seen too long ago."""
        return self.least_rtt < INFINITY and now > self.least_rtt_at + RTT_BELIEVED_FOR

    cdef bint phase_is_over(self, const AckSample* sample) noexcept:
        cdef double lasted = sample.now - self.phase_began
        if self.phase == 0:
            # It takes a whole flight to ask for more.
            return lasted > self.least_rtt and (
                sample.lost or sample.in_flight >= self.on_the_way(PROBE_GAIN)
            )
        if self.phase == 1:
            # One round drains what was asked for, but not what a rate that was measured too high has queued.
            return sample.in_flight <= self.on_the_way(1) or lasted > DRAIN_ROUNDS * self.least_rtt
        return lasted > self.least_rtt

    cdef void enter_probe_rate(self, double now) noexcept:
        self.mode = PROBE_RATE
        self.window_gain = WINDOW_GAIN
        self.pacing_gain = 1
        # Not with the phase that drains; which of the others matters little.
        self.phase = 2
        self.phase_began = now

    cdef void set_window(self, const AckSample* sample) noexcept:
        cdef double target = self.on_the_way(self.window_gain) + SLACK_SEGMENTS * self.segment
        if self.is_full:
            self.window = min(self.window + sample.acked, target)
        elif self.window < target or self.rates.max() == 0:
            self.window += sample.acked
        if self.mode == PROBE_RTT:
            self.window = min(self.window, self.probe_window())
        self.window = max(self.window, self.least_window())

    cdef double probe_window(self) noexcept:
        """Return what may be in flight for a queue to drain: half of what a round trip holds, as in BBRv2."""
        cdef double half = self.on_the_way(PROBE_RTT_GAIN)
        return self.least_window() if half == INFINITY else max(half, self.least_window())

    cdef double on_the_way(self, double gain) noexcept:
        """Return so many times what a round trip holds, infinite while that isn't known."""
        if self.rates.max() == 0 or self.least_rtt == INFINITY:
            return INFINITY
        return gain * self.rates.max() * self.least_rtt

    cdef void on_timeout(self, double now) noexcept:
        # What comes back after that makes it grow to what the model says.
        self.window = self.window_before = self.least_window()

    cdef double least_window(self) noexcept:
        return LEAST_SEGMENTS * self.segment
