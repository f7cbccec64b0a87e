"""What a program may set for the connections of an endpoint."""

from libc.math cimport INFINITY

cdef enum:
    # libutp's ceiling for IPv4: what is left of 1500 bytes after PPPoE, IP and UDP and some tunnels.
    MAX_DATAGRAM = 1402
    # What IPv6 carries everywhere (RFC 8200 section 5: 1280 bytes), for its routers don't fragment.
    MAX_DATAGRAM_IPV6 = 1232
    MIN_MAX_DATAGRAM = 150
    # The longest datagram that UDP over IPv4 has.
    MAX_MAX_DATAGRAM = 65507
    FIRST_BUFFER = 1048576
    FIRST_SEND_BUFFER = 65536
    # Above this, packets in flight could span half of the 16-bit sequence numbers.
    MAX_BUFFER = 33554432
    # What every IPv4 host takes, whole or in fragments (RFC 791: 576 bytes), and what IPv6 carries whole.
    MIN_DATAGRAM = 548
    MIN_DATAGRAM_IPV6 = 1232

CONTROLLERS = ("ledbat", "ledbat++", "cubic", "bbr")

# Shorter times drown in the rounding of a clock that has run for years.
cdef double SHORTEST_TIME = 0.001

# What a sender that is to probe for a lost tail has to expect (RFC 9293 section 3.8.6.3).
cdef double MAX_ACK_DELAY = 0.5


