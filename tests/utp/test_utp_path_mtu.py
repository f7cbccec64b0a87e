"""However little a path carries at once, and however that changes, a stream goes on in datagrams that fit."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pknet.testing import Link
from pknet.testing.packet import Packet as Datagram
from pknet.testing.simulation import Simulation
from pknet.utp import CloseReason, Packet, UtpConfig, UtpConnection
from tests.utp.flow import Flow, Program
from tests.utp.peer import DATA, RESET, Peer, mask_of

STREAM = Random(11).randbytes(1_500_000)
RTT = 0.04
TOO_LONG = "longer than the MTU"
FOUND_WITHIN = 16
CONTROLLERS = ["ledbat", "ledbat++", "cubic", "bbr"]


def path(**values: Any) -> Link:
    """Return a wire of 20 Mbit/s with a queue that holds no less than a flow of pknet may fill."""
    return Link(**{"latency": RTT / 2, "rate": 2_500_000, "queue": 1 << 20} | values)


def size(flow: Flow) -> int:
    """Return the longest datagram that the dialling side sends now."""
    return flow.dialled.stats().max_datagram


class Talker(Program):
    """A side that says what `say` is given."""

    def write(self) -> None:
        pass


def say(flow: Flow, data: bytes, seconds: float = 10.0) -> None:
    """Have the dialling side send, and let time pass."""
    flow.run(RTT)
    assert flow.dialled.send(data[: 1 << 20], flow.now) == min(len(data), 1 << 20)
    flow.wired.a.kick()
    flow.run(seconds)


def assert_fits(found: int, mtu: int) -> None:
    assert mtu - FOUND_WITHIN < found <= mtu


def assert_whole(flow: Flow) -> None:
    for program, other in ((flow.near, flow.far), (flow.far, flow.near)):
        assert program.received == other.to_send
        assert program.closed is not None
        assert program.closed.reason is CloseReason.FINISHED


# Whole streams, in virtual time.


@pytest.mark.parametrize("mtu", [1392, 1350, 1252, 1210])
def test_a_narrow_path_costs_a_few_probes_and_nothing_else(mtu: int) -> None:
    flow = Flow(Program(STREAM), Program(STREAM[::-1]), path(mtu=mtu))
    assert flow.run_to_the_end(60)
    assert_whole(flow)
    for connection, wire in (
        (flow.dialled, flow.wired.a_to_b),
        (flow.far.connection, flow.wired.b_to_a),
    ):
        assert connection is not None
        stats = connection.stats()
        assert_fits(stats.max_datagram, mtu)
        assert stats.timeouts == 0
        assert wire.dropped == {TOO_LONG: stats.packets_retransmitted}
        assert stats.packets_retransmitted <= 10


@pytest.mark.parametrize("mtu", [1100, 1000, 600, 548, 400, 68])
def test_a_path_that_carries_next_to_nothing_is_found_out_without_a_timeout(mtu: int) -> None:
    flow = Flow(Program(STREAM * 4), Program(STREAM[::-1]), path(mtu=mtu))
    assert flow.run_to_the_end(60)
    assert_whole(flow)
    assert flow.dialled.stats().timeouts == 0
    if mtu < 548:
        # What every path carries, if in fragments.
        assert size(flow) == 548
    else:
        assert_fits(size(flow), mtu)


def test_that_all_of_the_first_packets_were_too_long_does_not_end_slow_start() -> None:
    flow = Flow(Program(STREAM), Program(), path(mtu=1000))
    flow.run(0.3)
    assert size(flow) == 548
    assert flow.wired.a_to_b.dropped[TOO_LONG] >= 9
    window = flow.dialled.congestion_window
    flow.run(5 * RTT)
    assert flow.dialled.congestion_window > 4 * window


def test_a_wide_path_is_used_fully_after_one_round_trip() -> None:
    flow = Flow(Program(STREAM), Program(), path())
    flow.run(1.6 * RTT)
    assert size(flow) == 1200
    flow.run(RTT)
    assert size(flow) == 1402
    assert flow.run_to_the_end(60)
    assert flow.dialled.packets_retransmitted == 0


@pytest.mark.parametrize(("mtu", "soon"), [(1392, 0.4), (1252, 0.4), (1000, 1.2), (400, 1.2)])
def test_a_path_that_narrows_under_way_goes_on_soon(mtu: int, soon: float) -> None:
    flow = Flow(Program(STREAM * 3), Program(), path())
    flow.run(0.5)
    assert size(flow) == 1402
    flow.wired.a_to_b.mtu = mtu
    flow.run(0.1)
    before = len(flow.far.received)
    flow.run(soon)
    assert len(flow.far.received) > before + 100_000
    assert flow.run_to_the_end(60)
    assert_whole(flow)
    assert size(flow) == 548 if mtu < 548 else mtu - FOUND_WITHIN < size(flow) <= mtu
    # Where what nearly every path carries doesn't pass either, it takes two steps.
    assert flow.dialled.stats().timeouts <= (mtu < 1200)


def test_a_path_that_widens_is_used_fully_ten_minutes_later() -> None:
    flow = Flow(Talker(), Program(), path(mtu=1252), config=UtpConfig(send_buffer=1 << 20))
    say(flow, STREAM)
    say(flow, STREAM)
    assert_fits(size(flow), 1252)
    flow.wired.a_to_b.mtu = None
    for seconds, found in ((580, 1252), (30, 1402)):
        flow.run(seconds)
        say(flow, STREAM)
        assert found - FOUND_WITHIN < size(flow) <= found


def test_a_path_that_stays_narrow_costs_two_probes_each_ten_minutes() -> None:
    flow = Flow(Talker(), Program(), path(mtu=1252), config=UtpConfig(send_buffer=1 << 20))
    say(flow, STREAM)
    say(flow, STREAM)
    before = flow.wired.a_to_b.dropped[TOO_LONG]
    found = size(flow)
    for number in range(1, 4):
        flow.run(600)
        say(flow, STREAM)
        say(flow, STREAM)
        assert flow.wired.a_to_b.dropped[TOO_LONG] - before == 2 * number
        assert size(flow) == found


@pytest.mark.parametrize("mtu", [8900, 5000, 1472, 1252])
def test_a_program_that_allows_more_gets_what_the_path_carries(mtu: int) -> None:
    config = UtpConfig(max_datagram=8900)
    flow = Flow(Program(STREAM * 3), Program(), path(mtu=mtu), config=config)
    assert flow.run_to_the_end(60)
    assert_whole(flow)
    assert_fits(size(flow), mtu)
    assert flow.dialled.stats().timeouts == 0


def test_an_outage_does_not_narrow_the_path_for_long() -> None:
    flow = Flow(Program(STREAM * 4), Program(), path(rate=500_000))
    flow.run(1)
    flow.wired.a_to_b.loss = 1.0
    flow.run(3)
    flow.wired.a_to_b.loss = 0.0
    flow.run(5)
    assert size(flow) == 1402
    assert flow.run_to_the_end(60)


def test_a_single_timeout_does_not_narrow_the_path() -> None:
    flow = Flow(Program(STREAM * 4), Program(), path(rate=500_000))
    flow.run(1)
    flow.wired.a_to_b.loss = 1.0
    while flow.dialled.stats().timeouts == 0:
        flow.run(0.01)
    flow.wired.a_to_b.loss = 0.0
    while not flow.near.closed and flow.now < 60:
        flow.run(0.05)
        assert size(flow) == 1402
    assert_whole(flow)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_congestion_does_not_narrow_the_path(controller: str) -> None:
    config = UtpConfig(congestion_control=controller)
    flow = Flow(Program(STREAM * 4), Program(), path(rate=500_000, queue=20_000, loss=0.01), config=config)
    flow.run(1)
    sizes = set()
    while not flow.near.closed and flow.now < 60:
        flow.run(0.05)
        sizes.add(size(flow))
    assert flow.wired.a_to_b.dropped["queue full"] > 0
    assert sizes == {1402}


mtus = st.none() | st.integers(300, 1500)


@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(st.tuples(st.sampled_from((0.01, 0.1, 0.7)), mtus, mtus), max_size=12),
    loss=st.sampled_from((0.0, 0.0, 0.02)),
    seed=st.integers(1, 1000),
    ceiling=st.sampled_from((1402, 9000, 700)),
    controller=st.sampled_from(CONTROLLERS),
)
@example(changes=[(0.7, None, None), (0.01, None, 300)], loss=0.0, seed=1, ceiling=1402, controller="cubic")
def test_whatever_the_path_carries_and_when_the_stream_arrives_whole(
    changes: list[tuple[float, int | None, int | None]], loss: float, seed: int, ceiling: int, controller: str
) -> None:
    config = UtpConfig(max_datagram=ceiling, congestion_control=controller)
    flow = Flow(
        Program(STREAM[:400_000]),
        Program(STREAM[-400_000:]),
        path(loss=loss, rate=300_000, latency=0.01),
        config=config,
        seed=seed,
    )
    for seconds, there, back in changes:
        flow.wired.a_to_b.mtu, flow.wired.b_to_a.mtu = there, back
        flow.run(seconds)
    assert flow.run_to_the_end(300)
    assert_whole(flow)


# Routers that say what they drop.


class Router(Link):
    """A wire behind a router that answers what is too long for it (RFC 1191), to `flow`'s dialling side."""

    flow: Flow
    lie: int | None = None
    silent = False

    def _drop(self, simulation: Simulation, packet: Datagram, reason: str) -> None:
        super()._drop(simulation, packet, reason)
        if reason == TOO_LONG and self is self.flow.wired.a_to_b:
            simulation.call_later(RTT / 4, lambda: self.answer(packet))

    def answer(self, packet: Datagram) -> None:
        side = self.flow.wired.a
        says = None if self.silent else self.lie or self.mtu
        side.machine.receive_packet_too_big(
            packet.data[:20], says, side.machine.connections[0].remote, None, self.flow.now
        )
        side.kick()


