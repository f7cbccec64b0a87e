"""Controllers that keep the bottleneck's queue short, and yield to whatever else fills it: LEDBAT (RFC 6817),
as BEP 29 asks, and LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus).

Both measure the delay of the one way that payload takes. Where the two clocks drift apart that delay seems to
grow; a round trip is measured by one clock, so what it has grown by bounds what can be queueing.
"""

from libc.math cimport INFINITY, ceil
from libc.stdint cimport uint32_t

from pknet._core.utp_congestion cimport CSS_GROWTH_DIVISOR

cdef enum:
    # The gain of libutp and libtorrent: so many bytes a window grows in a round trip at most.
    INCREASE_OF_PEERS = 3000
    # Rounds for which the best delivery rate is remembered.
    RATE_ROUNDS = 8
    # Rounds after slow start for which the window follows that rate, which is known better with each.
    SETTLING_ROUNDS = 4
    # LEDBAT++, section 4.2: the largest divisor of its gain.
    LARGEST_DIVISOR = 16
    # Section 4.4: a slow-down lasts so many round trips, and takes at most one in so many parts of the time.
    SLOW_DOWN_ROUNDS = 2
    SLOW_DOWN_SHARE = 9

# A queue of this share of the target ends slow start at once (LEDBAT++ section 4.3); a shorter one, that
# lasts for a round trip, too.
cdef double SLOW_START_EXIT = 0.75
# The queue that is aimed for when slow start has found the rate of the path, as a share of the target.
cdef double FIRST_QUEUE = 0.5
# Share of what queues above the target that is given up in a round trip, and the most of the window that ever
# is.
cdef double SHRINK_GAIN = 0.5
cdef double MAX_SHRINK = 0.5
# What is left of a window after a loss: where there is a queue (RFC 6817 section 2.4.2), and where there is
# none, so that less has to be given up for it to drain (the reasoning and the number of RFC 8511).
cdef double LEFT_WITH_QUEUE = 0.5
cdef double LEFT_WITHOUT_QUEUE = 0.8
# What counts as no queue, as a share of the target.
cdef double NO_QUEUE = 0.125


cdef class DelayController(WindowController):
    """What both have: the measure of the queue, and a slow start that knows when to stop."""

    def __cinit__(self, Py_ssize_t segment, double target, *args):
        self.history = DelayHistory()
        self.target = target
        self.rates = MaxFilter(RATE_ROUNDS)
        self.least_rtt = INFINITY
        self.queue_since = -1

    cdef void measure(self, const AckSample* sample) noexcept:
        cdef double rtt = sample.rtt if sample.rtt >= 0 else sample.smoothed_rtt
        cdef double grown_by = max(rtt - sample.least_rtt, <double> 0)
        self.least_rtt = sample.least_rtt
        if sample.new_round:
            self.rounds += 1
        if sample.rate > 0 and not (sample.rate_is_low or sample.rate_may_be_high):
            self.rates.add(sample.rate, self.rounds)
        if sample.has_delay:
            if self.history.base_count == 0 and self.queueing_delay > 0:
                # What the controller before this one has queued is no part of the path.
                self.history.add(sample.delay - <uint32_t> (grown_by * 1e6), sample.now)
            self.history.add(sample.delay, sample.now)
            self.queueing_delay = self.history.queueing() * 1e-6
            if rtt > 0:
                # More than that is a clock that drifts or jumped.
                self.queueing_delay = min(self.queueing_delay, grown_by)

    cdef void grow_in_slow_start(self, const AckSample* sample, double gain) noexcept:
        """Grow by what has arrived, unless a queue says that the path is full."""
        if self.queueing_delay > SLOW_START_EXIT * self.target:
            self.leave_slow_start(FIRST_QUEUE * self.target)
        elif self.queueing_delay > self.growth_that_ends_slow_start(self.least_rtt):
            if self.queue_since < 0:
                self.queue_since = self.rounds
            elif self.rounds > self.queue_since + 1:
                self.leave_slow_start(FIRST_QUEUE * self.target)
                return
            gain /= CSS_GROWTH_DIVISOR
        else:
            self.queue_since = -1
        if sample.may_grow and self.in_slow_start():
            self.window = min(self.window + gain * sample.acked, self.slow_start_threshold)

    cdef void leave_slow_start(self, double queue) noexcept:
        """Set the window to what the path has been seen to carry, and to a queue of so many seconds."""
        self.first_queue = queue
        self.settles_until = self.rounds + SETTLING_ROUNDS
        self.slow_start_threshold = self.settles_below = self.window
        self.settle()

    cdef bint settle(self) noexcept:
        """Follow the rate for a while after slow start; return whether that is so.

        What the delays say then is of the overshoot, and the last of it is gone after two round trips.
        """
        if self.rounds >= self.settles_until or self.rates.max() == 0:
            return False
        self.window = min(self.settles_below, self.rates.max() * (self.least_rtt + self.first_queue))
        self.window = self.slow_start_threshold = max(self.window, self.least_window())
        return True

    cdef void on_loss(self, double now) noexcept:
        if self.in_slow_start() and self.slow_start_threshold == INFINITY and self.rates.max() > 0:
            # The buffer is shorter than the target, and overflowed before the queue said anything.
            self.leave_slow_start(0)
            return
        self.settles_until = self.rounds
        if self.queueing_delay > NO_QUEUE * self.target:
            self.window *= LEFT_WITH_QUEUE
        else:
            self.window *= LEFT_WITHOUT_QUEUE
        self.window = self.slow_start_threshold = max(self.window, self.least_window())


