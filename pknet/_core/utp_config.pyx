"""What a program may set for the connections of an endpoint."""

cdef enum:
    # libutp's ceiling for IPv4: what is left of 1500 bytes after PPPoE, IP and UDP and some tunnels.
    MAX_DATAGRAM = 1402
    MIN_MAX_DATAGRAM = 150


cdef class UtpConfig:
    """Settings of an endpoint's connections; times are seconds, sizes are bytes.

    `max_datagram`: largest UDP payload sent. `receive_buffer`: what a peer may send ahead of the reader, the window
    that is advertised. `send_buffer`: what `send` takes ahead of the network. `ledbat_target`: queueing delay that
    LEDBAT aims at (RFC 6817). `connect_timeout`: how long a SYN is repeated. `half_open_timeout`: how long an
    incoming connection may stay unproven. `initial_timeout`, `min_timeout`, `max_timeout`: bounds of the
    retransmission timer (RFC 6298). `peer_timeout`: how long a peer that owes an acknowledgement may be silent.
    `keepalive`: interval of packets on an idle connection, None for none. `max_connections`, `max_half_open`:
    limits of the endpoint's tables; a SYN beyond them is dropped. `max_resets_per_second`: how often strangers are
    told that a connection is unknown. `accept`: whether SYNs are answered. `nagle`: hold back a partial packet while
    others are in flight (RFC 896).

    Raises ValueError if a value makes no sense.
    """

    def __init__(
        self,
        *,
        Py_ssize_t max_datagram=MAX_DATAGRAM,
        Py_ssize_t receive_buffer=1 << 20,
        Py_ssize_t send_buffer=1 << 20,
        double ledbat_target=0.1,
        double connect_timeout=20.0,
        double half_open_timeout=10.0,
        double initial_timeout=1.0,
        double min_timeout=0.5,
        double max_timeout=60.0,
        double peer_timeout=30.0,
        keepalive=29.0,
        Py_ssize_t max_connections=65536,
        Py_ssize_t max_half_open=1024,
        int max_resets_per_second=100,
        bint accept=True,
        bint nagle=False,
    ):
        if not MIN_MAX_DATAGRAM <= max_datagram <= 65507:
            raise ValueError(f"max_datagram must be {MIN_MAX_DATAGRAM} to 65507, not {max_datagram}")
        # Above this, packets in flight could span half of the 16-bit sequence numbers.
        if not max_datagram <= receive_buffer <= 32 << 20:
            raise ValueError(f"receive_buffer must be {max_datagram} bytes to 32 MiB, not {receive_buffer}")
        if send_buffer < 1:
            raise ValueError(f"send_buffer must be positive, not {send_buffer}")
        if not 0 < min_timeout <= initial_timeout <= max_timeout:
            raise ValueError("0 < min_timeout <= initial_timeout <= max_timeout does not hold")
        if min(ledbat_target, connect_timeout, half_open_timeout, peer_timeout) <= 0:
            raise ValueError("times must be positive")
        if keepalive is not None and not keepalive > 0:
            raise ValueError("keepalive must be positive or None")
        if max_connections < 1 or max_half_open < 1 or max_resets_per_second < 0:
            raise ValueError("limits must be positive")
        self.max_datagram = max_datagram
        self.receive_buffer = receive_buffer
        self.send_buffer = send_buffer
        self.ledbat_target = ledbat_target
        self.connect_timeout = connect_timeout
        self.half_open_timeout = half_open_timeout
        self.initial_timeout = initial_timeout
        self.min_timeout = min_timeout
        self.max_timeout = max_timeout
        self.peer_timeout = peer_timeout
        self.keepalive = keepalive
        self.max_connections = max_connections
        self.max_half_open = max_half_open
        self.max_resets_per_second = max_resets_per_second
        self.accept = accept
        self.nagle = nagle