def routed(near: Program, mtu: int | None = None, config: UtpConfig | None = None) -> tuple[Flow, Router]:
    wire = Router(latency=RTT / 2, rate=2_500_000, queue=1 << 20, mtu=mtu)
    flow = Flow(near, Program(), wire, config=config)
    router = flow.wired.a_to_b
    assert isinstance(router, Router)
    router.flow = flow
    return flow, router


def test_a_router_that_says_what_fits_saves_the_search() -> None:
    flow, router = routed(Program(STREAM), 1252)
    assert flow.run_to_the_end(60)
    assert_whole(flow)
    assert size(flow) == 1252
    assert router.dropped == {TOO_LONG: 1}


def test_a_path_that_narrows_and_says_so_goes_on_at_once_at_the_right_size() -> None:
    flow, router = routed(Program(STREAM * 2))
    flow.run(0.5)
    router.mtu = 1252
    flow.run(RTT)
    assert size(flow) == 1252
    assert flow.run_to_the_end(60)
    assert_whole(flow)


def test_a_router_that_lies_does_no_more_than_slow_the_stream() -> None:
    flow, router = routed(Program(STREAM), 1252)
    router.lie = 68
    assert flow.run_to_the_end(60)
    assert_whole(flow)
    assert size(flow) == 548


def test_a_size_that_was_set_on_somebodys_word_is_sought_anew_ten_minutes_later() -> None:
    flow, router = routed(Talker(), 1252, UtpConfig(send_buffer=1 << 20))
    router.lie = 600
    say(flow, STREAM)
    router.mtu = None
    for seconds, found in ((0, 600), (570, 600), (30, 1402)):
        flow.run(seconds)
        say(flow, STREAM)
        assert size(flow) == found


