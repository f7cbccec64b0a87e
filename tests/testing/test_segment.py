"""Ways through the network: who is reached directly, by a router or not at all, and how far a TTL carries."""

import pytest

from pknet.testing import SimulatedNetwork


@pytest.mark.parametrize(("ttl", "arrives"), [(3, False), (4, True), (None, True)])
def test_each_router_of_the_internet_takes_one_from_the_ttl(ttl: int | None, arrives: bool) -> None:
    network = SimulatedNetwork(internet_hops=3)
    receiver = network.host().bind()
    network.host().bind().send(b"hello", receiver.address, ttl=ttl)
    assert len(receiver.received) == arrives
    assert network.drops == ({} if arrives else {"TTL ran out": 1})


def test_an_internet_of_no_routers_needs_no_ttl() -> None:
    network = SimulatedNetwork(internet_hops=0)
    receiver = network.host().bind()
    network.host().bind().send(b"hello", receiver.address, ttl=1)
    assert len(receiver.received) == 1


def test_the_routers_of_the_internet_can_change() -> None:
    network = SimulatedNetwork(internet_hops=1)
    receiver = network.host().bind()
    sender = network.host().bind()
    network.internet_hops = 10
    assert network.internet_hops == 10
    sender.send(b"hello", receiver.address, ttl=10)
    assert receiver.received == []


@pytest.mark.parametrize(
    ("nat_a", "nat_b", "hops"),
    # Each NAT on the way and each router between them takes one.
    [("cone", None, 2), ("cone", "full-cone", 3), ("cgnat", "full-cone", 4)],
)
def test_each_nat_on_the_way_takes_one_from_the_ttl(nat_a: str, nat_b: str | None, hops: int) -> None:
    for ttl, arrives in ((hops, False), (hops + 1, True)):
        network = SimulatedNetwork(internet_hops=1)
        third = network.host().bind()
        sender = network.host(behind=network.nat(nat_a)).bind()
        receiver = network.host(behind=network.nat(nat_b) if nat_b else None).bind()
        receiver.send(b"open", third.address)
        sender.send(b"hello", third.received[0].remote, ttl=ttl)
        assert [received.data for received in receiver.received] == [b"hello"] * arrives


def test_neighbours_behind_one_nat_reach_each_other_directly() -> None:
    network = SimulatedNetwork()
    home = network.nat("symmetric-firewalled")
    one, other = network.host(behind=home).bind(1000), network.host(behind=home).bind(1000)
    one.send(b"hello", other.address, ttl=1)
    assert [received.remote for received in other.received] == [one.address]
    assert home.flows() == []


def test_a_private_address_leads_nowhere_from_outside() -> None:
    network = SimulatedNetwork()
    inside = network.host("10.1.0.2", behind=network.nat("full-cone")).bind(1000)
    network.host().bind().send(b"hello", inside.address)
    network.host(behind=network.nat("cone")).bind().send(b"hello", inside.address)
    assert network.drops == {"no route": 2}


def test_two_homes_may_use_the_same_private_addresses() -> None:
    network = SimulatedNetwork()
    server = network.host().bind()
    for _ in range(2):
        home = network.nat("cone", inside="192.168.1.0/24")
        network.host("192.168.1.2", behind=home).bind(1000).send(b"hello", server.address)
    assert [received.remote for received in server.received] == [
        ("203.0.113.11", 1000),
        ("203.0.113.12", 1000),
    ]
