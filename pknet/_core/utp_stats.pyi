from dataclasses import dataclass

@dataclass(frozen=True)
class UtpStats:
    bytes_sent: int
    bytes_received: int
    packets_sent: int
    packets_received: int
    packets_retransmitted: int
    packets_duplicated: int
    timeouts: int
    rtt: float | None
    rtt_variation: float | None
    min_rtt: float | None
    window: int
    peer_window: int
    receive_window: int
    in_flight: int
    unacknowledged: int
    readable: int
    queueing_delay: float | None
    max_datagram: int