def test_one_that_does_not_say_what_fits_still_saves_half_of_the_search() -> None:
    dropped = []
    for silent in (True, False):
        flow, router = routed(Program(STREAM * 2), 1472, UtpConfig(max_datagram=8900))
        router.silent = silent
        if not silent:
            router.answer = lambda packet: None  # type: ignore[method-assign]
        assert flow.run_to_the_end(60)
        assert_whole(flow)
        assert_fits(size(flow), 1472)
        dropped.append(router.dropped[TOO_LONG])
    assert dropped[0] <= 8 < dropped[1]


# Packets, one by one.


def sending(config: UtpConfig | None = None, **options: Any) -> tuple[Peer, UtpConnection, list[Packet]]:
    """Open a connection, give it much to send, and return what leaves first."""
    peer = Peer(config or UtpConfig(send_buffer=1 << 20), **options)
    connection = peer.dial_and_prove()
    connection.send(STREAM[: 1 << 20], peer.now)
    return peer, connection, peer.take()


def sizes(packets: list[Packet]) -> list[int]:
    return [len(bytes(packet)) for packet in packets]


def acknowledge_all_but(peer: Peer, packets: list[Packet], missing: Packet) -> None:
    """Acknowledge packets of which one has not come."""
    ack_nr = (missing.seq_nr - 1) & 0xFFFF
    later = [packet.seq_nr for packet in packets if (packet.seq_nr - missing.seq_nr - 1) & 0xFFFF < 1 << 15]
    peer.pass_time(RTT)
    peer.state(ack_nr=ack_nr, selective_ack=mask_of(ack_nr, *later))


