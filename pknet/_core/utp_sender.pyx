"""When a connection may send, and what: within the peer's window, the congestion window and the pace of the
path.

Loss is found as in RFC 6675 and RFC 8985 (RACK-TLP), over packets rather than bytes, for uTP numbers packets.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t

from pknet._core.utp_congestion cimport AckSample
from pknet._core.utp_controllers cimport make_controller
from pknet._core.utp_log cimport BY_REORDERING, BY_TAIL_PROBE, BY_TIMEOUT, BY_WINDOW
from pknet._core.utp_packet cimport HEADER_SIZE, ST_STATE, seq_before
from pknet._core.utp_path_mtu cimport PathMtu
from pknet._core.utp_send_buffer cimport DUPLICATE_THRESHOLD
from pknet._core.utp_timers cimport GIVE_UP, PACE, PROBE, REORDERING, RETRANSMIT, TAIL

cdef enum:
    # Datagrams in one run: below the 64 KiB that one send call takes, whatever the headers.
    MAX_RUN = 44
    MAX_RUN_BYTES = 62000
    # Receivers keep only so many early packets: libutp 1023, libtorrent one for each 1100 bytes of its
    # window. Far enough below half of the 16-bit sequence numbers that they can't wrap onto themselves.
    WINDOW_PER_PACKET = 1100
    MIN_OUTSTANDING = 512
    MAX_OUTSTANDING = 24000
    # RFC 5681 section 3.2, for peers that send no selective ACK.
    DUPLICATE_ACKS = 3
    # RFC 8985 section 6.2, step 4: recoveries without a packet sent again in vain.
    REORDERING_PERSISTS = 16
    # Values of timestamp_difference that mean "no sample"; the second one is an old client's.
    NO_SAMPLE = 0
    NO_SAMPLE_EITHER = 0x7fffffff
    # Microseconds by which one packet may be overtaken by another.
    MAX_OVERTAKEN = 60000000

# How much longer than a round trip an acknowledgement may take because the peer waits for more to
# acknowledge.
cdef double DELAYED_ACK = 0.04
# Share of peer_timeout after which a shut window is probed at the latest, so that a peer that answers is
# heard in time.
cdef double PROBES_PER_PEER_TIMEOUT = 4


cdef class Sender:
    """The sending half of a connection."""

    def __cinit__(self, UtpConfig config not None, TimerTable timers not None, PathMtu path not None):
        self.config = config
        self.timers = timers
        self.buffer = SendBuffer(path)
        self.congestion_name = config.congestion_control
        self.window_shut_at = -INFINITY
        self.patient = True
        self.take_path(path)

    cdef bint start(self, uint16_t seq_nr, uint32_t peer_window) except False:
        """Set the first sequence number to use and the peer's window."""
        self.buffer.start(seq_nr)
        self.peer_window = self.peer_window_most = peer_window
        return True

    cdef bint take_path(self, PathMtu path) except False:
        """Forget what is known of the path (RFC 9000 section 9.4) and send again what may be lost on it."""
        self.path = path
        self.segment = path.size - HEADER_SIZE
        self.use_fresh_controller()
        self.rtt = RttEstimator(self.config.initial_timeout, self.config.min_timeout, self.config.max_timeout)
        self.pacer = Pacer()
        self.resend_now = self.tail_probed = self.tail_due = False
        self.duplicate_acks = 0
        self.newest_rtt = self.delivery_rate = 0
        self.reordering_steps = 1
        self.reordering_persists = 0
        self.reacted_at = self.reordering_raised_at = -INFINITY
        self.timers.at[RETRANSMIT] = self.timers.at[REORDERING] = self.timers.at[TAIL] = INFINITY
        self.buffer.take_path(path)
        if self.buffer.outstanding():
            self.recovering = True
            self.recovery_end = self.buffer.next
        return True

    cdef bint use_fresh_controller(self) except False:
        """Begin as a connection does that has heard nothing of the path."""
        self.congestion = make_controller(
            self.congestion_name, self.path.size - HEADER_SIZE, self.config
        )
        self.buffer.newly_lost = 0
        return True

    cdef bint use_controller(self, name) except False:
        """Go on under another controller, with what is known of the path."""
        cdef CongestionController before = self.congestion
        if name != self.congestion_name:
            self.congestion = make_controller(name, self.segment, self.config)
            self.congestion.take_over(before)
            self.congestion_name = name
        return True

    cdef Py_ssize_t unacknowledged(self) noexcept:
        """Return how many bytes of the program's the peer has not acknowledged."""
        return self.buffer.pending.size + self.buffer.outstanding_bytes

    cdef Py_ssize_t limit(self) noexcept:
        """Return how much may be taken and not be acknowledged: enough that the window never runs dry."""
        return min(
            max(self.config.first_send_buffer, <Py_ssize_t> (2 * self.congestion.window)),
            self.config.max_send_buffer,
        )

    cdef Py_ssize_t room(self) noexcept:
        """Return how many bytes may be taken."""
        return max(self.limit() - self.unacknowledged(), <Py_ssize_t> 0)

    # What the peer says.

    cdef bint acknowledge(
        self, const PacketHeader* packet, bint is_complete, double round_trip, double now
    ) noexcept:
        """Take what a packet says of the peer; return whether more has arrived there than was known.

        `is_complete`: a peer that has early packets and sends masks would have sent one in it. `round_trip`:
        that of what it answers, by the delays of both ways, negative if that isn't known.
        """
        cdef SendBuffer buffer = self.buffer
        cdef Acknowledged result
        cdef AckSample sample
        buffer.acknowledge(
            packet.ack_nr, packet.selective_ack, packet.selective_ack_size,
            is_complete, self.rtt.least, now, &result
        )
        if packet.timestamp_difference == NO_SAMPLE_EITHER:
            round_trip = -1
        self.measure(&result, round_trip)
        if result.advanced:
            self.duplicate_acks = 0
            self.timers.at[RETRANSMIT] = self.timers.at[TAIL] = INFINITY
            if self.recovering and not seq_before(buffer.first, self.recovery_end):
                self.recovering = False
                if self.reordering_persists:
                    self.reordering_persists -= 1
                    if self.reordering_persists == 0:
                        self.reordering_steps = 1
        elif self.is_duplicate(packet):
            self.duplicate_acks += 1
            if self.duplicate_acks == DUPLICATE_ACKS and buffer.mark_lost(buffer.first, BY_REORDERING) and (
                buffer.newest_lost_at >= self.reacted_at
            ):
                self.react_to_loss(now)
        if self.tail_probed:
            self.answer_tail_probe(packet, result.advanced, now)
        if result.packets:
            self.timers.at[GIVE_UP] = INFINITY
            self.newest_rtt = max(round_trip, <double> 0)
            self.detect_loss(now)
            sample.now = now
            sample.acked = result.bytes
            sample.may_grow = self.window_was_full and buffer.newest_sent_at >= self.reacted_at
            sample.lost = buffer.newly_lost
            buffer.newly_lost = 0
            sample.in_flight = buffer.in_flight_bytes
            sample.rtt = result.rtt
            sample.smoothed_rtt = self.rtt.smoothed
            sample.least_rtt = self.rtt.least
            sample.delay = packet.timestamp_difference
            sample.has_delay = sample.delay != NO_SAMPLE and sample.delay != NO_SAMPLE_EITHER
            sample.rate = result.rate
            if result.rate > 0:
                self.delivery_rate = result.rate
            sample.rate_is_low = result.rate_is_low
            sample.rate_may_be_high = result.rate_may_be_high
            sample.new_round = result.delivered_before >= self.round_end
            if sample.new_round:
                self.round_end = buffer.delivered
            self.congestion.on_ack(&sample)
        if packet.ack_nr == <uint16_t> (buffer.first - 1) and (
            result.advanced or not self.is_overtaken(packet.timestamp)
        ):
            self.take_window(packet, now)
        if result.fin:
            self.fin_acknowledged = True
        return result.packets > 0

    cdef void measure(self, Acknowledged* result, double round_trip) noexcept:
        """Take the round-trip time of what was acknowledged.

        The delays name the packet that was answered, as timestamps do in TCP: so they are right where one was
        sent again (RFC 6298 section 3), and where the news of one waited for another to be sent again.
        """
        if result.packets and 0 < round_trip < self.rtt.max_timeout:
            if result.rtt > round_trip + self.rtt.min_timeout:
                result.rtt = -1
                self.rtt.sample(round_trip)
            elif result.rtt < 0 and self.rtt.backoff:
                self.rtt.sample(round_trip)
        if result.rtt >= 0:
            self.rtt.sample(result.rtt)

    cdef bint window_is_full(self) noexcept:
        """Return whether it is the congestion window that limits what is in flight.

        While packets wait for their time to leave, half a window counts, for it may just have grown to twice
        what it was.
        """
        cdef Py_ssize_t in_flight = self.buffer.in_flight_bytes
        return in_flight + self.segment > self.congestion.window or (
            self.paced and 2 * in_flight > self.congestion.window
        )

    cdef bint is_overtaken(self, uint32_t timestamp) noexcept:
        """Return whether a packet left the peer before the one that told of its window; 0 is no timestamp.

        One that seems to be older by far is by a clock that was set, or has come round.
        """
        return timestamp != 0 and self.window_told_at != 0 and (
            0 < <int32_t> (self.window_told_at - timestamp) < MAX_OVERTAKEN
        )

    cdef void take_window(self, const PacketHeader* packet, double now) noexcept:
        """Take the window of the newest acknowledgement."""
        self.window_told_at = packet.timestamp
        if packet.wnd_size == 0:
            if self.peer_window:
                self.peer_window_closures += 1
                self.window_shut_at = now
            if self.patient:
                # It answers, it only has no room: not the silence that ends a connection.
                self.timers.at[GIVE_UP] = INFINITY
        elif self.peer_window == 0:
            self.rtt.backoff = 0
            if self.buffer.outstanding():
                # What probed the shut window was thrown away; for what was sent before there was room.
                self.buffer.mark_lost_since(self.window_shut_at, BY_WINDOW)
                self.timers.at[RETRANSMIT] = INFINITY
        self.peer_window = packet.wnd_size
        self.peer_window_most = max(self.peer_window_most, packet.wnd_size)

    cdef bint is_duplicate(self, const PacketHeader* packet) noexcept:
        """Return whether this is a duplicate ACK (RFC 5681 section 2), from a peer without selective ACK."""
        return (
            packet.type == ST_STATE and packet.selective_ack == NULL and not self.buffer.masks_come
            and packet.ack_nr == <uint16_t> (self.buffer.first - 1) and packet.wnd_size == self.peer_window
            and self.buffer.outstanding() > 0
        )

    cdef void answer_tail_probe(self, const PacketHeader* packet, bint advanced, double now) noexcept:
        """Learn whether a tail probe made up for a loss, and react to that (RFC 8985 section 7.4.2)."""
        if seq_before(self.buffer.first, self.tail_end):
            return
        if not self.tail_resent:
            # There is only one copy.
            self.tail_probed = False
        elif self.buffer.first != self.tail_end:
            self.tail_probed = False
            self.react_to_loss(now)
        elif not advanced and packet.type == ST_STATE and packet.selective_ack == NULL:
            # Both copies have arrived.
            self.tail_probed = False

    # Loss.

    cdef void detect_loss(self, double now) noexcept:
        """Find what must be lost, given what has arrived (RFC 8985 section 6.2)."""
        cdef double next_time = INFINITY
        # Otherwise all that is outstanding was sent after all that has arrived.
        if self.buffer.sacked_count or self.recovering:
            if self.buffer.find_lost(self.reordering_time(now), now, &next_time) and (
                self.buffer.newest_lost_at >= self.reacted_at
            ):
                self.react_to_loss(now)
        self.timers.at[REORDERING] = next_time

    cdef double reordering_time(self, double now) noexcept:
        """Return how long a packet may be late and not be lost (RFC 8985 section 6.2, step 4).

        A quarter of a round trip, and one more for each round trip in which packets were sent again in vain,
        until that has not been so for some recoveries.
        """
        if self.buffer.resent_in_vain:
            self.buffer.resent_in_vain = False
            if now - self.reordering_raised_at > self.rtt.smoothed:
                self.reordering_raised_at = now
                self.reordering_steps += 1
                self.reordering_persists = REORDERING_PERSISTS
        return min(self.reordering_steps * self.rtt.least / 4, max(self.rtt.smoothed, self.rtt.least / 4))

    cdef void react_to_loss(self, double now) noexcept:
        """Yield, once for all that was sent before."""
        if not self.recovering:
            self.recovering = True
            self.recovery_end = self.buffer.next
        self.reacted_at = now
        self.buffer.newest_lost_at = -INFINITY
        # The first one goes whatever the window has shrunk to (RFC 6675 section 5, step 4.3).
        self.resend_now = True
        self.congestion.on_loss(now)

    cdef bint refuse(self, uint16_t seq_nr, Py_ssize_t max_datagram, double now) noexcept:
        """Take word that a packet was too long, and of what passes, 0 if it doesn't say; return whether it is
        believed.
        """
        cdef Py_ssize_t payload = self.buffer.refuse(seq_nr)
        if payload == 0:
            return False
        self.path.limit(max_datagram, HEADER_SIZE + payload, now)
        return True

    # Sending.

    cdef bint begin(self, double now) except False:
        """Get ready for calls of next_run."""
        if self.path.judge(now) and self.rtt.backoff == 0:
            # What is lost because it is too long says nothing of congestion, and there was nothing else yet,
            # nor a timeout.
            self.use_fresh_controller()
            self.tail_probed = False
        if self.path.size != HEADER_SIZE + self.segment:
            self.resize()
        self.paced = False
        self.resend_now = self.resend_now and self.buffer.lost_count > 0
        self.pacer.refill(self.pacing_rate(), self.segment, now)
        if self.buffer.in_flight_bytes == 0:
            self.pacer.forgive()
        return True

    cdef double pacing_rate(self) noexcept:
        """Return how many bytes a second may leave, 0 while that isn't known.

        After an outage only what is sent again may leave, and gives no round trips by which the smoothed one
        could become short again. The delays do: they are those of the copy that arrived.
        """
        cdef double rtt = self.rtt.smoothed
        if rtt == 0:
            return 0
        if 0 < self.newest_rtt < rtt / 2:
            rtt = max(self.newest_rtt, min(self.rtt.least, rtt))
        return self.congestion.pacing_rate(rtt)

    cdef void resize(self) noexcept:
        """Make new packets as long as the path carries them."""
        self.segment = self.path.size - HEADER_SIZE
        self.congestion.resize(self.segment)

    cdef bytes next_run(
        self, const HeaderFields* header, double now, Py_ssize_t* segment, bint* may_fragment
    ):
        """Return the next packets to send, back to back, or None if nothing may leave now.

        Lost packets go first, the FIN last. `segment` is set to the payload of each but the last of them,
        `may_fragment` to whether they leave without DF: what is sent again can't be cut anew, and may be too
        long.
        """
        cdef bytes run = None
        if self.buffer.lost_count:
            run = self.lost_run(header, now, segment)
            if run is not None:
                may_fragment[0] = True
                return run
        may_fragment[0] = self.path.is_at_floor()
        if self.tail_due:
            run = self.tail_run(header, now, segment, may_fragment)
        if run is None and self.buffer.pending.size:
            run = self.new_run(header, now, segment, may_fragment)
        if run is None and self.fin_wanted and not self.fin_sent and self.buffer.pending.size == 0:
            self.fin_sent = True
            segment[0] = 0
            run = self.buffer.fin(header, now)
        if run is None and not self.paced and not self.window_is_full():
            self.buffer.note_limited()
        # Not when acknowledgements are taken: the first of a bunch would deny growth to the others.
        self.window_was_full = self.window_is_full()
        return run

    cdef bytes lost_run(self, const HeaderFields* header, double now, Py_ssize_t* segment):
        """Return packets to send again, or None if none may leave."""
        cdef Py_ssize_t room = <Py_ssize_t> self.congestion.window - self.buffer.in_flight_bytes
        cdef Py_ssize_t most = MAX_RUN
        cdef Py_ssize_t count
        cdef bytes run
        if self.resend_now:
            self.resend_now = False
            most = 1
        elif self.buffer.in_flight_bytes > 0 and (room <= 0 or self.peer_window == 0):
            return None
        elif self.pacer.credit <= 0 and self.buffer.in_flight_bytes > 0:
            self.paced = True
            return None
        elif self.peer_window == 0:
            # Any one of them will show whether the window is still shut.
            most = 1
        run = self.buffer.lost_run(
            min(room, <Py_ssize_t> self.pacer.credit, <Py_ssize_t> (MAX_RUN_BYTES - MAX_RUN * HEADER_SIZE)),
            most, header, now, segment, &count
        )
        self.packets_retransmitted += count
        if self.buffer.packet(self.buffer.first).sent_at == now:
            # The oldest has left again: it is from now on that an acknowledgement can be overdue.
            self.timers.at[RETRANSMIT] = INFINITY
        self.pacer.credit -= len(run) - count * HEADER_SIZE
        return run

    cdef bytes new_run(
        self, const HeaderFields* header, double now, Py_ssize_t* segment, bint* may_fragment
    ):
        """Return packets with pending payload, or None if none may leave."""
        cdef SendBuffer buffer = self.buffer
        cdef Py_ssize_t pending = buffer.pending.size
        cdef Py_ssize_t outstanding = buffer.outstanding()
        # The peer has taken what came early out of its window.
        cdef Py_ssize_t room = min(
            <Py_ssize_t> self.congestion.window - buffer.in_flight_bytes,
            <Py_ssize_t> self.peer_window - (buffer.outstanding_bytes - buffer.sacked_bytes),
        )
        cdef Py_ssize_t most = min(
            max(min(<Py_ssize_t> MAX_RUN, MAX_RUN_BYTES // (HEADER_SIZE + self.segment)), <Py_ssize_t> 1),
            self.most_outstanding() - outstanding,
        )
        cdef Py_ssize_t last = 0
        cdef Py_ssize_t count, rest
        if self.probing:
            room = max(room, <Py_ssize_t> 1)
        if room <= 0 or most <= 0:
            return None
        # With nothing in flight, nothing would tell how fast the path has become.
        if self.pacer.credit <= 0 and buffer.in_flight_bytes > 0 and not self.probing:
            self.paced = True
            return None
        if self.path.size < self.path.ceiling and most > DUPLICATE_THRESHOLD:
            segment[0] = self.probe_payload(now)
            if segment[0]:
                self.path.probe = HEADER_SIZE + segment[0]
                self.bytes_sent += segment[0]
                self.pacer.credit -= segment[0]
                may_fragment[0] = False
                return buffer.probe(segment[0], header, now)
        count = min(room, pending, max(<Py_ssize_t> self.pacer.credit, self.segment)) // self.segment
        count = min(count, most)
        rest = pending - count * self.segment
        if 0 < rest < self.segment and count < most and rest <= room - count * self.segment:
            if not self.config.nagle or self.fin_wanted or count + outstanding == 0:
                last = rest
        elif count == 0 and outstanding == 0:
            # Less than a packet's room, and no acknowledgement will make it more: the sender's side of the
            # silly window (RFC 9293 section 3.8.6.2.1).
            if self.probing or room >= min(self.segment, <Py_ssize_t> self.peer_window_most // 2):
                last = min(room, self.segment, pending)
        if count == 0 and last == 0:
            return None
        self.probing = False
        self.bytes_sent += count * self.segment + last
        self.pacer.credit -= count * self.segment + last
        segment[0] = self.segment if count else last
        return buffer.new_run(count, self.segment, last, header, now)

    cdef bytes tail_run(
        self, const HeaderFields* header, double now, Py_ssize_t* segment, bint* may_fragment
    ):
        """Return the tail probe, though the congestion window may be full; None if the peer has no room."""
        segment[0] = self.tail_payload()
        self.tail_due = False
        if segment[0] == 0:
            return None
        may_fragment[0] = True
        self.bytes_sent += segment[0]
        self.pacer.credit -= segment[0]
        return self.buffer.new_run(0, self.segment, segment[0], header, now)

    cdef Py_ssize_t tail_payload(self) noexcept:
        """Return how much new payload a tail probe takes along; 0 if it has to be the last packet again.

        No more than every path carries: what is too long for it vanishes, and the probe has to tell.
        """
        cdef Py_ssize_t payload = min(self.buffer.pending.size, self.path.floor - HEADER_SIZE)
        cdef Py_ssize_t unseen = self.buffer.outstanding_bytes - self.buffer.sacked_bytes
        if <Py_ssize_t> self.peer_window - unseen < payload or (
            self.buffer.outstanding() >= self.most_outstanding()
        ):
            return 0
        return payload

    cdef Py_ssize_t probe_payload(self, double now) noexcept:
        """Return the payload of a packet that finds out whether the path carries more; 0 if none is to leave.

        So much has to follow it that its loss shows in a round trip (RFC 4821 section 7.4). For the packet
        itself the congestion window need not have room, since there is never more than one (RFC 8899 section
        3, item 7).
        """
        cdef Py_ssize_t payload, needed
        cdef Py_ssize_t unseen = self.buffer.outstanding_bytes - self.buffer.sacked_bytes
        if self.recovering or self.buffer.lost_count or self.probing:
            return 0
        payload = self.path.wanted_probe(now) - HEADER_SIZE
        needed = payload + DUPLICATE_THRESHOLD * self.segment
        if payload <= 0 or self.buffer.pending.size < needed or self.congestion.window < needed or (
            <Py_ssize_t> self.peer_window - unseen < payload
        ):
            return 0
        return payload

    cdef Py_ssize_t most_outstanding(self) noexcept:
        """Return how many packets the peer may be expected to keep while one before them is missing."""
        return max(
            min(<Py_ssize_t> self.peer_window_most // WINDOW_PER_PACKET, <Py_ssize_t> MAX_OUTSTANDING),
            <Py_ssize_t> MIN_OUTSTANDING,
        )

    # Timers.

    cdef void fire_timers(self, double now) noexcept:
        """Do what the timers that are due ask for."""
        cdef double* at = self.timers.at
        if at[RETRANSMIT] <= now:
            self.on_retransmission_timeout(now)
        elif at[TAIL] <= now:
            self.on_tail_timeout()
        if at[REORDERING] <= now:
            self.detect_loss(now)
        if at[PROBE] <= now:
            self.on_probe_timeout()
        if at[PACE] <= now:
            self.paced = False

    cdef void on_retransmission_timeout(self, double now) noexcept:
        """Send again all that is not acknowledged (RFC 6298 section 5.4 and what follows)."""
        self.buffer.mark_lost_since(-INFINITY, BY_TIMEOUT)
        if self.peer_window and self.rtt.backoff == 0:
            self.congestion.on_timeout(now)
        self.recovering = True
        self.recovery_end = self.buffer.next
        self.reacted_at = now
        self.buffer.newest_lost_at = -INFINITY
        self.duplicate_acks = 0
        self.newest_rtt = 0
        self.tail_probed = self.tail_due = self.resend_now = False
        self.timers.at[RETRANSMIT] = self.timers.at[REORDERING] = self.timers.at[TAIL] = INFINITY
        self.rtt.backoff += 1
        self.timeouts += 1

    cdef void on_tail_timeout(self) noexcept:
        """Send new payload, or the last packet again, to be told what is lost (RFC 8985 section 7.3)."""
        self.timers.at[TAIL] = INFINITY
        self.tail_due = self.tail_payload() > 0
        self.tail_end = self.buffer.next + self.tail_due
        self.tail_resent = not self.tail_due
        if self.tail_resent:
            if not self.buffer.mark_lost(self.buffer.next - 1, BY_TAIL_PROBE):
                return
            self.resend_now = True
        self.tail_probed = True
        self.tail_probes += 1
        self.timers.at[RETRANSMIT] = INFINITY

    cdef void on_probe_timeout(self) noexcept:
        """Send into a window that looks shut: news that it is open may be lost (RFC 9293 section 3.8.6.1)."""
        self.timers.at[PROBE] = INFINITY
        self.probing = True
        self.rtt.backoff += 1

    cdef double timeout(self) noexcept:
        """Return how long to wait for an answer to what is sent now."""
        cdef double timeout = self.rtt.retransmission_timeout()
        if self.peer_window < self.segment:
            timeout = min(timeout, self.config.peer_timeout / PROBES_PER_PEER_TIMEOUT)
        return timeout

    cdef bint may_probe_tail(self) noexcept:
        """Return whether only silence would tell of a loss, and a tail probe breaks it before the timeout."""
        return (
            self.rtt.smoothed > 0 and self.rtt.backoff == 0
            and 2 * self.rtt.smoothed + DELAYED_ACK < self.rtt.timeout
            and not self.recovering and not self.tail_probed
            and self.buffer.sacked_count == 0 and self.peer_window > 0
        )

    cdef void arrange_timers(self, double now) noexcept:
        """Set the timers as the state asks, after packets were sent."""
        self.timers.at[PACE] = self.pacer.next_departure() if self.paced else INFINITY
        if self.buffer.outstanding():
            self.timers.at[PROBE] = INFINITY
            if self.timers.at[RETRANSMIT] == INFINITY:
                self.timers.at[RETRANSMIT] = now + self.timeout()
            if not self.may_probe_tail():
                self.timers.at[TAIL] = INFINITY
            elif self.timers.at[TAIL] == INFINITY:
                self.timers.at[TAIL] = now + 2 * self.rtt.smoothed + DELAYED_ACK
        else:
            self.timers.at[RETRANSMIT] = self.timers.at[REORDERING] = self.timers.at[TAIL] = INFINITY
            if self.buffer.pending.size == 0:
                self.timers.at[PROBE] = INFINITY
            elif self.timers.at[PROBE] == INFINITY:
                # Nothing is in flight and yet nothing may be sent: the peer's window is shut.
                self.timers.at[PROBE] = now + self.timeout()
