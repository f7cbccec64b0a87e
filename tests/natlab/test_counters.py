"""A router's counters tell what went to and came from the server and the other router."""

import socket

import pytest

from tests.natlab import Count, Counters, NatLab, missing_requirements

MISSING = missing_requirements()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason="the lab needs " + ", ".join(MISSING)),
]

HEADERS = 28  # bytes of IPv4 and UDP
UDP_SEGMENT = 103
NOTHING = Count(0, 0)


def test_each_direction_is_counted_by_itself_in_packets_and_bytes() -> None:
    with NatLab("dmz", "dmz") as lab:
        agent1, agent2 = lab.agent1.socket(1315), lab.agent2.socket(1315)
        one, other = (lab.server.socket(3478, address) for address in lab.server.addresses)
        agent1.sendto(bytes(100), one.getsockname())
        agent1.sendto(bytes(10), other.getsockname())
        one.sendto(bytes(200), (lab.router1.address, 1315))
        for _ in range(3):
            agent1.sendto(bytes(300), (lab.router2.address, 1315))
        for _ in range(4):
            agent2.sendto(bytes(400), (lab.router1.address, 1315))
        at_router1, at_router2 = lab.router1.counters(), lab.router2.counters()
    to_agent2 = Count(3, 3 * (300 + HEADERS))
    to_agent1 = Count(4, 4 * (400 + HEADERS))
    assert at_router1 == Counters(
        to_server=Count(2, 110 + 2 * HEADERS),
        from_server=Count(1, 200 + HEADERS),
        to_peer=to_agent2,
        from_peer=to_agent1,
    )
    assert at_router2 == Counters(NOTHING, NOTHING, to_peer=to_agent1, from_peer=to_agent2)


def test_counters_taken_earlier_can_be_subtracted() -> None:
    with NatLab("cone", "cone") as lab:
        agent, server = lab.agent1.socket(), lab.server.socket(3478)
        agent.sendto(bytes(100), server.getsockname())
        before = lab.router1.counters()
        agent.sendto(bytes(50), server.getsockname())
        since = lab.router1.counters() - before
    assert since == Counters(Count(1, 50 + HEADERS), NOTHING, NOTHING, NOTHING)


def test_what_the_nat_does_not_let_in_is_not_counted() -> None:
    with NatLab("cone", "cone") as lab:
        lab.server.socket().sendto(b"unasked for", (lab.router1.address, 1315))
        assert lab.router1.counters() == Counters(NOTHING, NOTHING, NOTHING, NOTHING)


@pytest.mark.parametrize(("gso", "packets"), [(False, 10), (True, 1)])
def test_a_train_of_datagrams_is_counted_one_by_one_unless_gso_is_asked_for(gso: bool, packets: int) -> None:
    with NatLab("cone", "cone", gso=gso) as lab:
        agent, server = lab.agent1.socket(), lab.server.socket(3478)
        agent.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        agent.sendto(bytes(1000), server.getsockname())
        assert [len(server.recv(2000)) for _ in range(10)] == [100] * 10
        assert lab.router1.counters().to_server.packets == packets
