"""Links: what a wire does to datagrams. Two hosts, the wire from one to the other under test."""

from functools import partial
from itertools import pairwise

import pytest

from pknet.testing import Link, SimulatedNetwork, SimulatedSocket, SimulationError


class Wire:
    def __init__(self, link: Link, seed: int = 0) -> None:
        self.network = SimulatedNetwork(seed)
        self.link = link
        self.sender: SimulatedSocket = self.network.host("192.0.2.1", up=link).bind(1000)
        self.receiver: SimulatedSocket = self.network.host("192.0.2.2").bind(2000)

    def send(self, *datagrams: bytes, dont_fragment: bool | None = None) -> None:
        for datagram in datagrams:
            self.sender.send(datagram, self.receiver.address, dont_fragment=dont_fragment)

    def arrivals(self, duration: float = 10.0) -> list[tuple[bytes, float]]:
        self.network.run(duration)
        arrived = [(received.data, received.time) for received in self.receiver.received]
        self.receiver.received.clear()
        return arrived


def test_a_datagram_arrives_after_the_latency() -> None:
    wire = Wire(Link(latency=0.25))
    wire.send(b"hello")
    assert wire.arrivals() == [(b"hello", 0.25)]


def test_a_wire_without_delay_delivers_at_once() -> None:
    wire = Wire(Link())
    wire.send(b"hello")
    assert [received.data for received in wire.receiver.received] == [b"hello"]


def test_the_latency_of_both_wires_adds_up() -> None:
    network = SimulatedNetwork()
    sender = network.host("192.0.2.1", up=Link(latency=0.1)).bind()
    receiver = network.host("192.0.2.2", down=Link(latency=0.2)).bind()
    sender.send(b"hello", receiver.address)
    network.run(1)
    assert [received.time for received in receiver.received] == pytest.approx([0.3])


def test_jitter_delays_within_its_bounds_and_keeps_the_order() -> None:
    wire = Wire(Link(latency=0.1, jitter=0.05))
    sent = [bytes([number]) for number in range(200)]
    for number, datagram in enumerate(sent):
        wire.network.call_at(number / 10, partial(wire.send, datagram))
    arrived = wire.arrivals(30)
    assert [data for data, _ in arrived] == sent
    delays = [time - number / 10 for number, (_, time) in enumerate(arrived)]
    assert 0.1 - 1e-9 <= min(delays) < 0.11
    assert 0.14 < max(delays) <= 0.15 + 1e-9


def test_what_jitter_would_let_overtake_arrives_together() -> None:
    wire = Wire(Link(latency=0.1, jitter=0.05), seed=1)
    wire.send(*(bytes([number]) for number in range(50)))
    arrived = wire.arrivals()
    assert [data[0] for data, _ in arrived] == list(range(50))
    assert len({time for _, time in arrived}) < 25


def test_the_loss_is_the_share_that_was_asked_for() -> None:
    wire = Wire(Link(loss=0.1), seed=3)
    wire.send(*[b"x"] * 20000)
    lost = 20000 - len(wire.arrivals())
    # Five standard deviations of a binomial distribution.
    assert abs(lost - 2000) < 5 * (20000 * 0.1 * 0.9) ** 0.5
    assert wire.link.dropped == {"lost": lost}
    assert wire.network.drops == {"lost": lost}


def test_losing_everything_and_losing_nothing() -> None:
    everything, nothing = Wire(Link(loss=1.0)), Wire(Link(loss=0.0))
    everything.send(*[b"x"] * 100)
    nothing.send(*[b"x"] * 100)
    assert len(everything.arrivals()) == 0
    assert len(nothing.arrivals()) == 100


def test_a_rate_serialises_datagrams() -> None:
    wire = Wire(Link(latency=0.5, rate=1000))
    wire.send(bytes(100), bytes(200), bytes(100))
    assert [time for _, time in wire.arrivals()] == pytest.approx([0.6, 0.8, 0.9])


def test_a_rate_limited_wire_carries_what_its_rate_allows() -> None:
    wire = Wire(Link(rate=125_000, queue=10_000))
    for number in range(2000):
        wire.network.call_at(number / 1000, lambda: wire.send(bytes(1000)))
    wire.network.run(2.0)
    # 2 s at 125 datagrams a second, and no more than the queue late.
    assert len(wire.receiver.received) == pytest.approx(250, abs=1)


def test_the_queueing_delay_grows_with_the_queue_and_can_be_seen() -> None:
    wire = Wire(Link(rate=1000))
    assert wire.link.queueing_delay(0.0) == 0.0
    wire.send(bytes(500), bytes(500))
    assert wire.link.queued(0.0) == pytest.approx(1000)
    assert wire.link.queueing_delay(0.0) == pytest.approx(1.0)
    wire.network.run(0.75)
    assert wire.link.queued(0.75) == pytest.approx(250)
    wire.network.run(1.0)
    assert wire.link.queued(1.75) == 0.0
    assert wire.link.longest_queue == pytest.approx(1000)


def test_a_full_queue_drops_the_newest() -> None:
    wire = Wire(Link(rate=1000, queue=300))
    wire.send(*(bytes([number]) * 100 for number in range(5)))
    assert [data[0] for data, _ in wire.arrivals()] == [0, 1, 2]
    assert wire.link.dropped == {"queue full": 2}


def test_a_queue_takes_datagrams_again_as_it_drains() -> None:
    wire = Wire(Link(rate=1000, queue=300))
    wire.send(*[bytes(100)] * 4)
    wire.network.run(0.1)
    wire.send(bytes(100), bytes(100))
    assert len(wire.arrivals()) == 4
    assert wire.link.dropped == {"queue full": 2}


