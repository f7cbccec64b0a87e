"""The clash: a packet that reaches a router before its host has sent takes the host's port away.

Each outcome was measured on Linux with nftables, between network namespaces; the model is to give the same.
"""

from collections.abc import Callable

import pytest

from pknet.testing import Address, SimulatedNetwork, SimulatedSocket
from tests.testing.world import SERVER, UNUSED_SERVER, Side, World

INSIDE_PORT = 1315


class Poisoned:
    """A host behind a bare cone, to whose router a peer has written before the host wrote to the peer."""

    def __init__(self, nat: str = "cone") -> None:
        self.network = SimulatedNetwork()
        self.home = self.network.nat(nat, "203.0.113.11")
        self.socket = self.network.host(behind=self.home).bind(INSIDE_PORT)
        self.server = self.network.host("192.0.2.1").bind(3478)
        self.unused = self.network.host("192.0.2.2").bind(3479)
        self.peer = self.network.host("203.0.113.12").bind(INSIDE_PORT)
        self.mapped = self.seen_by(self.server)
        self.peer.send(b"too early", self.mapped)

    def seen_by(self, receiver: SimulatedSocket) -> Address:
        self.socket.send(b"out", receiver.address)
        return receiver.received.pop().remote


def test_a_packet_that_comes_too_early_costs_the_host_its_port() -> None:
    world = Poisoned()
    assert world.mapped == ("203.0.113.11", INSIDE_PORT)
    assert world.seen_by(world.peer) != world.mapped
    assert world.home.drops == {"for the router itself": 1}


def test_an_input_rule_on_the_router_prevents_it() -> None:
    world = Poisoned("cone-firewalled")
    assert world.seen_by(world.peer) == world.mapped
    assert world.home.drops == {"refused by the firewall": 1}


def test_new_flows_follow_the_new_port_and_old_ones_keep_the_old() -> None:
    world = Poisoned()
    new = world.seen_by(world.peer)
    assert world.seen_by(world.server) == world.mapped
    assert world.seen_by(world.unused) == new
    assert world.seen_by(world.peer) == new


def test_the_host_is_not_reached_at_its_old_port_by_the_peer_that_came_too_early() -> None:
    world = Poisoned()
    new = world.seen_by(world.peer)
    world.peer.send(b"to the old port", world.mapped)
    world.peer.send(b"to the new port", new)
    world.server.send(b"to the old port, from the server", world.mapped)
    assert [received.data for received in world.socket.received] == [
        b"to the new port",
        b"to the old port, from the server",
    ]


@pytest.mark.parametrize(("silence", "recovered"), [(29.0, False), (31.0, True)])
def test_the_port_is_free_again_when_the_peer_was_silent_for_30_s(silence: float, recovered: bool) -> None:
    world = Poisoned()
    world.network.run(silence)
    assert (world.seen_by(world.peer) == world.mapped) == recovered


def test_each_packet_of_the_peer_renews_the_clash() -> None:
    world = Poisoned()
    for _ in range(10):
        world.network.run(20)
        world.peer.send(b"again", world.mapped)
    world.network.run(20)
    assert world.seen_by(world.peer)[1] != INSIDE_PORT


def test_another_socket_of_the_host_is_not_harmed() -> None:
    world = Poisoned()
    fresh = world.socket.host.bind(4000)
    fresh.send(b"out", world.peer.address)
    assert world.peer.received.pop().remote == ("203.0.113.11", 4000)


def test_a_dmz_and_a_firewalled_host_know_no_clash() -> None:
    for nat in "dmz", "one-to-one", "full-cone":
        world = Poisoned(nat)
        assert world.seen_by(world.peer) == world.mapped


# What was done before, in terms of the two sides a and b of a world in which an attempt has failed.
Preparation = Callable[[World], None]


def poison(world: World) -> None:
    """Fail once: with two bare cones b starts 50 ms late, else the firewalled b starts 50 ms ahead."""
    bare = not world.b.nat.behaviour.firewalled
    assert not world.punch(skew=0.05 if bare else -0.05, duration=0.3)


def refresh(side: Side) -> None:
    side.fresh_socket()
    assert side.mapped is not None


def ask_unused(side: Side) -> None:
    side.mapped = side.ask(UNUSED_SERVER)


def ask_again(side: Side) -> None:
    side.mapped = side.ask(SERVER)


def nothing(world: World) -> None:
    """Leave the world as it is: the first attempt is the one that counts."""


def both_fresh(world: World) -> None:
    poison(world)
    refresh(world.a)
    refresh(world.b)


def a_fresh(world: World) -> None:
    poison(world)
    refresh(world.a)
    ask_again(world.b)


def b_fresh(world: World) -> None:
    poison(world)
    refresh(world.b)
    ask_again(world.a)


def a_fresh_and_b_asks_unused(world: World) -> None:
    poison(world)
    refresh(world.a)
    ask_unused(world.b)


def b_fresh_and_a_asks_unused(world: World) -> None:
    poison(world)
    refresh(world.b)
    ask_unused(world.a)


def both_silent(world: World) -> None:
    poison(world)
    world.network.run(31)


# By how much b starts later than a, in seconds.
SKEWS = (0.0, 0.005, -0.005, 0.05, -0.05)


