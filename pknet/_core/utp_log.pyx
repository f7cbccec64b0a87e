"""The log of one connection: what it sent, received, lost and waited for, as events in the shape of qlog
(draft-ietf-quic-qlog-main-schema).

Nothing of it is made unless somebody wants it: a connection without a log tests one pointer for each run of
packets. What happens is noted at once and told later, when the endpoint's transmits have been taken: so what
takes the events may raise, or call a verb, and harms no connection. Packets of one run are one event.

Times in the data are milliseconds, rates bits a second, as qlog has them; sizes are bytes of payload.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from pknet._core.utp_packet cimport ST_DATA, ST_FIN, read_packet, seq_before
from pknet._core.utp_timers cimport PACE, TIMER_COUNT

from pknet._core.utp_timers import NAMES as TIMERS

PACKET_TYPES = ("data", "fin", "state", "reset", "syn")
TRIGGERS = (
    "reordering_threshold", "time_threshold", "timeout", "tail_probe", "window_opened", "path_changed",
    "packet_too_big",
)


cdef class EventLog:
    """Notes what happens to a connection, for `sink`, or for what `open_log(connection)` returns."""

    def __cinit__(self, Shared shared not None, connection, open_log, sink, uint16_t next_seq_nr):
        self.shared = shared
        self.connection = connection
        self.open_log = open_log
        self.sink = sink
        self.next_seq_nr = next_seq_nr
        self.parameters = {}
        self.metrics = {}

    cdef void packets_sent(self, bytes run, Py_ssize_t segment_size) noexcept:
        """Note packets that stand back to back, as they go on the wire."""
        cdef const uint8_t* start = <const uint8_t*> PyBytes_AS_STRING(run)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(run)
        cdef Py_ssize_t offset = 0
        cdef PacketHeader packet
        cdef bint again, is_numbered
        while offset < size and read_packet(start + offset, min(segment_size, size - offset), &packet):
            # A DATA without payload is a question whether the peer is there, and takes no number.
            is_numbered = packet.type == ST_FIN or (packet.type == ST_DATA and packet.payload_size > 0)
            again = is_numbered and seq_before(packet.seq_nr, self.next_seq_nr)
            if is_numbered and not again:
                self.next_seq_nr = packet.seq_nr + 1
            self.tell_packet("utp:packet_sent", &packet, again)
            offset += segment_size

    cdef void packet_received(self, const PacketHeader* packet) noexcept:
        """Note a packet that came, and was believed."""
        self.tell_packet("utp:packet_received", packet, False)

    cdef void packet_lost(self, uint16_t seq_nr, Py_ssize_t size, LossCause cause) noexcept:
        """Note a packet that is to be sent again."""
        cdef tuple kind = ("utp:packet_lost", cause)
        cdef dict data
        if self.is_wanted() and not self.join(kind, seq_nr, size):
            data = {"seq_nr": seq_nr, "size": size, "count": 1, "trigger": TRIGGERS[<int> cause]}
            self.add("utp:packet_lost", data)
            self.begin_run(data, kind, seq_nr, size)

    cdef void timers_fired(self, TimerTable timers) noexcept:
        """Note which timers are due; not the one that paces, for what it brings is a run by itself."""
        cdef int timer
        for timer in range(TIMER_COUNT):
            if timer != PACE and timers.at[timer] <= self.shared.now:
                self.add("utp:timer_fired", {"timer": TIMERS[timer]})

    cdef bint is_wanted(self) noexcept:
        """Return whether anybody takes the events."""
        return self.sink is not None or self.open_log is not None

    cdef void add(self, str name, dict data) noexcept:
        """Note an event."""
        self.run = None
        if self.is_wanted():
            self.shared.records.append((self, self.shared.now, name, data))

    # Runs.

    cdef bint tell_packet(self, str name, const PacketHeader* packet, bint again) except False:
        """Note a packet, with those before it if they are alike."""
        cdef tuple kind = (name, packet.ack_nr, packet.wnd_size, again)
        cdef bint is_plain = packet.type == ST_DATA and packet.selective_ack == NULL
        cdef dict data
        if not self.is_wanted() or is_plain and self.join(kind, packet.seq_nr, packet.payload_size):
            return True
        data = {
            "packet_type": PACKET_TYPES[packet.type],
            "seq_nr": packet.seq_nr,
            "ack_nr": packet.ack_nr,
            "wnd_size": packet.wnd_size,
            "timestamp_difference": packet.timestamp_difference,
            "size": packet.payload_size,
            "count": 1,
        }
        if packet.selective_ack != NULL:
            data["selective_ack"] = ranges_of(packet)
        if again:
            data["retransmission"] = True
        self.add(name, data)
        if is_plain:
            self.begin_run(data, kind, packet.seq_nr, packet.payload_size)
        return True

    cdef bint join(self, tuple kind, uint16_t seq_nr, Py_ssize_t size) except -1:
        """Add a packet to the newest event if it goes on with that; return whether it does."""
        if (
            self.run is None or seq_nr != self.run_next or size > self.run_size
            or self.run_time != self.shared.now or kind != self.run_kind
        ):
            return False
        self.run["size"] += size
        self.run["count"] += 1
        self.run_next += 1
        if size < self.run_size:
            # All but the last of a run are equal.
            self.run = None
        return True

    cdef bint begin_run(self, dict data, tuple kind, uint16_t seq_nr, Py_ssize_t size) except False:
        """Let the next packet join an event that was just added."""
        self.run = data
        self.run_kind = kind
        self.run_next = seq_nr + 1
        self.run_size = size
        self.run_time = self.shared.now
        return True

    # Telling.

    cdef void write(self, time, name, data) noexcept:
        """Tell an event. What the program raises goes to sys.unraisablehook, and ends its log."""
        cdef object opening = self.open_log
        self.run = None
        try:
            if opening is not None:
                self.open_log = None
                self.sink = opening(self.connection)
            if self.sink is not None:
                self.sink(time, name, data)
        except BaseException:
            self.sink = None
            raise


cdef bint hand_out(Shared shared) except False:
    """Tell what the logs have noted, in the order in which it happened."""
    cdef list records = shared.records
    shared.records = []
    for log, time, name, data in records:
        (<EventLog> log).write(time, name, data)
    return True


cdef list ranges_of(const PacketHeader* packet):
    """Return what a selective ACK acknowledges, as [first, last] for each range."""
    cdef list ranges = []
    cdef list newest
    cdef Py_ssize_t bit
    cdef uint16_t seq_nr
    for bit in range(packet.selective_ack_size * 8):
        if packet.selective_ack[bit >> 3] & (1 << (bit & 7)):
            seq_nr = <uint16_t> (packet.ack_nr + 2 + bit)
            newest = ranges[len(ranges) - 1] if ranges else None
            if newest is not None and newest[1] == <uint16_t> (seq_nr - 1):
                newest[1] = seq_nr
            else:
                ranges.append([seq_nr, seq_nr])
    return ranges
