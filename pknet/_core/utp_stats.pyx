"""The figures of a connection at one moment."""

from cython.dataclasses cimport dataclass


@dataclass(frozen=True)
cdef class UtpStats:
    """The figures of a connection at one moment; bytes are payload, times are seconds.

    `bytes_sent` counts each byte once, `packets_sent` each packet as often as it was sent,
    `packets_retransmitted` those that were sent again; `packets_duplicated` were received again. `timeouts`:
    how often the retransmission timer ran out. `rtt`, `rtt_variation`, `min_rtt`: None before the first
    sample. `window`: the congestion window. `peer_window`, `receive_window`: what each side last advertised.
    `in_flight`: bytes believed to be in the network; `unacknowledged`: these and those that wait to be sent.
    `queueing_delay`: what LEDBAT sees, None before the first sample. `max_datagram`: largest UDP payload
    sent.
    """

    bytes_sent: object
    bytes_received: object
    packets_sent: object
    packets_received: object
    packets_retransmitted: object
    packets_duplicated: object
    timeouts: object
    rtt: object
    rtt_variation: object
    min_rtt: object
    window: object
    peer_window: object
    receive_window: object
    in_flight: object
    unacknowledged: object
    readable: object
    queueing_delay: object
    max_datagram: object
