from collections.abc import Callable

from pknet._core.utp_connection import UtpConnection, _Log

class UtpConfig:
    max_datagram: int
    max_datagram_ipv6: int
    path_mtu_discovery: bool
    receive_buffer: int | None
    send_buffer: int | None
    buffer_growth: int
    congestion_control: str
    ledbat_target: float
    ledbat_gain: float | None
    connect_timeout: float
    half_open_timeout: float
    initial_timeout: float
    min_timeout: float
    max_timeout: float
    peer_timeout: float
    ack_delay: float
    keepalive: float | None
    idle_timeout: float | None
    max_connections: int
    max_connections_of_source: int
    max_half_open: int
    max_resets_per_second: int
    accept: bool
    nagle: bool
    open_log: Callable[[UtpConnection], _Log | None] | None

    def __init__(
        self,
        *,
        max_datagram: int = 1402,
        max_datagram_ipv6: int = 1232,
        path_mtu_discovery: bool = True,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
        buffer_growth: int = ...,
        congestion_control: str = "ledbat",
        ledbat_target: float = 0.1,
        ledbat_gain: float | None = None,
        connect_timeout: float = 20.0,
        half_open_timeout: float = 35.0,
        initial_timeout: float = 1.0,
        min_timeout: float = 0.5,
        max_timeout: float = 60.0,
        peer_timeout: float = 30.0,
        ack_delay: float = 0.0,
        keepalive: float | None = 29.0,
        idle_timeout: float | None = 120.0,
        max_connections: int = 65536,
        max_connections_of_source: int = 8192,
        max_half_open: int = 1024,
        max_resets_per_second: int = 100,
        accept: bool = True,
        nagle: bool = False,
        open_log: Callable[[UtpConnection], _Log | None] | None = None,
    ) -> None: ...

def check_log(log: object) -> object: ...
