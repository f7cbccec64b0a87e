"""All uTP connections of one socket: which packet is whose, who may come in, and what is due when."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcmp

from pknet._core.transmit cimport Transmit, join_runs
from pknet._core.utp_config cimport UtpConfig, check_log
from pknet._core.utp_connection cimport CLOSED, CONNECTED, SYN_SENT, UtpConnection
from pknet._core.utp_log cimport hand_out
from pknet._core.utp_metrics cimport change_log
from pknet._core.utp_packet cimport (
    HEADER_SIZE, ST_DATA, ST_RESET, ST_SYN, HeaderFields, PacketHeader, bare_packet, read_packet,
)
from pknet._core.utp_path_mtu cimport PathMtu
from pknet._core.utp_shared cimport Shared

from pknet._core.stun_address import source_of
from pknet._core.utp_config import UtpConfig as Config
from pknet._core.utp_events import CloseReason
from pknet.errors import PknetError, StateError

cdef enum:
    # So many ids are tried at random before a dial is refused.
    ID_ATTEMPTS = 64
    # Where a header has the connection id (BEP 29).
    CONNECTION_ID_AT = 2


class TooManyConnections(PknetError):
    """The endpoint has as many connections as it may have, or no connection id is free for that peer."""


cdef class UtpEndpoint:
    """The uTP side of a socket: dials, accepts, and hands each packet to its connection.

    `token_bytes(n)` gives n random bytes: connection ids and first sequence numbers must not be guessable. A
    remote is any hashable handle, usually (host, port).
    """

    cdef Shared shared
    cdef object token_bytes
    # remote -> receive id -> connection
    cdef dict connections_of
    cdef Py_ssize_t count
    # source -> how many connections came in from it
    cdef dict count_of
    # Whether SYNs are answered; may be changed at any time.
    cdef public bint accepting
    cdef double resets_since
    cdef int resets

    def __cinit__(self, token_bytes, config=None):
        self.shared = Shared(Config() if config is None else config)
        self.token_bytes = token_bytes
        self.accepting = self.shared.config.accept
        self.connections_of = {}
        self.count_of = {}
        self.resets_since = -INFINITY

    # What the program may ask.

    @property
    def config(self):
        """The settings."""
        return self.shared.config

    @property
    def counters(self):
        """What was dropped or refused."""
        return self.shared.counters

    @property
    def connections(self):
        """The connections in the tables, half-open and lingering ones included."""
        return [connection for group in self.connections_of.values() for connection in group.values()]

    def connections_with(self, remote):
        """Return the connections with one remote, half-open and lingering ones included."""
        return list(self.connections_of.get(remote, {}).values())

    def __len__(self):
        return self.count

    @property
    def places(self):
        """How many connections may yet come in, None for any number; each that is accepted takes one.

        While there is none, those who want in are not answered, and try again: set it as the program takes
        what it was given, and it is never given more than it can take. Who was told that the connection is
        open, and waits for this side to speak, comes in when it is set, which may make an event.
        """
        return None if self.shared.places < 0 else self.shared.places

    @places.setter
    def places(self, places):
        if places is not None and places < 0:
            raise ValueError(f"places must not be negative, not {places}")
        self.shared.places = -1 if places is None else places
        if self.shared.places:
            self.let_in()

    @property
    def open_log(self):
        """What opens the log of each new connection, or None, as in UtpConfig; may be set at any time."""
        return self.shared.open_log

    @open_log.setter
    def open_log(self, open_log):
        self.shared.open_log = check_log(open_log)

    # The verbs.

    def connect(self, remote, double now, local=None, *, max_datagram=None):
        """Dial `remote` and return the connection; ConnectionOpened or ConnectionClosed tells how it went.

        `max_datagram`: largest UDP payload on this path, if it is not what the settings say. Raises
        TooManyConnections if the tables are full, ValueError if `max_datagram` makes no sense.
        """
        cdef UtpConnection connection
        cdef PathMtu path
        cdef uint16_t receive_id
        self.shared.advance(now)
        if self.count >= self.shared.config.max_connections:
            raise TooManyConnections(f"the endpoint has {self.count} connections")
        receive_id = self.free_id(remote)
        path = self.shared.config.path_to(remote, max_datagram)
        connection = UtpConnection(self.shared, remote, local, path)
        connection.start_connecting(receive_id, self.random_u16())
        change_log(connection, connection.outlet, self.shared.open_log, None)
        self.add(connection)
        return connection

    def rebind(self, UtpConnection connection not None, remote, double now, local=None, *, max_datagram=None):
        """Move a connection to another path: from now on its peer is `remote` and it leaves by `local`.

        What is in flight is sent again, and nothing that was learnt of the old path is kept. The peer has to
        know `remote`'s other end before packets arrive from there, or it answers them with a RESET; packets
        that still come from the old remote are those of a stranger. Raises StateError if the connection is
        over, or if another one has its id with `remote`; ValueError if `max_datagram` makes no sense.
        """
        cdef dict group
        cdef PathMtu path
        self.shared.advance(now)
        path = self.shared.config.path_to(remote, max_datagram)
        group = <dict> self.connections_of.get(connection.outlet.remote)
        if connection.state == CLOSED or group is None or group.get(connection.receive_id) is not connection:
            raise StateError("the connection is over")
        if remote != connection.outlet.remote:
            if connection.receive_id in self.connections_of.get(remote, ()):
                raise StateError(f"another connection with {remote!r} has the same id")
            self.remove(connection)
            connection.outlet.remote = remote
            self.add(connection)
        connection.outlet.local = local
        connection.sender.take_path(path)
        connection.tuner.take_path()
        if connection.handshake is not None:
            connection.handshake.is_due = connection.state == SYN_SENT
        connection.unsettle()

    def receive_datagram(self, data, remote, local, double now):
        """Take a datagram; what is not uTP is dropped and counted."""
        cdef Py_buffer view
        self.shared.advance(now)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.receive_all(<const uint8_t*> view.buf, view.len, max(view.len, 1), remote, local)
        finally:
            PyBuffer_Release(&view)

    def receive_segments(self, data, Py_ssize_t segment_size, remote, local, double now):
        """Take a run of datagrams of `segment_size` bytes, of which the last may be shorter (a GRO buffer).

        Raises ValueError if `segment_size` is not positive.
        """
        cdef Py_buffer view
        if segment_size <= 0:
            raise ValueError(f"segment_size must be positive, not {segment_size}")
        self.shared.advance(now)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.receive_all(<const uint8_t*> view.buf, view.len, segment_size, remote, local)
        finally:
            PyBuffer_Release(&view)

    def receive_packet_too_big(self, data, max_datagram, remote, local, double now):
        """Take word that a datagram is too long for the path: a router's (ICMP), or the system's (EMSGSIZE).

        `data`: what the message quotes of the datagram, from its first byte; a word of none that is in flight
        is not believed. `max_datagram`: largest UDP payload that passes, None if it doesn't say; it is never
        taken for more than was known, nor for less than every path carries. Nothing depends on such messages.
        They save a round trip or two.
        """
        cdef Py_buffer view
        cdef PacketHeader packet
        cdef UtpConnection connection = None
        cdef Py_ssize_t passes = 0 if max_datagram is None else max(max_datagram, 1)
        self.shared.advance(now)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if read_packet(<const uint8_t*> view.buf, view.len, &packet) and packet.type == ST_DATA:
                connection = self.find_sender(<dict> self.connections_of.get(remote), packet.connection_id)
        finally:
            PyBuffer_Release(&view)
        if connection is None or not connection.sender.refuse(packet.seq_nr, passes, self.shared.now):
            self.shared.counters.implausible += 1
        else:
            connection.unsettle()

    def receive_unreachable(self, data, remote, local, double now):
        """Take word that nobody has the port that a datagram was for (ICMP, port unreachable).

        `data`: what the message quotes of the datagram, from its first byte. Such messages can be forged, so
        they end only a dial, and only if they quote its SYN (RFC 1122 section 4.2.3.9, RFC 5927 section 4).
        """
        cdef Py_buffer view
        cdef PacketHeader packet
        cdef UtpConnection connection = None
        self.shared.advance(now)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if read_packet(<const uint8_t*> view.buf, view.len, &packet) and packet.type == ST_SYN:
                connection = <UtpConnection> self.connections_of.get(remote, {}).get(packet.connection_id)
        finally:
            PyBuffer_Release(&view)
        if (
            connection is None
            or connection.state != SYN_SENT
            or packet.seq_nr != connection.handshake.syn_seq_nr
        ):
            self.shared.counters.implausible += 1
        else:
            connection.end(CloseReason.REFUSED)
            self.remove_finished()

    def handle_timeout(self, double now):
        """Do what is due at `now`."""
        cdef UtpConnection connection
        self.shared.advance(now)
        while True:
            connection = <UtpConnection> self.shared.timers.first()
            if connection is None or connection.deadline > self.shared.now:
                break
            connection.fire_timers()
        self.remove_finished()

    def next_timeout(self):
        """Return when `handle_timeout` is due, None if never; ask after `transmits`, which moves timers."""
        cdef UtpConnection connection = <UtpConnection> self.shared.timers.first()
        return None if connection is None else connection.deadline

    @property
    def next_timer(self):
        """The name of the timer that `next_timeout` speaks of, None if none is set."""
        cdef UtpConnection connection = <UtpConnection> self.shared.timers.first()
        return None if connection is None else connection.next_timer

    def transmits(self):
        """Take what is to be sent."""
        cdef UtpConnection connection
        cdef list taken = self.shared.unsettled
        cdef Py_ssize_t settled = 0
        self.shared.unsettled = []
        try:
            for connection in taken:
                connection.settle()
                settled += 1
        finally:
            if settled < len(taken):
                # There was no memory for it: the others first, next time.
                self.shared.unsettled += taken[settled + 1 :] + taken[settled : settled + 1]
        # The program may have aborted some since the last datagram.
        self.remove_finished()
        taken = self.shared.transmits
        self.shared.transmits = []
        if self.shared.records:
            hand_out(self.shared)
        return join_runs(taken) if len(taken) > 1 else taken

    def events(self):
        """Take what has happened."""
        cdef list taken = self.shared.events
        self.shared.events = []
        return taken

    # Receiving.

    cdef bint receive_all(
        self, const uint8_t* data, Py_ssize_t size, Py_ssize_t segment_size, remote, local
    ) except False:
        """Take a run of datagrams from one remote."""
        cdef dict group = <dict> self.connections_of.get(remote)
        cdef UtpConnection connection = None
        cdef PacketHeader packet
        cdef Py_ssize_t offset = 0
        cdef Py_ssize_t stretch = 0
        cdef Py_ssize_t part
        while True:
            part = min(segment_size, size - offset)
            if not read_packet(data + offset, part, &packet):
                self.shared.counters.malformed += 1
            elif packet.type == ST_SYN:
                self.receive_syn(&packet, remote, local)
                group = <dict> self.connections_of.get(remote)
                connection = None
            else:
                if connection is None or connection.receive_id != packet.connection_id:
                    connection = self.find(group, &packet)
                if connection is None:
                    self.refuse(&packet, remote, local)
                else:
                    if stretch <= offset:
                        stretch = end_of_stretch(data, offset, size, segment_size)
                    connection.receive(&packet, stretch - offset - HEADER_SIZE)
            offset += part
            if offset >= size:
                break
        return self.remove_finished()

    cdef UtpConnection find(self, dict group, const PacketHeader* packet):
        """Return whose packet this is, or None."""
        cdef object found
        if group is None:
            return None
        found = group.get(packet.connection_id)
        if found is None and packet.type == ST_RESET:
            # A peer that does not know the connection echoes the id that it was sent.
            return self.find_sender(group, packet.connection_id)
        return <UtpConnection> found

    cdef UtpConnection find_sender(self, dict group, uint16_t send_id):
        """Return whose packets carry this id, or None."""
        cdef object found
        cdef int shift
        if group is not None:
            for shift in (-1, 1):
                found = group.get(<uint16_t> (send_id + shift))
                if found is not None and (<UtpConnection> found).outlet.send_id == send_id:
                    return <UtpConnection> found
        return None

    cdef bint receive_syn(self, const PacketHeader* packet, remote, local) except False:
        cdef UtpConnection connection
        cdef dict group = <dict> self.connections_of.get(remote)
        cdef uint16_t receive_id = packet.connection_id + 1
        if group is not None and receive_id in group:
            connection = <UtpConnection> group[receive_id]
            if not connection.is_initiator:
                return connection.repeat_syn_ack(packet)
            # Both sides dial, and have chosen neighbouring ids: the peer has to choose another one.
        elif self.accepting and self.shared.places == 0:
            self.shared.counters.deferred += 1
            return True
        elif self.accepting:
            return self.accept(packet, remote, local)
        self.shared.counters.refused += 1
        return self.reset(packet, remote, local)

    cdef bint accept(self, const PacketHeader* packet, remote, local) except False:
        cdef UtpConnection connection
        cdef UtpConfig config = self.shared.config
        if len(self.shared.half_open) >= config.max_half_open:
            # Those whom a flood leaves behind are the oldest: who is real answers within a round trip.
            connection = <UtpConnection> next(iter(self.shared.half_open))
            connection.give_up()
            self.remove_finished()
        source = source_of_remote(remote)
        if (
            self.count >= config.max_connections
            or self.count_of.get(source, 0) >= config.max_connections_of_source
        ):
            self.shared.counters.refused += 1
            return True
        connection = UtpConnection(self.shared, remote, local, self.shared.config.path_to(remote, None))
        connection.start_accepting(packet, self.random_u16())
        connection.source = source
        self.count_of[source] = self.count_of.get(source, 0) + 1
        self.shared.half_open[connection] = None
        return self.add(connection)

    cdef bint refuse(self, const PacketHeader* packet, remote, local) except False:
        """Answer a packet of a connection that does not exist."""
        self.shared.counters.unknown_connection += 1
        if packet.type == ST_RESET:
            return True
        return self.reset(packet, remote, local)

    cdef bint reset(self, const PacketHeader* packet, remote, local) except False:
        """Send a RESET, unless so many were sent this second that somebody may be using us to.

        None that the peer would take for that of a live connection: who forges a packet could have it ended.
        """
        cdef HeaderFields header
        cdef dict group = <dict> self.connections_of.get(remote)
        cdef UtpConnection named = self.find_sender(group, packet.connection_id)
        if named is None and group is not None:
            named = <UtpConnection> group.get(packet.connection_id)
        if named is not None and named.state == CONNECTED:
            self.shared.counters.implausible += 1
            return True
        if self.shared.now - self.resets_since >= 1:
            self.resets_since = self.shared.now
            self.resets = 0
        if self.resets >= self.shared.config.max_resets_per_second:
            return True
        self.resets += 1
        self.shared.counters.resets_sent += 1
        header.connection_id = packet.connection_id
        header.ack_nr = packet.seq_nr
        header.timestamp = header.timestamp_difference = header.wnd_size = 0
        self.shared.transmits.append(
            Transmit(bare_packet(ST_RESET, &header, self.random_u16()), remote, local)
        )
        return True

    # Tables.

    cdef uint16_t random_u16(self) except? 0:
        cdef bytes token = self.token_bytes(2)
        if token is None or len(token) != 2:
            raise ValueError("token_bytes(2) did not return 2 bytes")
        return <uint16_t> ((token[0] << 8) | token[1])

    cdef uint16_t free_id(self, remote) except? 0:
        """Return a receive id such that neither it nor the ones beside it are in use with `remote`."""
        cdef dict group = self.connections_of.get(remote)
        cdef uint16_t receive_id
        cdef int _attempt
        for _attempt in range(ID_ATTEMPTS):
            receive_id = self.random_u16()
            if group is None or not any((receive_id + shift) & 0xFFFF in group for shift in (-1, 0, 1)):
                return receive_id
        raise TooManyConnections(f"no connection id is free for {remote!r}")

    cdef bint add(self, UtpConnection connection) except False:
        self.connections_of.setdefault(connection.outlet.remote, {})[connection.receive_id] = connection
        self.count += 1
        return True

    cdef bint remove(self, UtpConnection connection) except False:
        cdef dict group = <dict> self.connections_of.get(connection.outlet.remote)
        if group is not None and group.get(connection.receive_id) is connection:
            del group[connection.receive_id]
            self.count -= 1
            if not group:
                del self.connections_of[connection.outlet.remote]
        return True

    cdef bint let_in(self) except False:
        """Accept those who have proven themselves and wait for a place."""
        cdef UtpConnection connection
        for connection in list(self.shared.half_open):
            if self.shared.places == 0:
                break
            if connection.handshake.is_proven:
                connection.accept()
        return True

    cdef bint remove_finished(self) except False:
        cdef UtpConnection connection
        while self.shared.finished:
            connection = <UtpConnection> self.shared.finished.pop()
            self.remove(connection)
            if connection.source is not None:
                self.count_of[connection.source] -= 1
                if not self.count_of[connection.source]:
                    del self.count_of[connection.source]
                connection.source = None
        return True


cdef Py_ssize_t end_of_stretch(
    const uint8_t* data, Py_ssize_t offset, Py_ssize_t size, Py_ssize_t segment_size
) noexcept:
    """Return where the datagrams of a run end that are of one connection with the one at `offset`."""
    cdef const uint8_t* first = data + offset
    while True:
        offset += segment_size
        if offset + HEADER_SIZE > size:
            return size
        if memcmp(first + CONNECTION_ID_AT, data + offset + CONNECTION_ID_AT, 2):
            return offset


cdef object source_of_remote(remote):
    """Return whose connections are counted together, never None."""
    if isinstance(remote, tuple) and remote and isinstance(remote[0], str):
        try:
            return source_of(remote[0])
        except ValueError:
            pass
    return (remote,)
