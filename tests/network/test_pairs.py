"""Who meets whom directly: the pairs of `tests/natlab/test_pairs.py`, in virtual time, and more of them."""

from __future__ import annotations

import pytest

from pknet.nat import Mapping
from pknet.testing import Link
from pknet.testing.node import SimulatedNode, echo
from tests.network.world import World

DIRECT, NONE = True, False

# fmt: off
NATS = ("dmz", "cone", "symmetric", "cone-firewalled", "symmetric-firewalled")
# The node behind the NAT of the row connects to the one behind the NAT of the column.
EXPECTED = {
    #                        dmz     cone    symmetric  cone-fw  symmetric-fw
    "dmz":                  (DIRECT, DIRECT, DIRECT,    DIRECT,  DIRECT),
    "cone":                 (DIRECT, DIRECT, NONE,      DIRECT,  NONE),
    "symmetric":            (DIRECT, NONE,   NONE,      NONE,    NONE),
    "cone-firewalled":      (DIRECT, DIRECT, NONE,      DIRECT,  NONE),
    "symmetric-firewalled": (DIRECT, NONE,   NONE,      NONE,    NONE),
}
# fmt: on
PAIRS = [(one, other, EXPECTED[one][NATS.index(other)]) for one in NATS for other in NATS]
PAYLOAD = bytes(range(256)) * 400


def assert_direct(world: World) -> None:
    stream = world.connect()
    assert stream.is_open, stream.failure
    assert world.echoes(stream, PAYLOAD)
    assert world.near is not None
    assert world.far is not None
    # The payload passed both routers, and the rendezvous has seen none of it.
    for nat in (world.near, world.far):
        assert sum(traffic.bytes_out for traffic in nat.traffic.values()) > len(PAYLOAD)
        assert nat.traffic_with(world.rendezvous.address[0]).bytes_out < len(PAYLOAD) / 10


@pytest.mark.parametrize(("near", "far", "expected"), PAIRS)
def test_two_nodes_meet_where_theory_lets_them(near: str, far: str, expected: bool) -> None:
    world = World(near, far)
    if expected is DIRECT:
        assert_direct(world)
        return
    stream = world.connect()
    assert stream.closed
    assert stream.failure is not None
    assert "no direct path, because" in stream.failure
    assert "symmetric" in stream.failure
    assert world.near is not None
    assert world.far is not None
    # One round, for theory says that no other is worth it: some checks, and nothing else.
    assert 0 < world.near.traffic_with(world.far.public_address).packets_out <= 20


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("latency", [0.01, 0.15])
def test_bare_cones_recover_from_the_clash_with_no_hop_between_them(latency: float, seed: int) -> None:
    # Without a hop an opener reaches the other router, and takes the port there; only fresh sockets help.
    world = World(hops=0, latency=latency, seed=seed)
    assert_direct(world)
    assert len(world.client.attachment.sockets) > 1


def test_bare_cones_whose_checks_cannot_cross_in_flight_fail_and_say_that_no_nat_forbids_it() -> None:
    stream = World(hops=0, latency=0.0).connect()
    assert stream.failure is not None
    assert "no direct path, because none of" in stream.failure
    assert "though neither NAT forbids it" in stream.failure


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ("cone", "full-cone"),
        ("symmetric", "full-cone"),
        ("full-cone", "symmetric"),
        ("symmetric-sequential", "full-cone"),
        ("address-restricted", "symmetric"),
        ("symmetric", "address-restricted"),
        ("address-restricted", "cone-firewalled"),
        ("cgnat", "cone-firewalled"),
        ("cone-firewalled", "cgnat"),
        ("port-block", "port-block"),
        ("one-to-one", "symmetric"),
        ("firewall", "firewall"),
        ("firewall", "cone-firewalled"),
        ("cone-firewalled", "address-dependent"),
    ],
)
def test_other_nats_meet_too(near: str, far: str) -> None:
    world = World(near, far)
    if "address-dependent" in (near, far):
        # The port that the rendezvous saw is none that the peer sees.
        assert world.connect().closed
    else:
        assert_direct(world)


@pytest.mark.parametrize("skew", [0.2, 1.0, 2.0])
@pytest.mark.parametrize(
    ("near", "far"), [("cone", "cone-firewalled"), ("cone", "cone"), ("dmz", "symmetric")]
)
def test_a_slow_signalling_channel_does_not_keep_nodes_apart(near: str, far: str, skew: float) -> None:
    # The way to the rendezvous and back is long, that from NAT to NAT is short.
    world = World(near, far)
    for link in (world.rendezvous.host.up, world.rendezvous.host.down):
        assert link is not None
        link.latency = skew / 2
    assert_direct(world)


