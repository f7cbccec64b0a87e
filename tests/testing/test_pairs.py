"""Which pairs of NATs can be punched through, and when, as it was measured on Linux with nftables."""

from dataclasses import dataclass
from itertools import product
from random import Random
from statistics import median

import pytest

from pknet.testing import NATS, Address, SimulatedNetwork
from tests.testing.world import World

# Whoever was asked once lets in any port of the peer: its probe is heard, and its port learnt from it.
OPEN = ("dmz", "full-cone", "one-to-one", "address-restricted")
# The peer never learns the port that is used towards it.
DEPENDENT = ("symmetric", "symmetric-firewalled", "symmetric-sequential", "address-dependent")
# The port is known, but only the peer's own known port may come in.
RESTRICTED_FIREWALLED = ("cone-firewalled", "firewall", "cgnat")
# And a packet that comes too early takes it away.
RESTRICTED_BARE = ("cone", "port-block")


@dataclass(frozen=True)
class Start:
    """When side b starts, in seconds after a, and the seconds from one NAT to the other."""

    latency: float
    skew: float


# Without latency there is no "together": one is always first, here a.
STARTS = (Start(0.0, 0.0), Start(0.02, 0.0), Start(0.02, 0.1), Start(0.02, -0.1))


def expected(nat_a: str, nat_b: str) -> str:
    """Return + or - for each start."""
    if "no-udp" in (nat_a, nat_b):
        return "----"
    if nat_a in OPEN or nat_b in OPEN:
        return "++++"
    if nat_a in DEPENDENT or nat_b in DEPENDENT:
        return "----"
    # Two ports that are known. A bare router must not hear of the peer before its own host has sent.
    if nat_a in RESTRICTED_BARE:
        return "-+--" if nat_b in RESTRICTED_BARE else "+++-"
    return "-+-+" if nat_b in RESTRICTED_BARE else "++++"


def outcome(nat_a: str, nat_b: str, learn: bool = True) -> str:
    return "".join(
        "+" if World(nat_a, nat_b, start.latency, learn).punch(start.skew) else "-" for start in STARTS
    )


def test_every_nat_has_its_place_here() -> None:
    assert sorted((*OPEN, *DEPENDENT, *RESTRICTED_FIREWALLED, *RESTRICTED_BARE, "no-udp")) == sorted(NATS)


@pytest.mark.parametrize(("nat_a", "nat_b"), list(product(NATS, NATS)))
def test_what_plain_punching_gets_through(nat_a: str, nat_b: str) -> None:
    assert outcome(nat_a, nat_b) == expected(nat_a, nat_b)


@pytest.mark.parametrize("opened", ["dmz", "full-cone", "address-restricted"])
@pytest.mark.parametrize("dependent", ["symmetric", "symmetric-firewalled"])
def test_a_symmetric_nat_is_reached_only_by_learning_where_its_probes_come_from(
    opened: str, dependent: str
) -> None:
    assert outcome(opened, dependent, learn=False) == "----"
    assert outcome(dependent, opened, learn=False) == "----"


@pytest.mark.parametrize("nat_b", ["cone", "cone-firewalled", "symmetric-sequential"])
@pytest.mark.parametrize("seed", range(10))
def test_a_sequential_nat_is_reached_at_the_next_port(nat_b: str, seed: int) -> None:
    world = World("symmetric-sequential", nat_b, latency=0.02, seed=seed)
    for side in world.a, world.b:
        assert side.mapped is not None
        if side.nat.behaviour.port_allocation == "sequential":
            host, port = side.mapped
            side.mapped = host, port + 1
    assert world.punch()


def test_two_hosts_behind_one_nat_meet_at_their_local_addresses_only() -> None:
    for public, met in ((True, False), (False, True)):
        world = World("cone-firewalled", "cone-firewalled")
        neighbour = world.b
        neighbour.host.move(world.a.nat.inside, "10.1.0.77")
        neighbour.nat = world.a.nat
        for side in world.a, neighbour:
            side.mapped = side.ask(("192.0.2.1", 3478)) if public else side.attachment.address
        assert world.punch() == met


def probes_until_a_hit(nat: str, seed: int, most: int = 1024) -> int | None:
    """Open 256 ports of a symmetric NAT towards a host behind another; return how many probes found one."""
    network = SimulatedNetwork(seed)
    server = network.host().bind(3478)
    prober = network.host(behind=network.nat(nat)).bind(1315)
    symmetric = network.nat("symmetric-firewalled" if nat.endswith("firewalled") else "symmetric")
    host = network.host(behind=symmetric)
    prober.send(b"who am I", server.address)
    target: Address = server.received.pop().remote
    sockets = [host.bind() for _ in range(256)]
    for socket in sockets:
        socket.send(b"open", target)
    guesses = Random(seed).sample(range(1024, 65536), most)
    for count, port in enumerate(guesses, 1):
        prober.send(b"probe", (symmetric.address, port))
        if any(socket.received for socket in sockets):
            return count
    return None


def test_the_birthday_paradox_finds_a_port_of_a_symmetric_nat() -> None:
    counts = [probes_until_a_hit("cone-firewalled", seed) for seed in range(24)]
    found = [count for count in counts if count is not None]
    # Each may fail with a chance of 1.6 %. The median is at 64512 / 256 * ln 2.
    assert len(found) >= 22
    assert 100 < median(found) < 280


def test_the_clash_defeats_the_birthday_paradox() -> None:
    assert [probes_until_a_hit("cone", seed) for seed in range(10)] == [None] * 10