def outcomes(
    nat_b: str,
    prepare: Preparation,
    latency: float,
    hops: int = 1,
    opener_ttl: int | None = None,
    lead: float = 0.0,
) -> str:
    """Return + or - for each skew: whether a cone got through to `nat_b`."""
    found = ""
    for skew in SKEWS:
        world = World("cone", nat_b, latency=latency)
        world.network.internet_hops = hops
        prepare(world)
        found += "+" if world.punch(skew, duration=0.6, opener_ttl=opener_ttl, lead=lead) else "-"
    return found


@pytest.mark.parametrize(
    ("nat_b", "latency", "prepare", "expected"),
    [
        # The packets must cross in flight.
        ("cone", 0.0, nothing, "-----"),
        ("cone", 0.0, both_fresh, "-----"),
        ("cone", 0.0, a_fresh, "-----"),
        ("cone", 0.0, b_fresh, "-----"),
        ("cone", 0.0, a_fresh_and_b_asks_unused, "-----"),
        ("cone", 0.0, b_fresh_and_a_asks_unused, "-----"),
        ("cone", 0.01, nothing, "+++--"),
        # A failed attempt spoils the next one.
        ("cone", 0.01, poison, "-----"),
        ("cone", 0.01, both_fresh, "+++--"),
        ("cone", 0.01, both_silent, "+++--"),
        # b is the side that lost its port, and its old value is a lie.
        ("cone", 0.01, a_fresh, "-----"),
        ("cone", 0.01, b_fresh, "+++--"),
        ("cone", 0.01, a_fresh_and_b_asks_unused, "+++--"),
        ("cone", 0.01, b_fresh_and_a_asks_unused, "+++--"),
        # Only a can be clashed with: it goes well unless b's packet is the first to arrive.
        ("cone-firewalled", 0.0, nothing, "++-+-"),
        ("cone-firewalled", 0.01, nothing, "++++-"),
        ("cone-firewalled", 0.01, poison, "-----"),
        ("cone-firewalled", 0.01, both_fresh, "++++-"),
        ("cone-firewalled", 0.01, both_silent, "++++-"),
        ("cone-firewalled", 0.01, a_fresh, "++++-"),
        ("cone-firewalled", 0.01, b_fresh, "-----"),
        ("cone-firewalled", 0.01, a_fresh_and_b_asks_unused, "++++-"),
        ("cone-firewalled", 0.01, b_fresh_and_a_asks_unused, "++++-"),
    ],
)
def test_what_recovers_from_a_clash(nat_b: str, latency: float, prepare: Preparation, expected: str) -> None:
    assert outcomes(nat_b, prepare, latency) == expected


@pytest.mark.parametrize(
    ("nat_b", "latency", "prepare", "opener_ttl", "lead", "expected"),
    [
        # Two NATs, one router between them: a TTL of 2 ends at that router. The lead must exceed the skew.
        ("cone", 0.0, nothing, 2, 0.02, "+++--"),
        ("cone", 0.0, nothing, 2, 0.1, "+++++"),
        ("cone", 0.01, nothing, 2, 0.1, "+++++"),
        ("cone-firewalled", 0.0, nothing, 2, 0.02, "++++-"),
        ("cone-firewalled", 0.0, nothing, 2, 0.1, "+++++"),
        ("cone-firewalled", 0.01, nothing, 2, 0.1, "+++++"),
        # One less makes no mapping, one more does the harm it is to prevent.
        ("cone", 0.0, nothing, 1, 0.1, "-----"),
        ("cone", 0.0, nothing, 3, 0.1, "-----"),
        # It prevents; it does not cure.
        ("cone", 0.01, poison, 2, 0.1, "-----"),
        ("cone", 0.0, both_fresh, 2, 0.1, "+++++"),
        ("cone-firewalled", 0.0, both_fresh, 2, 0.02, "++++-"),
        ("cone-firewalled", 0.0, both_fresh, 2, 0.1, "+++++"),
    ],
)
def test_an_opener_that_dies_between_the_routers_prevents_a_clash(
    nat_b: str, latency: float, prepare: Preparation, opener_ttl: int, lead: float, expected: str
) -> None:
    assert outcomes(nat_b, prepare, latency, opener_ttl=opener_ttl, lead=lead) == expected


def test_no_opener_dies_between_routers_that_are_neighbours() -> None:
    assert outcomes("cone", nothing, 0.0, hops=0, opener_ttl=2, lead=0.1) == "-----"


def test_punching_on_for_33_s_does_not_help() -> None:
    world = World("cone", "cone", latency=0.01)
    assert not world.punch(skew=0.05, duration=33.0)


def test_behind_a_carriers_nat_the_opener_needs_one_more() -> None:
    world = World("cone", "cone")
    carrier = world.network.nat("cone-firewalled", "203.0.113.77", inside="100.64.9.0/24")
    home = world.network.nat("cone", behind=carrier)
    socket = world.network.host(behind=home).bind()
    for ttl, mapped in ((2, False), (3, True)):
        socket.send(b"opener", ("203.0.113.12", 5000 + ttl), ttl=ttl)
        assert bool(carrier.flows()) == mapped
    assert len(home.flows()) == 2