def test_a_node_in_the_open_is_reached_by_its_address_without_any_rendezvous() -> None:
    world = World("symmetric", None)
    world.rendezvous.vanish()
    stream = world.connect(direct=True)
    assert stream.is_open
    assert stream.stream.remote == world.server.address
    assert world.echoes(stream)


def test_no_udp_is_said_in_words() -> None:
    world = World("no-udp", "cone")
    stream = world.connect()
    assert stream.closed
    assert stream.failure == "the peer does not answer on the signalling channel" or (
        stream.failure is not None and "did not open in time" in stream.failure
    )


def test_two_nodes_behind_one_nat_meet_by_their_local_addresses() -> None:
    world = World("cone", "cone")
    assert world.far is not None
    neighbour = world.behind(world.far, port=1316)
    stream = neighbour.connect(world.server.info(direct=False))
    assert world.wait(lambda: stream.is_open, 20)
    assert stream.stream.remote == world.server.address
    assert world.far.traffic_with(world.far.public_address).packets_out == 0


def test_two_nodes_with_the_same_private_address_meet() -> None:
    world = World("cone", "cone")
    network = world.network
    nats = [network.nat("cone", inside="192.168.1.0/24", up=Link(0.005), down=Link(0.005)) for _ in range(2)]
    server = SimulatedNode(
        network, network.host("192.168.1.2", behind=nats[0]), rendezvous=[world.rendezvous], service=echo
    )
    client = SimulatedNode(network, network.host("192.168.1.2", behind=nats[1]))
    assert server.address == client.address
    assert world.wait(lambda: world.is_registered(server), 5)
    stream = client.connect(server.info())
    assert world.wait(lambda: stream.is_open, 20)
    assert stream.stream.remote == (nats[0].address, 1315)


@pytest.mark.parametrize(("near", "far", "expected"), PAIRS)
def test_both_may_dial_each_other_at_the_same_moment(near: str, far: str, expected: bool) -> None:
    world = World(near, far, client={"service": echo})
    world.client.node.register(world.rendezvous.rendezvous_info, world.network.now)
    world.client.attachment.kick()
    assert world.wait(lambda: world.is_registered(world.client), 5)
    world.run(1)
    there = world.client.connect(world.server.info(direct=False))
    info = world.client.info(direct=False)
    back = world.server.connect(type(info)(info.node_id, (), (world.rendezvous.rendezvous_info,)))
    world.wait(lambda: all(stream.is_open or stream.closed for stream in (there, back)), 40)
    assert (there.is_open, back.is_open) == (expected, expected), (there.failure, back.failure)
    if expected:
        assert world.echoes(there)
        assert world.echoes(back)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("near", "far"), [("cone", "cone-firewalled"), ("symmetric", "dmz"), ("cone", "cone")]
)
def test_five_in_a_hundred_packets_lost_keep_nobody_apart(near: str, far: str, seed: int) -> None:
    # Each way has two wires of 2.5 %.
    world = World(near, far, loss=0.025, seed=seed)
    stream = world.connect()
    assert stream.is_open, stream.failure
    assert world.echoes(stream, PAYLOAD, timeout=60)


def test_a_dial_to_a_node_that_is_known_already_takes_the_same_path_at_once() -> None:
    world = World("cone", "cone")
    first = world.connect()
    began = world.network.now
    second = world.connect()
    assert world.network.now - began < 0.2
    assert second.stream.path == first.stream.path
    assert world.rendezvous.node.rendezvous_server is not None
    assert world.rendezvous.node.rendezvous_server.introductions == 1


def test_a_known_path_that_leads_nowhere_any_more_is_left_for_a_new_meeting() -> None:
    world = World("cone", "cone-firewalled")
    first = world.connect()
    assert first.is_open
    assert world.near is not None
    # The router restarts: what it knew is gone, and packets from outside find nobody.
    world.near.set_address("203.0.113.77")
    world.run(25)
    second = world.connect()
    assert second.is_open, second.failure
    assert world.echoes(second)


def test_the_mapping_is_known_in_words_of_rfc_4787() -> None:
    world = World("symmetric", "cone", client={})
    world.connect()
    assert world.server.node.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert world.client.node.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
