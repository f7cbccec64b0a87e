"""The figures of a connection at one moment."""

from dataclasses import dataclass

__all__ = ["UtpStats"]


@dataclass(frozen=True, slots=True)
class UtpStats:
    """The figures of a connection at one moment; bytes are payload, times are seconds, rates bytes a second.

    `state` as in UtpConnection; `congestion_state`: slow_start, congestion_avoidance or recovery.
    `bytes_sent` counts each byte once, `packets_sent` each packet as often as it was sent;
    `packets_retransmitted` were sent again, `packets_duplicated` were received again. Why packets were to be
    sent again: `lost_by_reordering`, later ones had arrived (RFC 6675); `lost_by_time`, and they were overdue
    (RFC 8985); `lost_by_timeout`; `tail_probes`, to be told what is lost (RFC 8985). `timeouts`: how often
    the retransmission timer ran out. `rtt`, `rtt_variation`, `min_rtt`: None before the first sample.
    `queueing_delay`: what the congestion controller sees, None before the first sample. `base_delay`: the
    least one-way delay that LEDBAT has seen; the two clocks differ, so only its changes mean anything.
    `window`: the congestion window; `slow_start_threshold`: None if there is none. `in_flight`: bytes
    believed to be in the network. `unacknowledged`: all that `send` took and the peer has not acknowledged.
    `peer_window`, `receive_window`: what each side last advertised; `peer_window_closures`,
    `receive_window_closures`: how often that became 0. `delivery_rate`: how fast the path delivered last,
    `pacing_rate`: how fast packets may leave, None while it isn't known. `max_datagram`: largest UDP payload
    of packets now, as far as is known of the path.
    """

    state: str
    congestion_control: str
    congestion_state: str
    bytes_sent: int
    bytes_received: int
    packets_sent: int
    packets_received: int
    packets_retransmitted: int
    packets_duplicated: int
    lost_by_reordering: int
    lost_by_time: int
    lost_by_timeout: int
    tail_probes: int
    timeouts: int
    rtt: float | None
    rtt_variation: float | None
    min_rtt: float | None
    queueing_delay: float | None
    base_delay: float | None
    window: int
    slow_start_threshold: int | None
    in_flight: int
    unacknowledged: int
    readable: int
    peer_window: int
    peer_window_closures: int
    receive_window: int
    receive_window_closures: int
    delivery_rate: float | None
    pacing_rate: float | None
    max_datagram: int
