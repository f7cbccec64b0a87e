import dataclasses
import threading

import pytest

from pknet.utp import UtpConfig, UtpStats
from tests.utp.peer import SEGMENT, Peer, mask_of


def test_the_figures_of_a_fresh_connection() -> None:
    peer = Peer(wnd_size=50_000)
    assert peer.dial_and_prove(wnd_size=50_000).stats() == UtpStats(
        state="CONNECTED",
        congestion_control="ledbat",
        congestion_state="slow_start",
        bytes_sent=0,
        bytes_received=0,
        packets_sent=1,
        packets_received=1,
        packets_retransmitted=0,
        packets_duplicated=0,
        lost_by_reordering=0,
        lost_by_time=0,
        lost_by_timeout=0,
        tail_probes=0,
        timeouts=0,
        rtt=None,
        rtt_variation=None,
        min_rtt=None,
        queueing_delay=None,
        base_delay=None,
        window=10 * SEGMENT,
        slow_start_threshold=None,
        in_flight=0,
        unacknowledged=0,
        readable=0,
        peer_window=50_000,
        peer_window_closures=0,
        receive_window=1 << 20,
        receive_window_closures=0,
        delivery_rate=None,
        pacing_rate=None,
        max_datagram=1402,
    )


def test_the_figures_follow_what_happens() -> None:
    peer = Peer(UtpConfig(receive_buffer=10_000, path_mtu_discovery=False))
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
    assert (stats.queueing_delay, stats.base_delay) == (0, pytest.approx(0.005))
    peer.take()
    peer.pass_time(5)
    peer.take()
    again = connection.stats()
    assert again.timeouts > 0
    assert again.packets_retransmitted == connection.packets_retransmitted > 0
    assert again.packets_sent == connection.packets_sent == len(peer.sent)
    assert stats.timeouts == 0


def test_a_loss_shows_in_the_state_and_the_threshold_of_slow_start() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(bytes(6 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(0.1)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1, first + 2, first + 3))
    peer.take()
    stats = connection.stats()
    assert (stats.state, stats.congestion_state) == ("CONNECTED", "recovery")
    assert stats.slow_start_threshold == stats.window
    assert stats.pacing_rate == pytest.approx(1.25 * stats.window / 0.1, rel=1e-3)
    peer.state(ack_nr=first + 5)
    assert connection.stats().congestion_state == "congestion_avoidance"


def test_the_delivery_rate_is_what_arrived_in_a_round_trip() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    for count in (1, 4):
        assert connection.stats().delivery_rate is None
        connection.send(bytes(count * SEGMENT), peer.now)
        peer.take()
        peer.pass_time(0.1)
        peer.state()
    assert connection.stats().delivery_rate == pytest.approx(4 * SEGMENT / 0.1)


@pytest.mark.parametrize("controller", ["cubic", "bbr"])
def test_only_ledbat_knows_a_base_delay(controller: str) -> None:
    peer = Peer(UtpConfig(congestion_control=controller))
    connection = peer.dial_and_prove()
    connection.send(b"x", peer.now)
    peer.take()
    peer.pass_time(0.1)
    peer.state(timestamp_difference=5000)
    stats = connection.stats()
    assert (stats.congestion_control, stats.base_delay, stats.queueing_delay) == (controller, None, 0)


def test_windows_that_were_shut_are_counted() -> None:
    peer = Peer(UtpConfig(receive_buffer=2000))
    connection = peer.dial_and_prove()
    for _ in range(2):
        peer.state(wnd_size=0)
        peer.state(wnd_size=0)
        peer.state(wnd_size=1000)
    assert connection.stats().peer_window_closures == 2
    for _ in range(3):
        peer.data(bytes(1000))
        peer.data(bytes(1000))
        peer.take()
        connection.read(2000, peer.now)
        connection.read(2000, peer.now)
        peer.take()
    assert connection.stats().receive_window_closures == 3


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
