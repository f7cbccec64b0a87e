"""The congestion controllers at bottlenecks, in virtual time."""

from __future__ import annotations

from itertools import pairwise, permutations
from statistics import mean, median

import pytest

from pknet._core.utp_invariants import check_connection
from pknet.testing import Link
from pknet.utp import UtpConfig, UtpConnection
from tests.utp.bottleneck import MEGABIT, Bottleneck, BulkFlow
from tests.utp.flow import Flow, Program
from tests.utp.peer import SEGMENT, Peer, mask_of

pytestmark = pytest.mark.bulk

CONTROLLERS = ["ledbat", "ledbat++", "cubic", "bbr"]
CHANGES = list(permutations(CONTROLLERS, 2))


@pytest.mark.parametrize("rtt", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("rate", [1, 10, 100])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_path_is_full_once_it_is_known(controller: str, rate: int, rtt: float) -> None:
    # What is left out for LEDBAT++ are its slow-downs: at most a tenth of the time, and the way back.
    least = 0.84 if controller == "ledbat++" else 0.95
    bottleneck = Bottleneck(rate * MEGABIT, rtt, queue=rate * MEGABIT * max(rtt, 0.25))
    flow = bottleneck.start(controller)
    bottleneck.run(8)
    assert flow.share(bottleneck, 8) > least


@pytest.mark.parametrize(("controller", "target"), [("ledbat", 0.1), ("ledbat++", 0.06)])
@pytest.mark.parametrize("rtt", [0.01, 0.05, 0.2])
def test_controllers_by_delay_hold_the_queue_near_their_target(
    controller: str, target: float, rtt: float
) -> None:
    bottleneck = Bottleneck(10 * MEGABIT, rtt, queue=100 * MEGABIT)
    flow = bottleneck.start(controller, ledbat_target=target)
    bottleneck.run(10)
    delays = sorted(bottleneck.queueing_delays(20))
    assert delays[int(len(delays) * 0.95)] < target * 1.15 + 0.01
    assert delays[-1] < 2 * target
    assert mean(delays) > target / 4
    assert flow.connection is not None
    assert flow.connection.packets_retransmitted == 0


@pytest.mark.parametrize("controller", ["ledbat", "ledbat++"])
def test_controllers_by_delay_yield_to_one_by_loss_and_take_what_it_leaves(controller: str) -> None:
    bottleneck = Bottleneck(10 * MEGABIT, 0.05, queue=10 * MEGABIT * 0.25)
    courteous = bottleneck.start(controller)
    bottleneck.run(10)
    other = bottleneck.start("cubic")
    bottleneck.run(5)
    assert courteous.share(bottleneck, 10) < 0.1
    assert other.take() > 0.85 * bottleneck.rate * 15
    assert other.connection is not None
    other.connection.abort(bottleneck.network.now)
    bottleneck.run(10)
    assert courteous.share(bottleneck, 5) > 0.84


@pytest.mark.parametrize("rtt", [0.02, 0.1])
@pytest.mark.parametrize(("controller", "least"), [("ledbat++", 0.5), ("cubic", 0.4), ("bbr", 0.4)])
def test_a_latecomer_gets_its_share(controller: str, least: float, rtt: float) -> None:
    bottleneck = Bottleneck(10 * MEGABIT, rtt, queue=10 * MEGABIT * 0.25)
    first = bottleneck.start(controller)
    bottleneck.run(10)
    second = bottleneck.start(controller)
    bottleneck.run(60)
    first.take()
    second.take()
    bottleneck.run(60)
    shares = sorted([first.take(), second.take()])
    assert shares[0] / shares[1] > least
    assert sum(shares) > 0.8 * bottleneck.rate * 60


@pytest.mark.parametrize(
    ("controller", "loss", "least"),
    [
        ("ledbat", 0.0, 10e6),
        ("ledbat", 0.001, 2e6),
        ("ledbat", 0.01, 0.7e6),
        ("bbr", 0.0, 10.5e6),
        ("bbr", 0.001, 10e6),
        ("bbr", 0.01, 8e6),
        ("cubic", 0.001, 1.2e6),
        ("ledbat++", 0.001, 0.4e6),
    ],
)
def test_a_long_path_that_loses_packets_carries_what_it_should(
    controller: str, loss: float, least: float
) -> None:
    # 100 Mbit/s, 50 ms, a queue of 50 ms: libutp carries 4, 1.6 and 0.5 MB/s there.
    rates = []
    for seed in range(5):
        bottleneck = Bottleneck(100 * MEGABIT, 0.05, queue=625_000, loss=loss, seed=seed)
        flow = bottleneck.start(controller)
        bottleneck.run(3 if loss == 0 else 10)
        rates.append(flow.take() / bottleneck.network.now)
        assert bottleneck.wire.longest_queue < 625_000 + 1402
    assert sorted(rates)[2] > least


def test_acknowledgements_that_come_in_bunches_let_a_window_grow_as_single_ones_do() -> None:
    rates = []
    for seed in range(12):
        bottleneck = Bottleneck(100 * MEGABIT, 0.05, 625_000, 0.01, seed, jitter=0.006)
        flow = bottleneck.start("ledbat")
        bottleneck.run(15)
        rates.append(flow.take() / 15)
    # 820 000 without jitter, of which the longer round trip takes 6 %.
    assert median(rates) > 0.7e6


@pytest.mark.parametrize("jitter", [0.001, 0.005])
def test_bbr_keeps_the_queue_short_where_acknowledgements_come_in_bunches(jitter: float) -> None:
    # The rate is then measured too high: with nothing to take it away, the queue grows to a round trip.
    bottleneck = Bottleneck(20 * MEGABIT, 0.05, queue=20 * MEGABIT * 0.25, jitter=jitter)
    flow = bottleneck.start("bbr")
    bottleneck.run(2)
    flow.take()
    assert mean(bottleneck.queueing_delays(7)) < 0.015
    assert flow.take() * (SEGMENT + 20) / SEGMENT / 7 > 0.95 * bottleneck.rate


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_reordering_is_not_taken_for_loss(controller: str) -> None:
    bottleneck = Bottleneck(10 * MEGABIT, 0.05, queue=10 * MEGABIT * 0.25)
    bottleneck.wire.change(reorder=0.02, reorder_delay=0.004)
    flow = bottleneck.start(controller)
    bottleneck.run(10)
    assert flow.share(bottleneck, 10) > 0.8


@pytest.mark.parametrize("drift", [-0.0005, 0.0005])
def test_a_clock_that_drifts_neither_starves_ledbat_nor_makes_it_rude(drift: float) -> None:
    # Half a millisecond a second is several times what a bad quartz does.
    bottleneck = Bottleneck(5 * MEGABIT, 0.05, queue=5 * MEGABIT * 5)
    flow = BulkFlow(bottleneck, "ledbat", 1, {}, clock=lambda now: (now + 4711) * (1 + drift))
    bottleneck.run(120)
    assert flow.share(bottleneck, 30) > 0.9
    delays = bottleneck.queueing_delays(10)
    assert max(delays) < 0.2
    assert mean(delays) > 0.01


# What BBR makes of losses and pauses.


def test_losses_that_only_time_shows_end_the_startup_of_bbr_as_others_do() -> None:
    peer, connection = dialled("bbr")
    connection.send(bytes(10 * SEGMENT), peer.now)
    first = peer.ack_nr + 1
    peer.pass_time(0.05)
    assert peer.ack_nr == first + 9
    # Two that left after them prove nothing yet.
    peer.state(ack_nr=first, selective_ack=mask_of(first, first + 8, first + 9))
    assert connection.stats().lost_by_time == 0
    peer.pass_time(0.07)
    assert connection.stats().lost_by_time == 7
    peer.state()
    assert connection.stats().congestion_state == "congestion_avoidance"


def test_an_outage_at_the_start_is_not_taken_for_all_that_bbr_can_have() -> None:
    bottleneck = Bottleneck(100 * MEGABIT, 0.05, queue=625_000)
    flow = bottleneck.start("bbr")
    bottleneck.run(0.08)
    bottleneck.wire.change(loss=1.0)
    bottleneck.run(1)
    bottleneck.wire.change(loss=0.0)
    bottleneck.run(1)
    assert flow.connection is not None
    assert flow.connection.stats().timeouts
    assert flow.share(bottleneck, 1) > 0.95


@pytest.mark.parametrize("pause", [9, 11, 60])
def test_after_a_pause_bbr_sees_the_round_trip_and_needs_not_slow_down_for_it(pause: float) -> None:
    flow = bbr_flow()
    say(flow, 3_000_000, 4)
    window = flow.dialled.congestion_window
    flow.run(pause)
    # Were it as short as before, it would be believed for another ten seconds.
    flow.wired.a_to_b.latency += 0.005
    assert min(say(flow, 3_000_000, 4)) > 0.9 * window
    assert flow.dialled.unacknowledged == 0
    assert flow.dialled.rtt == pytest.approx(0.055, abs=0.01)


def test_a_timeout_while_bbr_looks_at_the_round_trip_leaves_the_window_small() -> None:
    flow = bbr_flow()
    window = max(say(flow, 1 << 20, 0.5))
    flow.wired.a_to_b.latency += 0.005
    while flow.dialled.congestion_window > window / 2:
        say(flow, 1 << 20, 0.01)
    assert 10 < flow.now < 12
    flow.wired.a_to_b.change(loss=1.0)
    flow.run(1)
    assert flow.dialled.stats().timeouts
    least = flow.dialled.congestion_window
    assert least == 4 * SEGMENT
    flow.wired.a_to_b.change(loss=0.0)
    while flow.dialled.congestion_window == least:
        flow.run(0.005)
    assert flow.dialled.congestion_window < 3 * least


# While no round trip is known.


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_transfer_that_moves_to_a_path_like_the_one_before_is_soon_as_fast_there(controller: str) -> None:
    bottleneck = Bottleneck(20 * MEGABIT, 0.05, queue=20 * MEGABIT * 0.25)
    flow = bottleneck.start(controller)
    bottleneck.run(13)
    assert flow.share(bottleneck, 1) > 0.95
    flow.rebind()
    bottleneck.run(1)
    assert flow.share(bottleneck, 1) > 0.95


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_window_grows_by_what_arrives_at_most_while_no_round_trip_is_known(controller: str) -> None:
    peer = Peer(UtpConfig(congestion_control=controller, path_mtu_discovery=False))
    connection = peer.dial_and_prove()
    connection.send(bytes(60_000), peer.now)
    first = peer.take()[0].seq_nr
    while connection.stats().timeouts == 0:
        peer.pass_time(0.1)
    for arrived in range(10):
        window = connection.congestion_window
        peer.pass_time(0.1)
        peer.state(ack_nr=first + arrived)
        check_connection(connection)
        assert connection.rtt is None
        assert connection.congestion_window <= window + SEGMENT


# What CUBIC makes of packets of another size.


def test_cubic_comes_back_to_the_window_that_it_lost_though_packets_are_shorter_now() -> None:
    peer, connection = dialled("cubic", path_mtu_discovery=True)
    pass_rounds(peer, connection, 4)
    window = connection.congestion_window
    connection.send(bytes(connection.writable), peer.now)
    peer.pass_time(0.05)
    lost = peer.ack_nr - 20
    peer.state(ack_nr=lost - 1, selective_ack=mask_of(lost - 1, *range(lost + 1, lost + 21)))
    assert connection.congestion_window == pytest.approx(0.7 * window, rel=0.01)
    pass_rounds(peer, connection, 2)
    connection.send(bytes(connection.writable), peer.now)
    peer.pass_time(0.01)
    peer.endpoint.receive_packet_too_big(bytes(peer.sent[-1][1]), 600, peer.remote, None, peer.now)
    # RFC 9438 section 4.2: K, the seconds until then.
    pass_rounds(peer, connection, round((0.3 * window / SEGMENT / 0.4) ** (1 / 3) / 0.05))
    assert connection.stats().max_datagram == 600
    assert connection.congestion_window == pytest.approx(window, rel=0.03)


# From one to another.


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_another_controller_goes_on_where_the_one_before_it_was(before: str, after: str) -> None:
    bottleneck = Bottleneck(20 * MEGABIT, 0.05, queue=20 * MEGABIT * 0.25)
    flow = bottleneck.start(before)
    queue = max(bottleneck.queueing_delays(8)[-100:])
    connection = flow.connection
    assert connection is not None
    sent_again = connection.packets_retransmitted
    connection.congestion_control = after
    flow.take()
    assert max(bottleneck.queueing_delays(4)) < max(queue, 0.1) + 0.01
    assert connection.packets_retransmitted == sent_again
    # LEDBAT++ pauses soon.
    least = 0.75 if after == "ledbat++" else 0.95
    assert flow.take() * (SEGMENT + 20) / SEGMENT / 4 > least * bottleneck.rate


@pytest.mark.parametrize("after", ["ledbat", "ledbat++"])
def test_what_the_controller_before_has_queued_is_no_part_of_the_path(after: str) -> None:
    bottleneck = Bottleneck(20 * MEGABIT, 0.05, queue=20 * MEGABIT * 0.25)
    flow = bottleneck.start("cubic")
    assert max(bottleneck.queueing_delays(8)[-100:]) > 0.2
    assert flow.connection is not None
    flow.connection.congestion_control = after
    bottleneck.run(0.5)
    assert flow.connection.stats().queueing_delay == pytest.approx(
        bottleneck.wire.queueing_delay(bottleneck.network.now), abs=0.02
    )
    bottleneck.run(0.5)
    assert max(bottleneck.queueing_delays(4)) < 0.11


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_another_controller_goes_on_with_the_slow_start_of_the_one_before_it(before: str, after: str) -> None:
    bottleneck = Bottleneck(100 * MEGABIT, 0.05, queue=100 * MEGABIT * 0.25)
    flow = bottleneck.start(before)
    bottleneck.run(0.2)
    assert flow.connection is not None
    assert flow.connection.stats().congestion_state == "slow_start"
    flow.connection.congestion_control = after
    bottleneck.run(1)
    assert flow.share(bottleneck, 1) > 0.8


def test_a_connection_can_be_given_another_controller_at_any_time() -> None:
    peer, connection = dialled("ledbat")
    for name in (*CONTROLLERS, *CONTROLLERS[::-1]):
        before = connection.stats()
        connection.congestion_control = name
        assert connection.congestion_control == name
        # The one that it has goes on as it was.
        assert (connection.stats() == before) is (before.congestion_control == name)
        connection.send(bytes(5 * SEGMENT), peer.now)
        peer.take()
        peer.pass_time(0.05)
        peer.state()
        peer.take()
        assert connection.unacknowledged == 0
    with pytest.raises(ValueError, match="ledbat, ledbat"):
        connection.congestion_control = "reno"


def test_the_gain_of_rfc_6817_grows_by_a_segment_in_a_round_trip() -> None:
    grown = {}
    for gain in (None, 1.0):
        peer = Peer(UtpConfig(ledbat_gain=gain, send_buffer=1 << 20, path_mtu_discovery=False))
        connection = peer.answer_dial()
        # A loss ends slow start.
        windows = []
        connection.send(bytes(500 * SEGMENT), peer.now)
        sent = peer.take()
        peer.pass_time(0.05)
        first = sent[0].seq_nr
        for number in range(3):
            peer.state(ack_nr=first - 1, selective_ack=bytes([(1 << number + 1) - 1, 0, 0, 0]))
        peer.take()
        for _ in range(12):
            peer.pass_time(0.05)
            peer.state()
            peer.take()
            windows.append(connection.congestion_window)
        grown[gain] = mean(b - a for a, b in pairwise(windows[4:]))
    assert grown[1.0] == pytest.approx(SEGMENT, rel=0.2)
    assert grown[None] == pytest.approx(3000, rel=0.2)


def dialled(controller: str, *, path_mtu_discovery: bool = False) -> tuple[Peer, UtpConnection]:
    """Return a connection that has just opened, over 50 ms."""
    peer = Peer(UtpConfig(congestion_control=controller, path_mtu_discovery=path_mtu_discovery))
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    peer.pass_time(0.05)
    peer.state()
    peer.take()
    return peer, connection


def pass_rounds(peer: Peer, connection: UtpConnection, count: int) -> None:
    """Send all that may be sent for some round trips, and acknowledge it."""
    for _ in range(count):
        connection.send(bytes(connection.writable), peer.now)
        peer.pass_time(0.05)
        peer.state()


def bbr_flow() -> Flow:
    """Return a flow over 10 Mbit/s and 50 ms, whose program sends what `say` gives it."""
    near = Program()
    near.write = lambda: None  # type: ignore[method-assign]
    flow = Flow(
        near,
        Program(),
        Link(latency=0.025, rate=10 * MEGABIT, queue=1 << 20),
        config=UtpConfig(congestion_control="bbr", path_mtu_discovery=False),
    )
    flow.run(0.1)
    return flow


def say(flow: Flow, size: int, seconds: float) -> list[int]:
    """Send so much, or what is taken of it, and let time pass; return the congestion window each 10 ms."""
    windows = []
    for _ in range(round(seconds / 0.01)):
        size -= flow.dialled.send(bytes(min(size, 1 << 20)), flow.now)
        flow.wired.a.kick()
        flow.run(0.01)
        windows.append(flow.dialled.congestion_window)
    return windows