def test_the_first_packet_asks_for_the_ceiling_and_the_others_are_what_nearly_every_path_carries() -> None:
    peer, connection, packets = sending()
    assert sizes(packets)[0] == 1402
    assert set(sizes(packets)[1:]) == {1200}
    probe, run = peer.transmits[-2:]
    assert (len(probe.data), probe.segment_size, probe.dont_fragment) == (1402, None, True)
    assert (run.segment_size, run.dont_fragment) == (1200, True)
    peer.pass_time(RTT)
    peer.state()
    assert set(sizes(peer.take())) == {1402}
    assert connection.stats().max_datagram == 1402


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("by", ["selective ACK", "duplicate ACKs"])
def test_a_lost_probe_is_not_congestion_and_is_sent_again_with_leave_to_fragment(
    controller: str, by: str
) -> None:
    peer, connection, packets = sending(UtpConfig(congestion_control=controller))
    window = connection.congestion_window
    probe = packets[0]
    if by == "selective ACK":
        acknowledge_all_but(peer, packets, probe)
    else:
        peer.pass_time(RTT)
        for _ in range(3):
            peer.state(ack_nr=(probe.seq_nr - 1) & 0xFFFF)
    (again, *others) = peer.take()
    assert (again.seq_nr, again.payload) == (probe.seq_nr, probe.payload)
    assert [transmit.dont_fragment for transmit in peer.transmits if len(transmit.data) == 1402][:2] == [
        True,
        False,
    ]
    assert connection.congestion_window >= window
    assert connection.stats().timeouts == 0
    if by == "selective ACK":
        # Asked once more, for chance loses packets too.
        assert sizes(others)[0] == 1402
        acknowledge_all_but(peer, [again, *others], others[0])
        assert 1301 in sizes(peer.take())


def test_what_is_sent_again_may_be_fragmented_and_what_is_new_may_not() -> None:
    peer, _, packets = sending(UtpConfig(max_datagram=1200))
    acknowledge_all_but(peer, packets, packets[2])
    again, *new = peer.take()
    assert again.payload == packets[2].payload
    assert new
    assert [transmit.dont_fragment for transmit in peer.transmits[-2:]] == [False, True]


def test_a_few_packets_are_no_occasion_for_a_probe() -> None:
    peer = Peer(UtpConfig())
    connection = peer.dial_and_prove()
    for _ in range(20):
        connection.send(bytes(4000), peer.now)
        assert max(sizes(peer.take())) == 1200
        peer.pass_time(RTT)
        peer.state()