cdef class Ledbat(DelayController):
    """LEDBAT (RFC 6817), with a slow start.

    It shrinks faster than RFC 6817 asks: by what stands in the queue above the target, a share of it in each
    round trip, where the gain of the RFC would take seconds to drain what slow start or a slower link has
    left there.
    """

    def __cinit__(self, Py_ssize_t segment, double target, double gain):
        """`gain`: segments that a window grows by in a round trip (RFC 6817, GAIN); 0 for that of libutp."""
        self.largest_gain = gain
        self.resize(segment)

    cdef void resize(self, Py_ssize_t segment) noexcept:
        self.segment = segment
        self.increase = self.largest_gain * segment if self.largest_gain else INCREASE_OF_PEERS

    cdef void on_ack(self, const AckSample* sample) noexcept:
        self.measure(sample)
        if self.settle():
            return
        if self.in_slow_start():
            self.grow_in_slow_start(sample, 1)
        else:
            self.steer(sample)

    cdef void steer(self, const AckSample* sample) noexcept:
        """Bring the queue nearer to the target."""
        cdef double above = self.queueing_delay - self.target
        if above > 0:
            if sample.smoothed_rtt > 0:
                self.window -= sample.acked * min(SHRINK_GAIN * above / sample.smoothed_rtt, MAX_SHRINK)
        elif sample.may_grow:
            # A window that the program does not fill says nothing about the path (RFC 6817,
            # ALLOWED_INCREASE).
            self.window += min(-above / self.target, <double> 1) * self.increase * sample.acked / self.window
        self.window = max(self.window, self.least_window())


cdef class LedbatPlusPlus(DelayController):
    """LEDBAT++: it gives the queue time to drain, so that a late-comer sees the path as it is.

    Its sections are those of draft-irtf-iccrg-ledbat-plus-plus-01, which has round trips where this has
    one-way delays.
    """

    def __cinit__(self, Py_ssize_t segment, double target):
        self.slow_down_at = self.slow_down_until = INFINITY

    cdef void on_ack(self, const AckSample* sample) noexcept:
        self.measure(sample)
        self.pace_slow_downs(sample)
        if self.slow_down_until < INFINITY or self.settle():
            return
        if not self.in_slow_start():
            self.steer(sample)
        elif self.returning:
            # Up to the threshold, which was right before the slow-down.
            if sample.may_grow:
                self.window = min(self.window + sample.acked, self.slow_start_threshold)
        else:
            self.grow_in_slow_start(sample, self.gain() if self.slow_start_threshold < INFINITY else 1)

    cdef double gain(self) noexcept:
        """Return how fast it grows, where 1 is as others do (section 4.2): on short round trips slowly."""
        if self.least_rtt == INFINITY:
            # While no round trip is known, it may be a short one.
            return <double> 1 / LARGEST_DIVISOR
        return 1 / min(<double> LARGEST_DIVISOR, ceil(2 * self.target / max(self.least_rtt, <double> 1e-6)))

    cdef void steer(self, const AckSample* sample) noexcept:
        """Additive increase, multiplicative decrease (section 4.2)."""
        cdef double share = sample.acked / self.window
        cdef double change = self.gain() * self.segment * share
        if self.queueing_delay > self.target:
            change -= self.window * (self.queueing_delay / self.target - 1) * share
            change = max(change, -self.window * MAX_SHRINK * share)
        elif not sample.may_grow:
            return
        self.window = max(self.window + change, self.least_window())

    cdef void pace_slow_downs(self, const AckSample* sample) noexcept:
        """Hold the window at its least for two round trips now and then (section 4.4)."""
        cdef double rtt = sample.smoothed_rtt
        if self.slow_down_until < INFINITY:
            if sample.now >= self.slow_down_until:
                self.slow_down_until = INFINITY
                self.returning = True
            return
        if self.returning and not self.in_slow_start():
            self.returning = False
            self.slow_down_at = sample.now + SLOW_DOWN_SHARE * (sample.now - self.slow_down_began)
        elif self.slow_down_at == INFINITY and not self.in_slow_start() and not self.returning:
            # The first one, after slow start.
            self.slow_down_at = sample.now + SLOW_DOWN_ROUNDS * rtt
        if sample.now >= self.slow_down_at:
            self.slow_down_began = sample.now
            self.slow_down_until = sample.now + SLOW_DOWN_ROUNDS * rtt
            self.slow_down_at = INFINITY
            self.slow_start_threshold = self.window
            self.window = self.least_window()

    cdef void on_loss(self, double now) noexcept:
        if self.slow_down_until == INFINITY:
            DelayController.on_loss(self, now)
