"""One uTP connection (BEP 29): what its packets mean, and how it ends.

Whatever changes a connection only changes its state and puts it among the unsettled; what it sends is decided
once, in `settle`, when the endpoint's transmits are taken. So a batch of datagrams is answered by one
acknowledgement, and what the program gave in several pieces leaves in one run.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint8_t, uint16_t

from pknet._core.utp_ages cimport PacketAges
from pknet._core.utp_handshake cimport answer, dial
from pknet._core.utp_keepalive cimport arrange_keepalive, fire_keepalive
from pknet._core.utp_metrics cimport change_log, figures, log_changes
from pknet._core.utp_outlet cimport Outlet
from pknet._core.utp_packet cimport ST_FIN, ST_RESET, ST_STATE, HeaderFields, seq_distance
from pknet._core.utp_path_mtu cimport PathMtu
from pknet._core.utp_receive_buffer cimport ARRIVED_BEYOND_LIMIT, ARRIVED_IN_ORDER, ARRIVED_TWICE
from pknet._core.utp_shared cimport Shared
from pknet._core.utp_timers cimport ACKNOWLEDGE, GIVE_UP, IDLE, LINGER, PROVE, WINDOW

from pknet._core.utp_events import (
    CloseReason, ConnectionAccepted, ConnectionClosed, ConnectionOpened, DataReceived, EofReceived,
    SendBufferDrained,
)
from pknet._core.utp_stats import UtpStats
from pknet.errors import StateError

cdef enum:
    # An acknowledgement that is older than this many packets is not believed.
    ALLOWED_BEHIND = 1024
    # So many bytes may still come after `close` when the peer knows of it: what says "I have finished too" in
    # the program's own protocol, as the close_notify of TLS.
    MAX_LAST_WORDS = 64
    # Of so many packets the last is acknowledged at once (RFC 9293 section 3.8.6.3).
    ACK_EVERY = 2
    # How often an initiator that has nothing to say acknowledges the SYN-ACK again.
    MAX_PROOFS = 4
    # From so many packets on it is noted how far the numbers had come when: far fewer than they are.
    AGES_SINCE = 1024
    # Who has waited for an acknowledgement waits twice as long next, then four times, then eight times.
    LINGER_WAITS = 14

# The least time for which the last FIN is acknowledged again.
cdef double LINGER_TIME = 2.0

STATE_NAMES = ("SYN_SENT", "SYN_RECEIVED", "CONNECTED", "CLOSED")


cdef class UtpConnection(TimerEntry):
    """A connection of an endpoint; get one from `UtpEndpoint.connect` or from a ConnectionAccepted event.

    `context` is the program's own.
    """

    def __cinit__(self, Shared shared not None, remote, local, PathMtu path not None):
        self.shared = shared
        self.timers = TimerTable()
        self.sender = Sender(shared.config, self.timers, path)
        self.receiving = ReceiveBuffer(shared.config.first_receive_buffer)
        self.tuner = WindowTuner(shared, self.receiving)
        self.outlet = Outlet(shared, self.sender, self.receiving, remote, local)
        self.last_heard = shared.now

    # The program's verbs.

    def send(self, data, double now):
        """Take payload to send and return how many of its bytes were taken: fewer if the send buffer is full.

        Of a bytes object, or a memoryview of one, the object itself is held until the payload has left;
        anything else is copied. A SendBufferDrained event follows when there is room again. Raises StateError
        after `finish` or the end of the connection.
        """
        cdef Py_buffer view
        cdef Py_ssize_t taken
        if self.sender.fin_wanted or self.state == CLOSED:
            raise StateError("the connection does not take payload any more")
        self.shared.advance(now)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            taken = min(view.len, self.sender.room())
            if taken < view.len:
                self.send_refused = True
            if taken:
                self.sender.buffer.keep(data, <const uint8_t*> view.buf, taken)
                self.unsettle()
        finally:
            PyBuffer_Release(&view)
        return taken

    def read(self, Py_ssize_t limit, double now):
        """Return payload that has come, at most `limit` bytes of it; b"" if there is none."""
        self.shared.advance(now)
        cdef bytes data = self.receiving.read(limit)
        self.after_read(PyBytes_GET_SIZE(data))
        return data

    def read_into(self, buffer, double now):
        """Copy payload that has come to a writable buffer and return how many bytes that were."""
        cdef Py_buffer view
        cdef Py_ssize_t size
        self.shared.advance(now)
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            size = self.receiving.read_into(<uint8_t*> view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        self.after_read(size)
        return size

    def finish(self, double now):
        """Say that no more payload will be sent (FIN), once all that was taken is sent; reading goes on."""
        self.shared.advance(now)
        if self.state != CLOSED and not self.sender.fin_wanted:
            self.sender.fin_wanted = True
            self.unsettle()

    def close(self, double now):
        """Finish, and drop what the peer sends from here on; ConnectionClosed tells when it has all.

        A peer that goes on sending is reset once it has acknowledged all that was sent to it; one that does
        not finish is, peer_timeout later. One that takes nothing for so long is given up, though it may say
        that it has no room. A dial with nothing to deliver is given up.
        """
        self.finish(now)
        self.reader_gone = True
        self.sender.patient = False
        self.receiving.clear()
        if self.state == SYN_SENT and self.sender.buffer.pending.size == 0:
            self.abort(now)
        else:
            self.after_read(0)
            self.maybe_finish()

    def abort(self, double now):
        """End the connection at once (RESET); ConnectionClosed tells how much was not delivered."""
        self.shared.advance(now)
        if self.state == CLOSED:
            return
        if self.state != SYN_SENT or self.handshake.transmissions:
            self.outlet.send_reset()
        self.end(CloseReason.ABORTED)

    # What the program may ask.

    @property
    def remote(self):
        """The handle of the peer."""
        return self.outlet.remote

    @property
    def local(self):
        """The handle of the socket that it goes by, None for the primary one."""
        return self.outlet.local

    @property
    def packets_sent(self):
        """How many packets have been sent, of any kind."""
        return self.outlet.packets_sent

    @property
    def state(self):
        """The state as a word: SYN_SENT, SYN_RECEIVED, CONNECTED or CLOSED."""
        return STATE_NAMES[<int> self.state]

    @property
    def readable(self):
        """How many bytes `read` would return."""
        return self.receiving.readable()

    @property
    def at_eof(self):
        """Whether the peer finished and all of its payload has been read."""
        return self.receiving.finished and self.receiving.readable() == 0

    @property
    def is_closing(self):
        """Whether `finish` or `close` was called and the connection is not over."""
        return self.sender.fin_wanted and self.state != CLOSED

    @property
    def writable(self):
        """How many bytes `send` would take."""
        return 0 if self.sender.fin_wanted or self.state == CLOSED else self.sender.room()

    @property
    def unacknowledged(self):
        """How many of the bytes that `send` took the peer has not acknowledged."""
        return self.sender.unacknowledged()

    @property
    def rtt(self):
        """The smoothed round-trip time in seconds, None before the first sample."""
        return self.sender.rtt.smoothed or None

    @property
    def congestion_control(self):
        """The name of the congestion controller; may be set at any time, to another that UtpConfig knows."""
        return self.sender.congestion_name

    @congestion_control.setter
    def congestion_control(self, name):
        self.sender.use_controller(name)

    @property
    def congestion_window(self):
        """How many bytes the congestion controller allows in flight."""
        return <Py_ssize_t> self.sender.congestion.window

    @property
    def in_flight(self):
        """How many bytes of payload are believed to be in the network."""
        return self.sender.buffer.in_flight_bytes

    @property
    def bytes_sent(self):
        """How many bytes of payload have been sent, each counted once."""
        return self.sender.bytes_sent

    @property
    def packets_retransmitted(self):
        """How many packets have been sent again."""
        return self.sender.packets_retransmitted

    @property
    def next_timer(self):
        """The name of the timer that is due first, None if none is set."""
        return self.timers.first_name()

    def stats(self):
        """Return all figures as they are now, as a UtpStats."""
        return UtpStats(
            **figures(self.outlet),
            state=STATE_NAMES[<int> self.state],
            bytes_received=self.bytes_received,
            packets_received=self.packets_received,
            packets_duplicated=self.packets_duplicated,
        )

    @property
    def log(self):
        """What takes the events of its log, as log(time, name, data), or None; may be set at any time.

        It is called when the endpoint's transmits are taken. What it raises goes to sys.unraisablehook, and
        it is not called again.
        """
        return None if self.outlet.log is None else self.outlet.log.sink

    @log.setter
    def log(self, sink):
        change_log(self, self.outlet, None, sink)

    def __repr__(self):
        return f"<UtpConnection to {self.remote!r} id {self.receive_id} {STATE_NAMES[<int> self.state]}>"

    # Opening.

    cdef bint start_connecting(self, uint16_t receive_id, uint16_t seq_nr) except False:
        """Dial."""
        self.is_initiator = True
        self.receive_id = receive_id
        self.outlet.send_id = receive_id + 1
        self.handshake = dial(self.outlet, seq_nr)
        self.state = SYN_SENT
        return self.unsettle()

    cdef bint start_accepting(self, const PacketHeader* syn, uint16_t seq_nr) except False:
        """Answer a SYN. Nothing but SYN-ACKs is sent until the initiator has proved its address."""
        self.receive_id = syn.connection_id + 1
        self.outlet.send_id = syn.connection_id
        self.handshake = answer(self.outlet, syn, seq_nr)
        self.state = SYN_RECEIVED
        return self.unsettle()

    cdef bint repeat_syn_ack(self, const PacketHeader* syn) except False:
        """Take a SYN for a connection that exists."""
        if self.state == SYN_RECEIVED and self.handshake.take_syn_again(syn):
            return self.unsettle()
        self.shared.counters.unexpected += 1
        return True

    cdef bint receive_syn_ack(self, const PacketHeader* packet) except False:
        if not self.handshake.take_syn_ack(packet):
            return True
        self.note_arrival(packet)
        self.open()
        # The acknowledgement of the SYN-ACK proves this side's address, so that the acceptor may speak first.
        # It may get lost, and who has nothing to say would never know.
        self.ack_needed = True
        self.timers.at[PROVE] = self.shared.now + self.sender.rtt.timeout
        self.shared.tell(ConnectionOpened(self))
        return self.unsettle()

    cdef bint prove(self, const PacketHeader* packet) except -1:
        """Open the connection if a packet shows that the initiator has the SYN-ACK; return whether so."""
        if not self.handshake.take_proof(packet):
            return False
        self.accept()
        return True

    cdef bint accept(self) except False:
        """Take the place of an initiator that has proven itself."""
        self.shared.places -= self.shared.places > 0
        if self.outlet.log is None:
            change_log(self, self.outlet, self.shared.open_log, None)
        self.open()
        del self.shared.half_open[self]
        self.shared.tell(ConnectionAccepted(self))
        return self.unsettle()

    cdef void open(self) noexcept:
        self.state = CONNECTED
        self.handshake = None
        self.timers.stop_all()

    # Receiving.

    cdef bint receive(self, const PacketHeader* packet, Py_ssize_t hint) except False:
        """Take a packet of this connection. `hint`: about how much payload may follow in the same batch."""
        cdef double round_trip = -1
        cdef bint is_proof = False
        if packet.type == ST_RESET:
            return self.receive_reset(packet)
        if self.state == SYN_SENT:
            return self.receive_syn_ack(packet)
        if not self.plausible(packet):
            self.shared.counters.implausible += 1
            return True
        if self.state == SYN_RECEIVED:
            if not self.prove(packet):
                return True
            is_proof = True
        if packet.timestamp and not self.is_of_now(packet):
            self.shared.counters.implausible += 1
            return True
        self.note_arrival(packet)
        self.timers.at[IDLE] = INFINITY
        if packet.timestamp and packet.timestamp_difference:
            round_trip = self.tuner.measure(
                self.outlet.timestamp_difference, packet.timestamp_difference
            )
        if is_proof and 0 < round_trip < self.shared.config.connect_timeout:
            # That of the SYN-ACK, however long the initiator had nothing to say.
            self.sender.rtt.sample(round_trip)
        if self.state == CLOSED:
            # Lingering: the peer may not have heard the last acknowledgement, nor the next (RFC 9293 section
            # 3.10.7.4 has the same rule for TIME-WAIT).
            if packet.type != ST_STATE:
                self.note_wait(packet)
                self.linger()
                self.ack_needed = True
                self.unsettle()
            return True
        # libutp sends its mask on ST_STATE alone, and no more once it has finished.
        is_complete = packet.type == ST_STATE and not self.receiving.fin_known
        if self.sender.acknowledge(packet, is_complete, round_trip, self.shared.now) or (
            packet.type != ST_STATE
        ):
            # A peer that takes payload or sends some has been proven to.
            self.timers.at[PROVE] = INFINITY
        if self.send_refused and self.sender.room() >= self.sender.limit() // 8:
            self.send_refused = False
            self.shared.tell(SendBufferDrained(self))
        if packet.type != ST_STATE:
            self.receive_payload(packet, hint)
        self.maybe_finish()
        return self.unsettle()

    cdef bint note_arrival(self, const PacketHeader* packet) except False:
        """Count a packet that belongs here."""
        self.packets_received += 1
        self.last_heard = self.shared.now
        self.outlet.take_timestamp(packet.timestamp)
        if self.outlet.log is not None:
            self.outlet.log.packet_received(packet)
        return True

    cdef bint plausible(self, const PacketHeader* packet) noexcept:
        """Return whether the numbers of a packet fit the connection, so that it is not some stranger's."""
        cdef Py_ssize_t behind = seq_distance(packet.ack_nr, self.sender.buffer.next - 1)
        cdef Py_ssize_t ahead = seq_distance(self.receiving.ack_nr + 1, packet.seq_nr)
        if behind > self.sender.buffer.outstanding() + ALLOWED_BEHIND:
            return False
        return ahead <= self.receiving.reorder_limit or ahead >= (1 << 16) - self.receiving.reorder_limit

    cdef bint is_of_now(self, const PacketHeader* packet) except -1:
        """Return whether a packet is not from an earlier round of the sequence numbers."""
        if self.ages is None:
            if self.packets_received < AGES_SINCE:
                return True
            self.ages = PacketAges(packet.timestamp, self.receiving.ack_nr, self.sender.buffer.first)
        if self.ages.too_old(packet.timestamp, packet.seq_nr, packet.ack_nr, self.shared.now):
            return False
        self.ages.note(packet.timestamp, self.receiving.ack_nr, self.sender.buffer.first, self.shared.now)
        return True

    cdef bint receive_reset(self, const PacketHeader* packet) except False:
        """Believe a RESET only if it acknowledges what is in flight: an off-path sender has to guess that."""
        cdef Sender sender = self.sender
        if self.state == SYN_SENT:
            if self.handshake.takes_reset(packet):
                return self.end(CloseReason.REFUSED)
        elif self.state == SYN_RECEIVED and self.handshake.takes_reset(packet):
            return self.end(CloseReason.RESET)
        # A reset for an unknown connection acknowledges the offending packet, which for a STATE is one past
        # what is in flight.
        elif self.state != CLOSED and (
            seq_distance(sender.buffer.first - 1, packet.ack_nr) <= sender.buffer.outstanding() + 1
        ):
            if self.receiving.finished and sender.fin_sent and sender.unacknowledged() == 0:
                # libutp forgets the connection when both sides have finished, and answers our FIN by this.
                return self.end(CloseReason.FINISHED)
            return self.end(CloseReason.RESET)
        self.shared.counters.implausible += 1
        return True

    cdef bint receive_payload(self, const PacketHeader* packet, Py_ssize_t hint) except False:
        cdef bint is_gap_known = self.receiving.early_count > 0
        cdef Arrival arrival = self.receiving.receive(
            packet.seq_nr, packet.payload, packet.payload_size, hint, packet.type == ST_FIN
        )
        self.owe_acknowledgement(packet.seq_nr, arrival)
        if is_gap_known or arrival == ARRIVED_TWICE:
            self.note_wait(packet)
        if self.reader_gone:
            self.receiving.clear()
        if self.reader_gone and packet.payload_size and arrival != ARRIVED_TWICE:
            self.shared.counters.unread += 1
            if self.sender.fin_acknowledged:
                self.last_words = <uint16_t> min(self.last_words + packet.payload_size, MAX_LAST_WORDS + 1)
                if self.last_words > MAX_LAST_WORDS:
                    # The peer knows that this side has finished and goes on: it has to learn that nobody
                    # reads.
                    self.outlet.send_reset()
                    return self.end(CloseReason.ABORTED)
        if arrival == ARRIVED_BEYOND_LIMIT:
            self.shared.counters.beyond_window += 1
            return True
        if arrival == ARRIVED_TWICE:
            self.packets_duplicated += 1
            # The copies that a path makes are alike; what was sent again is younger.
            if packet.seq_nr == self.receiving.ack_nr and packet.timestamp != self.payload_sent_at:
                self.came_again = True
            return True
        self.came_anew = True
        self.payload_sent_at = packet.timestamp
        self.bytes_received += packet.payload_size
        if self.receiving.readable() and not self.data_told:
            self.data_told = True
            self.shared.tell(DataReceived(self))
        if self.receiving.finished and not (self.eof_told or self.reader_gone):
            self.eof_told = True
            self.shared.tell(EofReceived(self))
        return True

    cdef void owe_acknowledgement(self, uint16_t seq_nr, Arrival arrival) noexcept:
        """Acknowledge what came at once, or if it is a single packet in order, with what is sent soon."""
        self.ack_owed = min(self.ack_owed + 1, ACK_EVERY)
        if (
            self.ack_owed == ACK_EVERY
            or arrival != ARRIVED_IN_ORDER
            # It filled a gap, or there still is one (RFC 5681 section 4.2).
            or self.receiving.ack_nr != seq_nr
            or self.receiving.early_count
            or self.receiving.fin_known
            or self.shared.config.ack_delay == 0
        ):
            self.ack_needed = True
        else:
            self.timers.at[ACKNOWLEDGE] = self.shared.now + self.shared.config.ack_delay

    cdef bint after_read(self, Py_ssize_t count) except False:
        """Tell the peer when reading has reopened its window, or shown that it should be larger."""
        cdef Py_ssize_t window
        cdef Py_ssize_t two_packets = 2 * self.sender.segment
        if self.state != CLOSED:
            self.tuner.read(count, self.sender.rtt.least)
        window = self.receiving.window()
        if self.receiving.readable() == 0:
            self.data_told = False
        if self.state == CONNECTED and not self.receiving.finished and (
            self.outlet.advertised < two_packets <= window
            or window - self.outlet.advertised >= self.receiving.limit // 2
        ):
            # The receiver's side of the silly window: not for less (RFC 9293 section 3.8.6.2.2).
            self.ack_needed = True
            return self.unsettle()
        return True

    # Sending.

    cdef bint unsettle(self) except False:
        """Note that there may be something to send."""
        if not self.is_unsettled:
            self.shared.unsettled.append(self)
            self.is_unsettled = True
        return True

    cdef bint settle(self) except False:
        """Send what is due and set the timers."""
        self.is_unsettled = False
        self.receiving.trim()
        if self.state == CONNECTED:
            self.send_packets()
        elif self.state != CLOSED:
            self.handshake.send()
        elif self.ack_needed and self.timers.at[LINGER] != INFINITY:
            self.outlet.send_state()
        self.ack_needed = self.came_anew = self.came_again = False
        if self.outlet.log is not None:
            log_changes(self.outlet)
        return self.arrange_timers()

    cdef bint send_packets(self) except False:
        """Send what may be sent; an acknowledgement alone if nothing carried it."""
        cdef HeaderFields header
        cdef Py_ssize_t segment = 0
        cdef bint sent = False
        cdef bint may_fragment = False
        cdef bytes run
        self.outlet.fill_header(&header)
        self.sender.begin(self.shared.now)
        while True:
            run = self.sender.next_run(&header, self.shared.now, &segment, &may_fragment)
            if run is None:
                break
            self.outlet.send_run(run, segment, may_fragment)
            sent = True
        # DATA carries no selective ACK: with that extension a full packet sent again would not fit.
        if self.ack_needed and (not sent or self.receiving.early_count):
            self.outlet.send_state()
        if sent or self.ack_needed:
            self.ack_owed = 0
            self.timers.at[ACKNOWLEDGE] = INFINITY
        if self.came_again and self.receiving.early_count == 0 and (sent or self.came_anew):
            # A STATE that acknowledges nothing new tells who sent a tail probe that both copies have come
            # (RFC 8985 section 7.4.2).
            self.outlet.send_state()
        return True

    # Timers.

    cdef bint arrange_timers(self) except False:
        """Set each timer as the state asks, and tell the endpoint's queue the first of them."""
        cdef double now = self.shared.now
        cdef double first
        if self.state == CONNECTED:
            self.sender.arrange_timers(now)
            if not (self.sender.buffer.outstanding() or self.reader_gone and self.sender.fin_acknowledged):
                self.timers.at[GIVE_UP] = INFINITY
            elif self.timers.at[GIVE_UP] == INFINITY:
                self.timers.at[GIVE_UP] = now + self.shared.config.peer_timeout
                self.timers.at[IDLE] = INFINITY
            arrange_keepalive(self.outlet, self.last_heard)
            if self.timers.at[WINDOW] == INFINITY:
                self.timers.at[WINDOW] = self.tuner.next_review()
        first = self.timers.first()
        if first == INFINITY:
            return self.shared.timers.cancel(self)
        return self.shared.timers.schedule(self, first)

    cdef bint fire_timers(self) except False:
        """Do what the timers that are due ask for."""
        cdef double now = self.shared.now
        cdef double* at = self.timers.at
        if self.outlet.log is not None:
            self.outlet.log.timers_fired(self.timers)
        if at[LINGER] <= now:
            return self.leave()
        if at[GIVE_UP] <= now or at[IDLE] <= now:
            return self.give_up()
        if self.handshake is None:
            self.sender.fire_timers(now)
        else:
            self.handshake.fire_timers(now)
        if at[PROVE] <= now:
            self.proofs += 1
            at[PROVE] = INFINITY
            if self.proofs < MAX_PROOFS:
                at[PROVE] = now + self.sender.rtt.timeout * (1 << self.proofs)
            self.ack_needed = True
        if at[ACKNOWLEDGE] <= now:
            at[ACKNOWLEDGE] = INFINITY
            self.ack_needed = True
        if at[WINDOW] <= now:
            at[WINDOW] = INFINITY
            self.ack_needed |= self.tuner.review()
        fire_keepalive(self.outlet, self.last_heard)
        self.unsettle()
        return self.arrange_timers()

    # Ending.

    cdef bint give_up(self) except False:
        """The peer has been silent for too long."""
        if self.state == SYN_RECEIVED:
            self.shared.counters.half_open_dropped += 1
            return self.leave()
        if self.reader_gone and self.sender.fin_acknowledged:
            self.outlet.send_reset()
            return self.end(CloseReason.ABORTED)
        return self.end(CloseReason.TIMED_OUT)

    cdef bint maybe_finish(self) except False:
        """End in peace when both sides have finished; linger to acknowledge the peer's FIN again.

        For a program that has closed it ends when the peer has all, whatever the peer does then.
        """
        if self.state != CONNECTED or not self.sender.fin_acknowledged:
            return True
        if self.receiving.finished:
            self.state = CLOSED
            self.timers.stop_all()
            self.linger()
        elif not self.reader_gone:
            return True
        return self.tell_end(CloseReason.FINISHED)

    cdef void note_wait(self, const PacketHeader* packet) noexcept:
        """Note how long the peer had waited, by its clock, when it sent what may be a packet sent again."""
        cdef int32_t waited = <int32_t> (packet.timestamp - self.payload_sent_at)
        # An empty DATA is no packet sent again but a question.
        if packet.timestamp and (packet.payload_size or packet.type == ST_FIN):
            self.longest_wait = max(self.longest_wait, <float> (waited * 1e-6))

    cdef void linger(self) noexcept:
        """Have the peer's FIN acknowledged for some time yet: until three more of them have been lost."""
        self.timers.at[LINGER] = self.shared.now + max(
            LINGER_TIME,
            2 * self.sender.rtt.timeout,
            min(LINGER_WAITS * self.longest_wait, self.shared.config.peer_timeout),
        )

    cdef bint tell_end(self, reason) except False:
        """Tell the program that the connection is over, once."""
        if self.close_reason is None:
            self.close_reason = reason
            self.shared.tell(ConnectionClosed(self, reason, self.sender.unacknowledged()))
        return True

    cdef bint end(self, reason) except False:
        """End at once, and tell what was not delivered."""
        if self.state == SYN_RECEIVED:
            # The program was never told of it.
            return self.leave()
        self.state = CLOSED
        self.tell_end(reason)
        return self.leave()

    cdef bint leave(self) except False:
        """Leave the endpoint's tables and timers."""
        if self.state == SYN_RECEIVED:
            self.state = CLOSED
            del self.shared.half_open[self]
        self.timers.stop_all()
        self.shared.timers.cancel(self)
        self.shared.finished.append(self)
        self.tuner.give_back()
        return change_log(self, self.outlet, None, None)