def test_an_idle_wire_takes_a_datagram_that_is_longer_than_its_queue() -> None:
    wire = Wire(Link(rate=1000, queue=300))
    wire.send(bytes(1000))
    assert len(wire.arrivals()) == 1


def test_reordered_datagrams_are_overtaken_and_none_is_lost() -> None:
    wire = Wire(Link(latency=0.1, reorder=0.2, reorder_delay=0.02), seed=5)
    sent = [number.to_bytes(2) for number in range(1000)]
    for number, datagram in enumerate(sent):
        wire.network.call_at(number / 1000, partial(wire.send, datagram))
    arrived = [data for data, _ in wire.arrivals()]
    assert sorted(arrived) == sent
    overtaken = sum(1 for one, other in pairwise(arrived) if one > other)
    assert 100 < overtaken < 250


def test_duplicated_datagrams_arrive_twice() -> None:
    wire = Wire(Link(latency=0.1, duplicate=0.25), seed=7)
    sent = [number.to_bytes(2) for number in range(2000)]
    wire.send(*sent)
    arrived = [data for data, _ in wire.arrivals()]
    assert set(arrived) == set(sent)
    assert abs(len(arrived) - 2500) < 5 * (2000 * 0.25 * 0.75) ** 0.5
    assert max(arrived.count(datagram) for datagram in sent[:200]) == 2


def test_a_duplicate_takes_its_own_way_through_a_nat() -> None:
    network = SimulatedNetwork()
    receiver = network.host("192.0.2.1").bind(2000)
    home = network.nat("symmetric", "203.0.113.9")
    network.host(behind=home, up=Link(duplicate=1.0)).bind(1000).send(b"twice", receiver.address)
    network.run(1)
    first, second = receiver.received
    assert first.remote == second.remote
    assert first.remote[0] == "203.0.113.9"


@pytest.mark.parametrize(("length", "dont_fragment", "arrives"), [
    (1200, True, True),
    (1201, True, False),
    (1201, False, True),
    (1201, None, True),
])  # fmt: skip
def test_the_mtu_stops_what_is_longer_and_may_not_be_fragmented(
    length: int, dont_fragment: bool | None, arrives: bool
) -> None:
    wire = Wire(Link(mtu=1200))
    wire.send(bytes(length), dont_fragment=dont_fragment)
    assert len(wire.arrivals()) == arrives
    assert wire.link.dropped == ({} if arrives else {"longer than the MTU": 1})


def test_a_socket_can_forbid_fragments_for_all_it_sends() -> None:
    wire = Wire(Link(mtu=1200))
    wire.sender.dont_fragment = True
    wire.send(bytes(1300))
    wire.send(bytes(1300), dont_fragment=False)
    assert len(wire.arrivals()) == 1


def test_a_wire_can_change_while_time_runs() -> None:
    wire = Wire(Link(latency=0.1))
    wire.send(b"before")
    wire.link.latency = 0.5
    wire.send(b"after")
    wire.link.loss = 1.0
    wire.send(b"lost")
    wire.link.change(loss=0.0, latency=0.6)
    wire.send(b"last")
    assert wire.arrivals() == [(b"before", 0.1), (b"after", 0.5), (b"last", 0.6)]


def test_what_is_under_way_is_not_overtaken_when_the_latency_falls() -> None:
    wire = Wire(Link(latency=0.5))
    wire.send(b"first")
    wire.link.latency = 0.1
    wire.send(b"second")
    assert wire.arrivals() == [(b"first", 0.5), (b"second", 0.5)]


def test_two_hosts_with_one_link_share_its_rate() -> None:
    network = SimulatedNetwork()
    shared = Link(rate=1000)
    receiver = network.host("192.0.2.9").bind()
    for address in ("192.0.2.1", "192.0.2.2"):
        network.host(address, up=shared).bind().send(bytes(100), receiver.address)
    network.run(1)
    assert [received.time for received in receiver.received] == pytest.approx([0.1, 0.2])


def test_a_copy_of_a_link_is_another_wire_with_the_same_values() -> None:
    link = Link(latency=0.1, rate=1000, queue=100)
    wire = Wire(link)
    wire.send(bytes(50), bytes(100))
    copy = link.copy()
    assert (copy.latency, copy.rate, copy.queue) == (0.1, 1000, 100)
    assert (copy.datagrams, copy.dropped, copy.queued(0.0)) == (0, {}, 0.0)


def test_a_link_counts_what_it_carried() -> None:
    wire = Wire(Link())
    wire.send(b"four", b"sixsix")
    assert (wire.link.datagrams, wire.link.bytes) == (2, 10)


@pytest.mark.parametrize(
    "values",
    [
        {"loss": 1.5},
        {"loss": -0.1},
        {"latency": -1},
        {"latency": float("nan")},
        {"rate": 0},
        {"queue": 0},
        {"mtu": -1},
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(SimulationError, match=next(iter(values))):
        Link(**values)  # type: ignore[arg-type]
    link = Link()
    with pytest.raises(SimulationError, match=next(iter(values))):
        link.change(**values)
    assert (link.loss, link.latency, link.rate, link.queue, link.mtu) == (0.0, 0.0, None, None, None)


def test_changing_a_value_that_no_link_has_is_refused() -> None:
    with pytest.raises(SimulationError, match="delay"):
        Link().change(delay=1.0)