cdef class UtpConfig:
    """Settings of an endpoint's connections; times are seconds, sizes are bytes.

    `max_datagram`: largest UDP payload sent. `max_datagram_ipv6`: the same where the remote is (host,
    port) with an IPv6 host, if that is less. `path_mtu_discovery`: find out how much of that a path
    carries (RFC 8899); without, that is what is sent, and routers may fragment it. `receive_buffer`: what
    a peer may send ahead of the reader, the window that is advertised; None for 1 MiB that grows up to 32
    MiB with the path and the reader. `send_buffer`: what `send` takes ahead of the network; None for 64
    KiB that grow to twice the congestion window, up to 32 MiB. `buffer_growth`: by how much all receive
    buffers together may have grown. `congestion_control`: "ledbat", "ledbat++", "cubic" or "bbr"; a
    connection may be given another. `ledbat_target`: queueing delay that LEDBAT aims at (RFC 6817; the
    draft of LEDBAT++ has 0.06). `ledbat_gain`: segments that LEDBAT's window may grow by in a round trip
    (RFC 6817: 1); None for the 3000 bytes of libutp and libtorrent. `connect_timeout`: how long a SYN is
    repeated. `half_open_timeout`: how long an incoming connection may stay unproven; libutp's initiator,
    if it has nothing to say, proves itself by its keepalive after 29 seconds. `initial_timeout`,
    `min_timeout`, `max_timeout`: bounds of the retransmission timer (RFC 6298). `peer_timeout`: how long
    a peer that owes an acknowledgement may be silent. `ack_delay`: how long a single packet that came may
    wait for an answer that its acknowledgement rides on, 0 for not at all; two are acknowledged at once
    (RFC 9293 section 3.8.6.3). `keepalive`: interval of packets on an idle
    connection, None for none. `idle_timeout`: how long a peer that owes nothing may be silent; from half
    of it on it is asked whether it is there; None for as long as it likes. `max_connections`: beyond it a
    SYN is dropped. `max_connections_of_source`: the same for those that came in from one IPv4 address, or
    /56 of IPv6. `max_half_open`: beyond it the oldest half-open connection makes room.
    `max_resets_per_second`: how often strangers are told that a connection is unknown. `accept`: whether
    SYNs are answered. `nagle`: hold back a partial packet while others are in flight (RFC 896).
    `open_log(connection)`: called for each connection once it is dialled, or has been accepted; returns
    what takes the events of its log, as `UtpConnection.log`, or None.

    Raises ValueError if a value makes no sense, TypeError if `open_log` can't be called.
    """

    def __cinit__(
        self,
        *,
        Py_ssize_t max_datagram=MAX_DATAGRAM,
        Py_ssize_t max_datagram_ipv6=MAX_DATAGRAM_IPV6,
        bint path_mtu_discovery=True,
        receive_buffer=None,
        send_buffer=None,
        Py_ssize_t buffer_growth=256 << 20,
        str congestion_control not None="ledbat",
        ledbat_target=0.1,
        ledbat_gain=None,
        connect_timeout=20.0,
        half_open_timeout=35.0,
        initial_timeout=1.0,
        min_timeout=0.5,
        max_timeout=60.0,
        peer_timeout=30.0,
        double ack_delay=0.0,
        keepalive=29.0,
        idle_timeout=120.0,
        Py_ssize_t max_connections=65536,
        Py_ssize_t max_connections_of_source=8192,
        Py_ssize_t max_half_open=1024,
        int max_resets_per_second=100,
        bint accept=True,
        bint nagle=False,
        open_log=None,
        **unknown,
    ):
        for name in unknown:
            raise TypeError(f"UtpConfig() got an unexpected keyword argument {name!r}")
        for size in (max_datagram, max_datagram_ipv6):
            check_max_datagram(size)
        if receive_buffer is not None and not max_datagram <= receive_buffer <= MAX_BUFFER:
            raise ValueError(f"receive_buffer must be {max_datagram} bytes to 32 MiB, not {receive_buffer}")
        if send_buffer is not None and send_buffer < 1:
            raise ValueError(f"send_buffer must be positive, not {send_buffer}")
        if buffer_growth < 0:
            raise ValueError(f"buffer_growth must not be negative, not {buffer_growth}")
        for name, time in (
            ("ledbat_target", ledbat_target),
            ("connect_timeout", connect_timeout),
            ("half_open_timeout", half_open_timeout),
            ("initial_timeout", initial_timeout),
            ("min_timeout", min_timeout),
            ("max_timeout", max_timeout),
            ("peer_timeout", peer_timeout),
        ):
            check_time(name, time)
        for name, time in (("keepalive", keepalive), ("idle_timeout", idle_timeout)):
            if time is not None:
                check_time(name, time)
        if not 0 <= ack_delay <= MAX_ACK_DELAY:
            raise ValueError(f"ack_delay must be 0 to {MAX_ACK_DELAY} seconds, not {ack_delay}")
        if not min_timeout <= initial_timeout <= max_timeout:
            raise ValueError("min_timeout <= initial_timeout <= max_timeout does not hold")
        if ledbat_gain is not None and not 0 < ledbat_gain <= 16:
            raise ValueError(f"ledbat_gain must be above 0 and at most 16 segments, not {ledbat_gain}")
        if congestion_control not in CONTROLLERS:
            raise ValueError(f"congestion_control must be {CONTROLLERS}, not {congestion_control!r}")
        if min(max_connections, max_connections_of_source, max_half_open) < 1 or max_resets_per_second < 0:
            raise ValueError("limits must be positive")
        self.max_datagram = max_datagram
        self.max_datagram_ipv6 = max_datagram_ipv6
        self.path_mtu_discovery = path_mtu_discovery
        self.receive_buffer = receive_buffer
        self.send_buffer = send_buffer
        self.buffer_growth = buffer_growth
        self.first_receive_buffer = FIRST_BUFFER if receive_buffer is None else receive_buffer
        self.max_receive_buffer = MAX_BUFFER if receive_buffer is None else receive_buffer
        self.first_send_buffer = FIRST_SEND_BUFFER if send_buffer is None else send_buffer
        self.max_send_buffer = MAX_BUFFER if send_buffer is None else send_buffer
        self.congestion_control = congestion_control
        self.ledbat_target = ledbat_target
        self.ledbat_gain = ledbat_gain
        self.connect_timeout = connect_timeout
        self.half_open_timeout = half_open_timeout
        self.initial_timeout = initial_timeout
        self.min_timeout = min_timeout
        self.max_timeout = max_timeout
        self.peer_timeout = peer_timeout
        self.ack_delay = ack_delay
        self.keepalive = keepalive
        self.idle_timeout = idle_timeout
        self.keepalive_interval = INFINITY if keepalive is None else keepalive
        self.idle_time = INFINITY if idle_timeout is None else idle_timeout
        self.max_connections = max_connections
        self.max_connections_of_source = max_connections_of_source
        self.max_half_open = max_half_open
        self.max_resets_per_second = max_resets_per_second
        self.accept = accept
        self.nagle = nagle
        self.open_log = check_log(open_log)

    cdef PathMtu path_to(self, remote, max_datagram):
        """Return what is known of a path to a remote, of which only a (host, port) shows its address family.

        `max_datagram`: largest datagram on this path, None for that of the settings. Raises ValueError if it
        makes no sense.
        """
        cdef Py_ssize_t ceiling = self.max_datagram
        cdef Py_ssize_t floor = MIN_DATAGRAM
        if isinstance(remote, tuple) and remote and isinstance(remote[0], str) and ":" in remote[0]:
            ceiling = min(ceiling, self.max_datagram_ipv6)
            floor = MIN_DATAGRAM_IPV6
        if max_datagram is not None:
            ceiling = max_datagram
            check_max_datagram(ceiling)
        return PathMtu(ceiling, floor if self.path_mtu_discovery else ceiling)


cdef bint check_time(str name, time) except False:
    """Raise TypeError or ValueError if a setting is no time that a connection can wait for."""
    if not isinstance(time, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {time!r}")
    if not SHORTEST_TIME <= time < 1e9:
        raise ValueError(f"{name} must be at least {SHORTEST_TIME} and below 1e9 seconds, not {time}")
    return True


cdef bint check_max_datagram(Py_ssize_t size) except False:
    """Raise ValueError if a datagram can't be at most so long."""
    if not MIN_MAX_DATAGRAM <= size <= MAX_MAX_DATAGRAM:
        raise ValueError(f"max_datagram must be {MIN_MAX_DATAGRAM} to {MAX_MAX_DATAGRAM}, not {size}")
    return True


cpdef object check_log(log):
    """Return `log`; raise TypeError if it is neither None nor something to call."""
    if log is not None and not callable(log):
        raise TypeError(f"a log must be something to call, or None, not {log!r}")
    return log
