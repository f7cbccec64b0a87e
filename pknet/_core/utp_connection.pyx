"""One uTP connection (BEP 29): what its packets mean and when it sends.

Whatever changes a connection only changes its state and puts it among the unsettled; what it sends is decided once,
in `settle`, when the endpoint's transmits are taken. So a batch of datagrams is answered by one acknowledgement, and
what the program gave in several pieces leaves in one run.

Where BEP 29 and the programs in use differ, this follows the programs: a SYN-ACK takes no sequence number (the first
DATA has the SYN-ACK's own), the first sequence number is random, and the acceptor sends no payload before the
initiator has shown that it received the SYN-ACK.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from pknet._core.transmit cimport Transmit
from pknet._core.utp_congestion cimport Ledbat
from pknet._core.utp_packet cimport (
    EXTENSION_NONE, EXTENSION_SELECTIVE_ACK, HEADER_SIZE, MAX_SELECTIVE_ACK, ST_DATA, ST_FIN, ST_RESET, ST_STATE,
    ST_SYN, seq_distance, write_header,
)
from pknet._core.utp_receiving cimport ARRIVED_BEYOND_LIMIT, ARRIVED_EARLY, ARRIVED_IN_ORDER, Arrival
from pknet._core.utp_sending cimport Acknowledged

from pknet._core.utp_events import (
    CloseReason, ConnectionAccepted, ConnectionClosed, ConnectionOpened, DataReceived, EofReceived,
    SendBufferDrained,
)
from pknet.errors import StateError

cdef enum:
    # Datagrams in one run: below the 64 KiB that one send call takes, whatever the headers.
    MAX_RUN = 44
    MAX_RUN_BYTES = 62000
    # Far enough below half of the 16-bit sequence numbers that they can't wrap onto themselves.
    MAX_OUTSTANDING = 30000
    # An acknowledgement that is older than this many packets is not believed.
    ALLOWED_BEHIND = 1024
    DUPLICATE_ACKS = 3
    # Values of timestamp_difference that mean "no sample"; the second one is an old client's.
    NO_SAMPLE = 0
    NO_SAMPLE_EITHER = 0x7fffffff

cdef double LINGER_TIME = 2.0

STATE_NAMES = ("SYN_SENT", "SYN_RECEIVED", "CONNECTED", "CLOSED")
TIMER_NAMES = ("retransmit", "probe", "keepalive", "give up", "linger")


cdef class Shared:
    """What the connections of an endpoint share."""

    def __cinit__(self, UtpConfig config not None, counters):
        self.config = config
        self.timers = TimerQueue()
        self.now = -INFINITY
        self.events = []
        self.transmits = []
        self.unsettled = []
        self.finished = []
        self.counters = counters


cdef class UtpConnection(TimerEntry):
    """A connection of an endpoint; get one from `UtpEndpoint.connect` or from a ConnectionAccepted event.

    `remote` and `local` are the handles of its peer and of the socket it goes by; `context` is the program's own.
    """

    def __cinit__(self, Shared shared not None, remote, local):
        cdef int timer
        self.shared = shared
        self.remote = remote
        self.local = local
        self.segment = shared.config.max_datagram - HEADER_SIZE
        self.sending = SendBuffer()
        self.receiving = ReceiveBuffer(shared.config.receive_buffer)
        self.congestion = Ledbat(self.segment, shared.config.ledbat_target)
        self.timeout = shared.config.initial_timeout
        self.min_rtt = INFINITY
        self.last_sent = shared.now
        for timer in range(TIMER_COUNT):
            self.timers[timer] = INFINITY

    # The program's verbs.

    def send(self, data, double now):
        """Take payload to send and return how many of its bytes were taken: fewer if the send buffer is full.

        A SendBufferDrained event follows when there is room again. Raises StateError after `finish` or the end of
        the connection.
        """
        cdef Py_ssize_t room
        if self.fin_wanted or self.state == CLOSED:
            raise StateError("the connection does not take payload any more")
        self.advance(now)
        room = self.shared.config.send_buffer - self.sending.pending_bytes - self.sending.outstanding_bytes
        if len(data) > room:
            self.send_refused = True
            if room <= 0:
                return 0
            data = data[:room]
        if not isinstance(data, bytes):
            data = bytes(data)
        if data:
            self.sending.append(data)
            self.unsettle()
        return len(data)

    def read(self, Py_ssize_t limit, double now):
        """Return payload that has come, at most `limit` bytes of it; b"" if there is none."""
        self.advance(now)
        cdef bytes data = self.receiving.read(limit)
        self.after_read()
        return data

    def read_into(self, buffer, double now):
        """Copy payload that has come to a writable buffer and return how many bytes that were."""
        cdef Py_buffer view
        cdef Py_ssize_t size
        self.advance(now)
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            size = self.receiving.read_into(<uint8_t*> view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        self.after_read()
        return size

    def finish(self, double now):
        """Say that no more payload will be sent (FIN), once all that was taken is sent; reading goes on."""
        self.advance(now)
        if self.state != CLOSED and not self.fin_wanted:
            self.fin_wanted = True
            self.unsettle()

    def close(self, double now):
        """Finish, and drop what the peer sends from here on.

        A peer that goes on sending is reset once it has acknowledged all that was sent to it.
        """
        self.finish(now)
        if self.state != CLOSED:
            self.reader_gone = True
            while self.receiving.readable:
                self.receiving.read(self.receiving.readable)
            self.arrange_timers()

    def abort(self, double now):
        """End the connection at once (RESET); what was not delivered is lost, and counted in ConnectionClosed."""
        self.advance(now)
        if self.state == CLOSED:
            return
        if self.state != SYN_SENT or self.syn_transmissions:
            self.emit_bare(ST_RESET, self.send_id, self.sending.next)
        self.end(CloseReason.ABORTED)

    # What the program may ask.

    @property
    def state(self):
        """The state as a word: SYN_SENT, SYN_RECEIVED, CONNECTED or CLOSED."""
        return STATE_NAMES[<int> self.state]

    @property
    def readable(self):
        """How many bytes `read` would return."""
        return self.receiving.readable

    @property
    def at_eof(self):
        """Whether the peer finished and all of its payload has been read."""
        return self.receiving.finished and self.receiving.readable == 0

    @property
    def is_closing(self):
        """Whether `finish` or `close` was called and the connection is not over."""
        return self.fin_wanted and self.state != CLOSED

    @property
    def writable(self):
        """How many bytes `send` would take."""
        return max(self.shared.config.send_buffer - self.unacknowledged, 0)

    @property
    def unacknowledged(self):
        """How many of the bytes that `send` took the peer has not acknowledged."""
        return self.sending.pending_bytes + self.sending.outstanding_bytes

    @property
    def rtt(self):
        """The smoothed round-trip time in seconds, None before the first sample."""
        return self.srtt if self.srtt > 0 else None

    @property
    def congestion_window(self):
        """How many bytes the congestion controller allows in flight."""
        return <Py_ssize_t> self.congestion.window

    @property
    def in_flight(self):
        """How many bytes of payload are believed to be in the network."""
        return self.sending.in_flight_bytes

    @property
    def next_timer(self):
        """The name of the timer that is due first, None if none is set."""
        cdef int timer, first = 0
        for timer in range(TIMER_COUNT):
            if self.timers[timer] < self.timers[first]:
                first = timer
        return None if self.timers[first] == INFINITY else TIMER_NAMES[first]

    def __repr__(self):
        return f"<UtpConnection to {self.remote!r} id {self.receive_id} {STATE_NAMES[<int> self.state]}>"

    cdef void advance(self, double now) noexcept:
        if now > self.shared.now:
            self.shared.now = now

    cdef bint after_read(self) except False:
        """Tell the peer when reading has reopened its window."""
        cdef Py_ssize_t window = self.receiving.window()
        if self.receiving.readable == 0:
            self.data_told = False
        if self.state != CONNECTED or self.receiving.finished or window <= self.advertised:
            return True
        if (self.advertised < 2 * self.segment and window >= 2 * self.segment) or (
            window - self.advertised >= self.receiving.limit // 2
        ):
            self.ack_needed = True
            self.unsettle()
        return True

    # Opening.

    cdef bint start_connecting(self, uint16_t receive_id, uint16_t seq_nr) except False:
        """Dial. The SYN carries the id under which the initiator will receive; all else goes by that plus one."""
        self.is_initiator = True
        self.receive_id = receive_id
        self.send_id = receive_id + 1
        self.syn_seq_nr = seq_nr
        self.sending.start(seq_nr + 1)
        self.state = SYN_SENT
        self.syn_needed = True
        self.timers[GIVE_UP] = self.shared.now + self.shared.config.connect_timeout
        return self.unsettle()

    cdef bint start_accepting(self, const PacketHeader* syn, uint16_t seq_nr) except False:
        """Answer a SYN. Nothing but SYN-ACKs is sent until the initiator has proved its address."""
        self.receive_id = syn.connection_id + 1
        self.send_id = syn.connection_id
        self.syn_seq_nr = syn.seq_nr
        self.receiving.start(syn.seq_nr)
        self.sending.start(seq_nr)
        self.peer_window = self.peer_window_most = syn.wnd_size
        self.timestamp_difference = self.wire_time() - syn.timestamp
        self.state = SYN_RECEIVED
        self.shared.half_open += 1
        self.syn_needed = True
        self.timers[GIVE_UP] = self.shared.now + self.shared.config.half_open_timeout
        return self.unsettle()

    cdef bint repeat_syn_ack(self, const PacketHeader* syn) except False:
        """Take a SYN for a connection that exists: the same one again means that the SYN-ACK was lost."""
        if self.state == SYN_RECEIVED and syn.seq_nr == self.syn_seq_nr:
            self.syn_needed = True
            self.unsettle()
        return True

    cdef bint receive_syn_ack(self, const PacketHeader* packet) except False:
        if packet.type != ST_STATE or packet.ack_nr != self.syn_seq_nr:
            self.shared.counters.unexpected += 1
            return True
        self.state = CONNECTED
        # The SYN-ACK took no sequence number: the first DATA will have this one.
        self.receiving.start(packet.seq_nr - 1)
        self.peer_window = self.peer_window_most = packet.wnd_size
        if self.syn_transmissions == 1:
            self.update_rtt(self.shared.now - self.syn_sent_at)
        self.backoff = 0
        self.syn_needed = False
        self.timers[GIVE_UP] = self.timers[RETRANSMIT] = INFINITY
        # The acknowledgement of the SYN-ACK proves this side's address, so that the acceptor may speak first.
        self.ack_needed = True
        self.tell(ConnectionOpened(self))
        return self.unsettle()

    cdef bint prove(self, const PacketHeader* packet) except -1:
        """Return whether a packet shows that the initiator received the SYN-ACK, and open the connection if so."""
        if packet.ack_nr != <uint16_t> (self.sending.first - 1) or not self.plausible(packet):
            self.shared.counters.unexpected += 1
            return False
        self.state = CONNECTED
        self.shared.half_open -= 1
        self.syn_needed = False
        self.timers[GIVE_UP] = INFINITY
        self.tell(ConnectionAccepted(self))
        return True

    # Receiving.

    cdef bint receive(self, const PacketHeader* packet, Py_ssize_t hint) except False:
        """Take a packet of this connection. `hint`: about how much payload may follow in the same batch."""
        self.packets_received += 1
        if packet.timestamp:
            self.timestamp_difference = self.wire_time() - packet.timestamp
        if packet.type == ST_RESET:
            return self.receive_reset(packet)
        if self.state == SYN_SENT:
            return self.receive_syn_ack(packet)
        if self.state == SYN_RECEIVED and not self.prove(packet):
            return True
        if not self.plausible(packet):
            self.shared.counters.implausible += 1
            return True
        if self.state == CLOSED:
            # Lingering: the peer may not have heard the last acknowledgement.
            if packet.type == ST_FIN or packet.type == ST_DATA:
                self.ack_needed = True
                self.unsettle()
            return True
        self.receive_acknowledgement(packet)
        if self.state != CLOSED and packet.type != ST_STATE:
            self.receive_payload(packet, hint)
        return self.maybe_finish()

    cdef bint plausible(self, const PacketHeader* packet) noexcept:
        """Return whether the numbers of a packet fit the connection, so that it is not some stranger's."""
        cdef Py_ssize_t behind = seq_distance(packet.ack_nr, self.sending.next - 1)
        cdef Py_ssize_t ahead = seq_distance(self.receiving.ack_nr + 1, packet.seq_nr)
        if behind > self.sending.outstanding() + ALLOWED_BEHIND:
            return False
        return ahead <= self.receiving.reorder_limit or ahead >= (1 << 16) - self.receiving.reorder_limit

    cdef bint receive_reset(self, const PacketHeader* packet) except False:
        """Believe a RESET only if it acknowledges what is in flight: an off-path sender has to guess that."""
        cdef Py_ssize_t ahead
        if self.state == SYN_SENT:
            if packet.ack_nr == self.syn_seq_nr:
                return self.end(CloseReason.REFUSED)
        elif self.state != CLOSED:
            # A reset for an unknown connection acknowledges the offending packet, which for a STATE is one past
            # what is in flight.
            ahead = seq_distance(self.sending.first - 1, packet.ack_nr)
            if ahead <= self.sending.outstanding() + 1:
                if (
                    self.receiving.finished and self.fin_sent
                    and self.sending.pending_bytes == 0 and self.sending.outstanding_bytes == 0
                ):
                    # libutp forgets the connection when both sides have finished, and answers our FIN by this.
                    return self.end(CloseReason.FINISHED)
                return self.end(CloseReason.RESET)
        self.shared.counters.implausible += 1
        return True

    cdef bint receive_acknowledgement(self, const PacketHeader* packet) except False:
        cdef Acknowledged result
        cdef SendBuffer sending = self.sending
        cdef bint window_was_full = sending.in_flight_bytes + self.segment > self.congestion.window
        cdef bint window_was_shut = self.peer_window == 0
        cdef bint is_newest
        sending.acknowledge(
            packet.ack_nr, packet.selective_ack, packet.selective_ack_size, self.shared.now, self.srtt, &result
        )
        is_newest = packet.ack_nr == <uint16_t> (sending.first - 1)
        if result.rtt >= 0:
            self.update_rtt(result.rtt)
        if result.packets:
            if packet.timestamp_difference != NO_SAMPLE and packet.timestamp_difference != NO_SAMPLE_EITHER:
                self.congestion.on_delay(packet.timestamp_difference, max(result.rtt, 0), self.shared.now)
            self.congestion.on_ack(result.bytes, window_was_full, self.shared.now)
        if result.advanced:
            self.duplicate_acks = self.backoff = 0
            self.timers[RETRANSMIT] = self.timers[GIVE_UP] = INFINITY
            if self.recovering and seq_distance(sending.first, self.recovery_end) - 1 >= 1 << 15:
                self.recovering = False
        elif (
            is_newest and packet.type == ST_STATE and packet.selective_ack == NULL and sending.outstanding()
            and packet.wnd_size == self.peer_window and not sending.sacked_count
        ):
            # Only a peer that sends no selective ACK is judged by duplicates.
            self.duplicate_acks += 1
            if self.duplicate_acks == DUPLICATE_ACKS:
                result.lost += sending.mark_lost(sending.packet(sending.first))
        if result.lost:
            self.react_to_loss(result.lost)
        if is_newest:
            self.peer_window = packet.wnd_size
            self.peer_window_most = max(self.peer_window_most, packet.wnd_size)
            if packet.wnd_size == 0:
                # It answers, it only has no room: not the silence that ends a connection.
                self.timers[GIVE_UP] = INFINITY
            elif window_was_shut and sending.outstanding():
                # What probed the shut window was thrown away.
                sending.mark_all_lost()
                self.backoff = 0
                self.timers[RETRANSMIT] = INFINITY
        if result.fin:
            self.fin_acknowledged = True
        if self.send_refused and self.unacknowledged <= self.shared.config.send_buffer // 2:
            self.send_refused = False
            self.tell(SendBufferDrained(self))
        return self.unsettle()

    cdef void react_to_loss(self, Py_ssize_t lost) noexcept:
        """Yield once for all that is lost within one round trip."""
        if not self.recovering:
            self.recovering = True
            self.recovery_end = self.sending.next
            self.congestion.on_loss(self.shared.now)

    cdef bint receive_payload(self, const PacketHeader* packet, Py_ssize_t hint) except False:
        cdef Arrival arrival
        if self.reader_gone and packet.payload_size:
            self.shared.counters.unread += 1
            if self.fin_acknowledged:
                # The peer knows that this side has finished and goes on sending: it has to learn that nobody reads.
                self.emit_bare(ST_RESET, self.send_id, self.sending.next)
                return self.end(CloseReason.ABORTED)
        arrival = self.receiving.receive(
            packet.seq_nr, packet.payload, packet.payload_size, hint, packet.type == ST_FIN
        )
        self.ack_needed = True
        if arrival == ARRIVED_IN_ORDER or arrival == ARRIVED_EARLY:
            self.bytes_received += packet.payload_size
            while self.reader_gone and self.receiving.readable:
                self.receiving.read(self.receiving.readable)
            if self.receiving.readable and not self.data_told:
                self.data_told = True
                self.tell(DataReceived(self))
            if self.receiving.finished and not self.eof_told:
                self.eof_told = True
                self.tell(EofReceived(self))
        elif arrival == ARRIVED_BEYOND_LIMIT:
            self.shared.counters.beyond_window += 1
        else:
            self.packets_duplicated += 1
        return True

    cdef void update_rtt(self, double rtt) noexcept:
        """RFC 6298 section 2."""
        self.min_rtt = min(self.min_rtt, rtt)
        if self.srtt == 0:
            self.srtt = max(rtt, 1e-6)
            self.rttvar = rtt / 2
        else:
            self.rttvar = 0.75 * self.rttvar + 0.25 * abs(self.srtt - rtt)
            self.srtt = max(0.875 * self.srtt + 0.125 * rtt, 1e-6)
        self.timeout = min(
            max(self.srtt + 4 * self.rttvar, self.shared.config.min_timeout), self.shared.config.max_timeout
        )

    cdef double retransmission_timeout(self) noexcept:
        return min(self.timeout * (1 << min(self.backoff, 16)), self.shared.config.max_timeout)

    # Sending.

    cdef bint unsettle(self) except False:
        """Note that there may be something to send."""
        if not self.is_unsettled:
            self.is_unsettled = True
            self.shared.unsettled.append(self)
        return True

    cdef bint settle(self) except False:
        """Send what is due and set the timers."""
        self.is_unsettled = False
        self.receiving.settle()
        if self.state == SYN_SENT:
            if self.syn_needed:
                self.syn_needed = False
                self.syn_transmissions += 1
                self.syn_sent_at = self.shared.now
                self.emit_bare(ST_SYN, self.receive_id, self.syn_seq_nr)
                self.timers[RETRANSMIT] = self.shared.now + self.retransmission_timeout()
        elif self.state == SYN_RECEIVED:
            if self.syn_needed:
                self.syn_needed = False
                self.emit_bare(ST_STATE, self.send_id, self.sending.next)
        elif self.state == CONNECTED:
            self.send_packets()
        elif self.ack_needed and self.timers[LINGER] != INFINITY:
            self.emit_state(self.receiving.ack_nr)
        self.ack_needed = False
        return self.arrange_timers()

    cdef bint send_packets(self) except False:
        """Send lost packets again, then new ones, then the FIN; an acknowledgement alone if nothing carried it."""
        cdef HeaderFields header
        cdef Py_ssize_t sent = 0
        self.header_fields(&header)
        if self.sending.lost_count:
            sent += self.send_lost(&header)
        if self.sending.pending_bytes:
            sent += self.send_new(&header)
        if self.fin_wanted and not self.fin_sent and self.sending.pending_bytes == 0:
            self.fin_sent = True
            self.emit(self.sending.fin(&header, self.shared.now), 0)
            sent += 1
        # DATA carries no selective ACK: with that extension a full packet sent again would not fit.
        if self.ack_needed and (sent == 0 or self.receiving.early_count):
            self.emit_state(self.receiving.ack_nr)
        return True

    cdef Py_ssize_t send_lost(self, HeaderFields* header) except -1:
        cdef Py_ssize_t sent = 0
        cdef Py_ssize_t segment, before
        cdef bytes run
        while self.sending.lost_count and (
            self.sending.in_flight_bytes == 0 or self.sending.in_flight_bytes < self.congestion.window
        ):
            before = self.sending.lost_count
            run = self.sending.lost_run(
                <Py_ssize_t> self.congestion.window - self.sending.in_flight_bytes, MAX_RUN, header,
                self.shared.now, &segment,
            )
            sent += before - self.sending.lost_count
            self.packets_retransmitted += before - self.sending.lost_count
            self.emit(run, segment)
            if segment == 0:
                break
        return sent

    cdef Py_ssize_t send_new(self, HeaderFields* header) except -1:
        cdef SendBuffer sending = self.sending
        cdef Py_ssize_t sent = 0
        cdef Py_ssize_t segment, count, last, room, most
        most = max(min(MAX_RUN, MAX_RUN_BYTES // (HEADER_SIZE + self.segment)), 1)
        while sending.pending_bytes:
            segment = self.segment
            room = min(
                <Py_ssize_t> self.congestion.window - sending.in_flight_bytes,
                <Py_ssize_t> self.peer_window - sending.outstanding_bytes,
            )
            if self.probe_needed:
                # One packet into a window that looks shut: its answer will tell.
                room = max(room, 1)
            count = min(room // segment, sending.pending_bytes // segment, most, MAX_OUTSTANDING - sending.outstanding())
            last = 0
            if count > 0:
                if count < most and 0 < sending.pending_bytes - count * segment < segment:
                    last = sending.pending_bytes - count * segment
                    if self.shared.config.nagle or count * segment + last > room:
                        last = 0
            elif sending.outstanding() < MAX_OUTSTANDING and room > 0:
                count = 0
                if sending.pending_bytes <= room and sending.pending_bytes < segment:
                    if not self.shared.config.nagle or sending.outstanding() == 0 or self.fin_wanted:
                        last = sending.pending_bytes
                elif sending.outstanding() == 0 and (
                    self.probe_needed or room >= min(segment, <Py_ssize_t> self.peer_window_most // 2)
                ):
                    # The sender's side of the silly window (RFC 1122 section 4.2.3.4).
                    last = min(room, segment, sending.pending_bytes)
            if count <= 0 and last == 0:
                break
            self.probe_needed = False
            self.bytes_sent += max(count, 0) * segment + last
            sent += max(count, 0) + (1 if last else 0)
            if count <= 0:
                segment = last
            self.emit(sending.new_run(max(count, 0), segment, last, header, self.shared.now), segment)
        return sent

    cdef uint32_t wire_time(self) noexcept:
        """Return the current time as it stands in headers; 0 means "none" there."""
        cdef uint32_t micros = <uint32_t> <int64_t> (self.shared.now * 1e6)
        return micros if micros else 1

    cdef void header_fields(self, HeaderFields* header) noexcept:
        self.advertised = <uint32_t> self.receiving.window()
        header.connection_id = self.send_id
        header.ack_nr = self.receiving.ack_nr
        header.timestamp = self.wire_time()
        header.timestamp_difference = self.timestamp_difference
        header.wnd_size = self.advertised

    cdef bint emit(self, bytes run, Py_ssize_t segment) except False:
        """Hand a run of packets with `segment` bytes of payload each to the adapter."""
        cdef Transmit transmit = Transmit.__new__(Transmit)
        transmit.data = run
        transmit.remote = self.remote
        transmit.local = self.local
        if PyBytes_GET_SIZE(run) > HEADER_SIZE + segment:
            transmit.segment_size = HEADER_SIZE + segment
            self.packets_sent += (PyBytes_GET_SIZE(run) + HEADER_SIZE + segment - 1) // (HEADER_SIZE + segment)
        else:
            self.packets_sent += 1
        self.last_sent = self.shared.now
        self.shared.transmits.append(transmit)
        return True

    cdef bint emit_bare(self, uint8_t type, uint16_t connection_id, uint16_t seq_nr) except False:
        """Send a packet that is only a header."""
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE)
        cdef HeaderFields header
        self.header_fields(&header)
        write_header(
            <uint8_t*> PyBytes_AS_STRING(packet), type, EXTENSION_NONE, connection_id, header.timestamp,
            header.timestamp_difference, header.wnd_size, seq_nr, header.ack_nr,
        )
        return self.emit(packet, 0)

    cdef bint emit_state(self, uint16_t ack_nr) except False:
        """Send an acknowledgement, with a selective ACK if packets came early."""
        cdef uint8_t mask[MAX_SELECTIVE_ACK]
        cdef Py_ssize_t size = self.receiving.selective_ack(mask)
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + (2 + size if size else 0))
        cdef uint8_t* out = <uint8_t*> PyBytes_AS_STRING(packet)
        cdef HeaderFields header
        self.header_fields(&header)
        # seq_nr is the next to send: with an older one libutp would not take the acknowledgement.
        write_header(
            out, ST_STATE, EXTENSION_SELECTIVE_ACK if size else EXTENSION_NONE, header.connection_id,
            header.timestamp, header.timestamp_difference, header.wnd_size, self.sending.next, ack_nr,
        )
        if size:
            out[HEADER_SIZE] = EXTENSION_NONE
            out[HEADER_SIZE + 1] = <uint8_t> size
            memcpy(out + HEADER_SIZE + 2, mask, size)
        return self.emit(packet, 2 + size if size else 0)

    # Timers.

    cdef bint arrange_timers(self) except False:
        """Set each timer as the state asks, and tell the endpoint's queue the first of them."""
        cdef double now = self.shared.now
        cdef double first = INFINITY
        cdef int timer
        if self.state == CONNECTED:
            if self.sending.outstanding():
                self.timers[PROBE] = INFINITY
                if self.timers[RETRANSMIT] == INFINITY:
                    self.timers[RETRANSMIT] = now + self.retransmission_timeout()
                if self.timers[GIVE_UP] == INFINITY:
                    self.timers[GIVE_UP] = now + self.shared.config.peer_timeout
            else:
                self.timers[RETRANSMIT] = INFINITY
                if not (self.reader_gone and self.fin_acknowledged):
                    self.timers[GIVE_UP] = INFINITY
                elif self.timers[GIVE_UP] == INFINITY:
                    self.timers[GIVE_UP] = now + self.shared.config.peer_timeout
                if self.sending.pending_bytes == 0:
                    self.timers[PROBE] = INFINITY
                elif self.timers[PROBE] == INFINITY:
                    # Nothing is in flight and yet nothing may be sent: the peer's window is shut.
                    self.timers[PROBE] = now + self.retransmission_timeout()
            if self.shared.config.keepalive is not None:
                self.timers[KEEPALIVE] = self.last_sent + <double> self.shared.config.keepalive
        for timer in range(TIMER_COUNT):
            first = min(first, self.timers[timer])
        if first == INFINITY:
            self.shared.timers.cancel(self)
        else:
            self.shared.timers.schedule(self, first)
        return True

    cdef bint fire_timers(self) except False:
        """Do what the timers that are due ask for."""
        cdef double now = self.shared.now
        if self.timers[LINGER] <= now:
            return self.leave()
        if self.timers[GIVE_UP] <= now:
            self.timers[GIVE_UP] = INFINITY
            if self.state == SYN_RECEIVED:
                return self.leave()
            if self.reader_gone and self.fin_acknowledged:
                self.emit_bare(ST_RESET, self.send_id, self.sending.next)
                return self.end(CloseReason.ABORTED)
            return self.end(CloseReason.TIMED_OUT)
        if self.timers[RETRANSMIT] <= now:
            self.timers[RETRANSMIT] = INFINITY
            self.fire_retransmit()
        if self.timers[PROBE] <= now:
            self.timers[PROBE] = INFINITY
            self.probe_needed = True
            self.backoff += 1
            self.unsettle()
        if self.timers[KEEPALIVE] <= now:
            # An acknowledgement of the packet before the last: old news, that keeps the path open.
            self.emit_state(self.receiving.ack_nr - 1)
        return self.arrange_timers()

    cdef bint fire_retransmit(self) except False:
        if self.state == SYN_SENT:
            self.syn_needed = True
        elif self.sending.outstanding():
            self.sending.mark_all_lost()
            if self.peer_window and self.backoff == 0:
                self.congestion.on_timeout(self.shared.now)
            self.recovering = True
            self.recovery_end = self.sending.next
            self.duplicate_acks = 0
        self.backoff += 1
        return self.unsettle()

    # Ending.

    cdef bint tell(self, event) except False:
        self.shared.events.append(event)
        return True

    cdef bint maybe_finish(self) except False:
        """End in peace when both sides have finished; linger to acknowledge the peer's FIN again if it asks."""
        cdef int timer
        if self.state == CONNECTED and self.fin_acknowledged and self.receiving.finished:
            self.state = CLOSED
            self.close_reason = CloseReason.FINISHED
            self.tell(ConnectionClosed(self, CloseReason.FINISHED, 0))
            for timer in range(TIMER_COUNT):
                self.timers[timer] = INFINITY
            self.timers[LINGER] = self.shared.now + max(LINGER_TIME, 2 * self.timeout)
            self.unsettle()
        return True

    cdef bint end(self, reason) except False:
        """End at once, and tell what was not delivered."""
        if self.state == SYN_RECEIVED:
            return self.leave()
        self.state = CLOSED
        self.close_reason = reason
        self.tell(ConnectionClosed(self, reason, self.unacknowledged))
        return self.leave()

    cdef bint leave(self) except False:
        """Leave the endpoint's tables and timers."""
        cdef int timer
        if self.state == SYN_RECEIVED:
            self.shared.half_open -= 1
            self.state = CLOSED
        for timer in range(TIMER_COUNT):
            self.timers[timer] = INFINITY
        self.shared.timers.cancel(self)
        self.shared.finished.append(self)
        return True