def test_small_messages_that_vanish_are_cut_smaller() -> None:
    # None is as long as a packet may be, so only their own losses can tell.
    flow = Flow(Talker(), Program(), path())
    flow.run(1)
    flow.wired.a_to_b.mtu = 700
    for number in range(30):
        say(flow, STREAM[number * 1000 : (number + 1) * 1000], 0.5)
    assert flow.far.received == STREAM[:30_000]
    assert size(flow) == 548
    # The last ones fit.
    assert flow.dialled.packets_retransmitted <= 8


def test_small_messages_of_which_some_get_lost_are_not_cut_smaller() -> None:
    flow = Flow(Talker(), Program(), path(loss=0.05))
    flow.run(5)
    for number in range(200):
        say(flow, STREAM[number * 1000 : (number + 1) * 1000], 0.5)
        assert size(flow) == 1200
    assert flow.far.received == STREAM[:200_000]
    assert flow.wired.a_to_b.dropped["lost"] > 5


def proven() -> tuple[Peer, UtpConnection]:
    """Return a connection over which nothing is under way, and the longest packets have arrived."""
    peer, connection, _ = sending()
    while connection.unacknowledged:
        peer.pass_time(RTT)
        peer.state()
        peer.take()
    assert connection.stats().max_datagram == 1402
    return peer, connection


def test_tail_probes_that_were_sent_in_vain_do_not_narrow_the_path() -> None:
    peer, connection = proven()
    for number in range(6):
        connection.send(bytes(1382), peer.now)
        while connection.stats().tail_probes == number:
            peer.pass_time(0.01)
        peer.take()
        # Once for each copy.
        peer.state()
        peer.state()
        peer.pass_time(1)
        assert connection.stats().max_datagram == 1402
    assert connection.stats().timeouts == 0


def test_a_timeout_that_may_be_for_the_size_leaves_the_window_as_small_as_any_other_does() -> None:
    peer, connection, packets = sending()
    assert len(packets) > 5
    while connection.stats().timeouts == 0:
        peer.pass_time(0.01)
    peer.take()
    assert connection.stats().max_datagram == 548
    assert connection.congestion_window <= 2 * 1200


def test_without_discovery_all_is_sent_at_full_length_and_may_be_fragmented() -> None:
    flow = Flow(Program(STREAM), Program(), path(mtu=600), config=UtpConfig(path_mtu_discovery=False))
    assert flow.run_to_the_end(60)
    assert_whole(flow)
    assert size(flow) == 1402
    assert flow.dialled.packets_retransmitted == 0
    assert flow.wired.a_to_b.dropped == {}


def test_over_ipv6_nothing_is_sought_unless_the_program_allows_more_than_ipv6_carries_everywhere() -> None:
    remote = ("2001:db8::9", 6881)
    peer, connection, packets = sending(remote=remote)
    assert set(sizes(packets)) == {1232}
    assert {transmit.dont_fragment for transmit in peer.transmits} == {False}
    peer, connection, packets = sending(UtpConfig(max_datagram=1500, max_datagram_ipv6=1452), remote=remote)
    assert sizes(packets)[0] == 1452
    assert set(sizes(packets)[1:]) == {1232}
    peer.pass_time(RTT)
    peer.state()
    assert set(sizes(peer.take())) == {1452}
    assert connection.stats().max_datagram == 1452


def test_another_path_is_searched_anew() -> None:
    peer, connection, _ = sending()
    peer.pass_time(RTT)
    peer.state()
    peer.take()
    assert connection.stats().max_datagram == 1402
    late = peer.ack_nr
    peer.endpoint.rebind(connection, peer.remote, peer.now)
    assert connection.stats().max_datagram == 1200
    peer.take()
    # What had arrived over the old path says nothing of this one.
    peer.state(ack_nr=late)
    assert connection.stats().max_datagram == 1200
    for _ in range(3):
        peer.pass_time(RTT)
        peer.state()
        peer.take()
    assert connection.stats().max_datagram == 1402


