import dataclasses
import threading

import pytest

from pknet.utp import UtpConfig, UtpStats
from tests.utp.peer import SEGMENT, Peer


def test_the_figures_of_a_fresh_connection() -> None:
    peer = Peer(wnd_size=50_000)
    assert peer.dial_and_prove(wnd_size=50_000).stats() == UtpStats(
        bytes_sent=0,
        bytes_received=0,
        packets_sent=1,
        packets_received=1,
        packets_retransmitted=0,
        packets_duplicated=0,
        timeouts=0,
        rtt=None,
        rtt_variation=None,
        min_rtt=None,
        window=10 * SEGMENT,
        peer_window=50_000,
        receive_window=1 << 20,
        in_flight=0,
        unacknowledged=0,
        readable=0,
        queueing_delay=None,
        max_datagram=1402,
    )


def test_the_figures_follow_what_happens() -> None:
    peer = Peer(UtpConfig(receive_buffer=10_000))
    connection = peer.dial_and_prove()
    connection.send(bytes(2 * SEGMENT + 10), peer.now)
    connection.send(bytes(20 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.data(b"hello", ack_nr=first - 1)
    peer.data(b"hello", ack_nr=first - 1, seq_nr=peer.seq_nr - 1)
    peer.take()
    peer.pass_time(0.1)
    peer.state(ack_nr=first, timestamp_difference=5000)
    stats = connection.stats()
    assert (stats.bytes_sent, stats.in_flight, stats.unacknowledged) == (
        10 * SEGMENT,
        9 * SEGMENT,
        21 * SEGMENT + 10,
    )
    assert (stats.bytes_received, stats.readable, stats.receive_window) == (5, 5, 9995)
    assert (stats.packets_received, stats.packets_duplicated) == (4, 1)
    assert (stats.rtt, stats.rtt_variation, stats.min_rtt) == pytest.approx((0.1, 0.05, 0.1))
    assert stats.queueing_delay == 0
    peer.take()
    peer.pass_time(5)
    peer.take()
    again = connection.stats()
    assert again.timeouts > 0
    assert again.packets_retransmitted == connection.packets_retransmitted > 0
    assert again.packets_sent == connection.packets_sent == len(peer.sent)
    assert stats.timeouts == 0


def test_the_figures_can_not_be_changed() -> None:
    stats = Peer().dial_and_prove().stats()
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.rtt = 1.0  # type: ignore[misc]


def test_the_figures_can_be_shown_in_any_thread() -> None:
    stats = Peer().dial_and_prove().stats()
    shown: list[str] = []
    thread = threading.Thread(target=lambda: shown.append(repr(stats)))
    thread.start()
    thread.join()
    assert shown == [repr(stats)]
    assert "max_datagram=1402" in shown[0]
