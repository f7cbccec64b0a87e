"""The figures of a connection at one moment."""

from dataclasses import dataclass

__all__ = ["UtpStats"]


@dataclass(frozen=True, slots=True)
class UtpStats:
    """The figures of a connection at one moment; bytes are payload, times are seconds.

    `bytes_sent` counts each byte once, `packets_sent` each packet as often as it was sent;
    `packets_retransmitted` were sent again, `packets_duplicated` were received again. `timeouts`: how often
    the retransmission timer ran out. `rtt`, `rtt_variation`, `min_rtt`: None before the first sample.
    `window`: the congestion window. `peer_window`, `receive_window`: what each side last advertised.
    `in_flight`: bytes believed to be in the network. `unacknowledged`: all that `send` took and the peer has
    not acknowledged. `queueing_delay`: what LEDBAT sees, None before the first sample. `max_datagram`:
    largest UDP payload sent.
    """

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
