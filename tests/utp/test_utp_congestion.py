"""LEDBAT at a bottleneck, in virtual time: near the target, the link used, others first."""

import pytest

from pknet.testing import Link
from pknet.utp import UtpConfig
from tests.utp.flow import Flow, Program
from tests.utp.peer import Peer

pytestmark = pytest.mark.bulk

MEGABIT = 125_000


def queue_while(flow: Flow, seconds: float) -> list[float]:
    """Let time pass; return the queueing delay at the bottleneck, each 50 ms."""
    delays = []
    for _ in range(int(seconds / 0.05)):
        flow.run(0.05)
        delays.append(flow.wired.a_to_b.queueing_delay(flow.now))
    return delays


@pytest.mark.parametrize("rate", [1 * MEGABIT, 5 * MEGABIT, 10 * MEGABIT, 20 * MEGABIT])
@pytest.mark.parametrize("latency", [0.005, 0.025, 0.07])
def test_the_queue_is_held_at_the_target_and_the_link_is_used(rate: int, latency: float) -> None:
    # Room for ten seconds: whoever wants to could fill it.
    config = UtpConfig(receive_buffer=8 << 20, send_buffer=8 << 20)
    flow = Flow(
        Program(bytes(rate * 40)), Program(), Link(latency=latency, rate=rate, queue=10 * rate), config=config
    )
    queue_while(flow, 15)
    before = len(flow.far.received)
    delays = queue_while(flow, 15)
    assert sum(delays) / len(delays) == pytest.approx(0.1, abs=0.03)
    assert max(delays) < 0.16
    assert len(flow.far.received) - before > 0.95 * rate * 15
    assert flow.dialled.packets_retransmitted == 0


def test_a_path_that_has_become_longer_is_no_queue_for_ever() -> None:
    # The base delay is the least of some minutes (RFC 6817 section 3.1.1), not of all time.
    peer = Peer()
    connection = peer.dial_and_prove()

    def talk(round_trip: float, minutes: float) -> float | None:
        for _ in range(round(minutes * 60)):
            connection.send(b"x", peer.now)
            peer.take()
            peer.pass_time(round_trip)
            peer.state(timestamp_difference=round(round_trip * 1e6) - 20_000)
            peer.pass_time(1 - round_trip)
        return connection.stats().queueing_delay

    assert talk(0.05, 2) == pytest.approx(0)
    assert talk(0.13, 2) == pytest.approx(0.08)
    assert talk(0.13, 30) == pytest.approx(0)


def test_the_first_rush_overshoots_for_a_moment_only() -> None:
    flow = Flow(
        Program(bytes(20_000_000)), Program(), Link(latency=0.025, rate=10 * MEGABIT, queue=10_000_000)
    )
    delays = queue_while(flow, 5)
    assert max(delays) < 0.4
    assert sum(delay > 0.2 for delay in delays) * 0.05 < 0.5


def test_it_yields_to_a_queue_that_others_fill() -> None:
    flow = Flow(
        Program(bytes(40_000_000)), Program(), Link(latency=0.025, rate=10 * MEGABIT, queue=10_000_000)
    )
    queue_while(flow, 10)
    alone = flow.dialled.congestion_window
    # From now on the packets of somebody else stand in the queue for 300 ms.
    flow.wired.a_to_b.latency += 0.3
    before = len(flow.far.received)
    flow.run(10)
    assert flow.dialled.congestion_window < alone / 4
    flow.wired.a_to_b.latency -= 0.3
    assert len(flow.far.received) - before < 0.5 * 10 * 10 * MEGABIT
    flow.run(15)
    before = len(flow.far.received)
    flow.run(5)
    assert len(flow.far.received) - before > 0.9 * 5 * 10 * MEGABIT


def test_slow_start_fills_a_long_path_in_a_few_round_trips() -> None:
    # libutp adds one packet for each round trip, and takes half a minute.
    flow = Flow(Program(bytes(20_000_000)), Program(), Link(latency=0.025, rate=100 * MEGABIT, queue=625_000))
    flow.run(1.5)
    assert len(flow.far.received) > 5_000_000


def test_a_window_that_the_program_does_not_fill_does_not_grow() -> None:
    flow = Flow(Program(b"x"), Program(), Link(latency=0.025, rate=100 * MEGABIT))
    flow.near.write = lambda: None  # type: ignore[method-assign]
    flow.run(0.1)
    window = flow.dialled.congestion_window
    for _ in range(200):
        flow.dialled.send(bytes(5000), flow.now)
        flow.wired.a.kick()
        flow.run(0.06)
    assert flow.dialled.unacknowledged == 0
    assert flow.dialled.congestion_window == window


def test_two_clocks_that_have_nothing_in_common_do_not_matter() -> None:
    delays = {}
    for start in (0.0, 4000.0, 123_456_789.0):
        config = UtpConfig(receive_buffer=4 << 20)
        link = Link(latency=0.025, rate=5 * MEGABIT, queue=5_000_000)
        flow = Flow(Program(bytes(40_000_000)), Program(), link, config=config, start=start)
        queue_while(flow, 10)
        delays[start] = queue_while(flow, 5)
        assert sum(delays[start]) / len(delays[start]) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("target", [0.025, 0.05, 0.2])
def test_the_target_can_be_chosen(target: float) -> None:
    config = UtpConfig(ledbat_target=target)
    link = Link(latency=0.02, rate=5 * MEGABIT, queue=5_000_000)
    flow = Flow(Program(bytes(40_000_000)), Program(), link, config=config)
    queue_while(flow, 15)
    delays = queue_while(flow, 10)
    assert sum(delays) / len(delays) == pytest.approx(target, rel=0.35)


@pytest.mark.parametrize(("loss", "least"), [(0.0, 8.9e6), (0.001, 1.3e6), (0.01, 0.45e6)])
def test_a_long_path_carries_what_it_should_at_each_loss(loss: float, least: float) -> None:
    # 100 Mbit/s and 50 ms, where libutp carries 5.3, 1.6 and 0.5 MB/s.
    seconds = 10
    rates = []
    for seed in range(3):
        link = Link(latency=0.025, rate=100 * MEGABIT, queue=625_000, loss=loss)
        flow = Flow(Program(bytes(130_000_000)), Program(), link, seed=seed)
        flow.run(seconds)
        rates.append(len(flow.far.received) / seconds)
    assert sorted(rates)[1] > least