def test_the_window_stays_what_it_is_in_bytes_when_packets_change_their_size() -> None:
    peer, connection, packets = sending(UtpConfig(ledbat_gain=1.0))
    window = connection.congestion_window
    assert window == 10 * 1180
    peer.pass_time(RTT)
    peer.state()
    grown = connection.congestion_window
    peer.take()
    assert connection.stats().max_datagram == 1402
    assert connection.congestion_window == grown == window + sum(len(packet.payload) for packet in packets)


@pytest.mark.parametrize(
    ("controller", "segments"), [("ledbat", 2), ("ledbat++", 2), ("cubic", 2), ("bbr", 4)]
)
def test_the_least_window_is_that_of_packets_as_long_as_they_are_now(controller: str, segments: int) -> None:
    peer, connection, _ = sending(UtpConfig(congestion_control=controller))
    peer.pass_time(RTT)
    peer.state()
    peer.take()
    peer.pass_time(1)
    assert connection.stats().timeouts == 1
    assert connection.congestion_window == segments * 1382


# Word of the system, and of strangers.


def too_big(peer: Peer, packet: Packet | bytes, passes: int | None, **fields: Any) -> None:
    peer.endpoint.receive_packet_too_big(
        bytes(packet), passes, fields.get("remote", peer.remote), None, peer.now
    )


def test_what_the_system_refuses_leaves_again_at_once_with_leave_to_fragment() -> None:
    peer, connection, packets = sending()
    window = connection.congestion_window
    too_big(peer, packets[0], 1372)
    again, probe, *_ = peer.take()
    assert (again.seq_nr, again.payload) == (packets[0].seq_nr, packets[0].payload)
    assert peer.transmits[-2].dont_fragment is False
    assert len(bytes(probe)) == 1372
    assert connection.congestion_window == window


def test_all_packets_of_a_refused_run_leave_again_as_they_were_and_new_ones_fit() -> None:
    peer, connection, packets = sending()
    for packet in packets:
        too_big(peer, packet, 1000)
    again = peer.take()
    assert [packet.payload for packet in again] == [packet.payload for packet in packets]
    assert {transmit.dont_fragment for transmit in peer.transmits[-2:]} == {False}
    assert connection.stats().max_datagram == 1000
    peer.pass_time(RTT)
    peer.state()
    new = peer.take()
    assert set(sizes(new)) == {1000}
    assert peer.transmits[-1].dont_fragment is True


def test_word_of_a_packet_that_is_not_in_flight_is_not_believed() -> None:
    peer, connection, packets = sending()
    before = connection.stats()
    probe = packets[0]
    counters = peer.endpoint.counters
    strangers = [
        bytes(probe)[:19],
        bytes(Packet(RESET, connection_id=probe.connection_id, seq_nr=probe.seq_nr)),
        bytes(Packet(DATA, connection_id=probe.connection_id + 7, seq_nr=probe.seq_nr)),
        bytes(Packet(DATA, connection_id=probe.connection_id, seq_nr=(probe.seq_nr + 500) & 0xFFFF)),
    ]
    for packet in strangers:
        too_big(peer, packet, 600)
    too_big(peer, probe, 600, remote=("192.0.2.77", 1))
    assert counters.implausible == len(strangers) + 1
    assert connection.stats() == before
    assert peer.take() == []


@pytest.mark.parametrize("passes", [1402, 9000, 65535])
def test_word_never_makes_datagrams_longer(passes: int) -> None:
    peer, connection, packets = sending()
    too_big(peer, packets[1], passes)
    peer.take()
    assert connection.stats().max_datagram <= 1200


@pytest.mark.parametrize("passes", [-5, 0, 1, 68, 547])
def test_word_never_makes_datagrams_shorter_than_what_every_path_carries(passes: int) -> None:
    peer, connection, packets = sending()
    too_big(peer, packets[0], passes)
    peer.take()
    assert connection.stats().max_datagram == 548
