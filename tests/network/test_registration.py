"""Staying known to a rendezvous through whatever happens to it, and not staying where one is not needed."""

from __future__ import annotations

import pytest

from pknet.errors import PknetError
from pknet.network import NodeInfo, RendezvousInfo, RendezvousLost, RendezvousRegistered
from pknet.network.registration import (
    FIRST_RETRY,
    HEARTBEAT_INTERVAL,
    IDLE_PATIENCE,
    LAST_RETRY,
    Registration,
)
from pknet.testing.node import SimulatedNode
from tests.network.world import World


def lost(node: SimulatedNode) -> list[RendezvousLost]:
    return [event for event in node.events if isinstance(event, RendezvousLost)]


def registered(node: SimulatedNode) -> list[RendezvousRegistered]:
    return [event for event in node.events if isinstance(event, RendezvousRegistered)]


def restart_rendezvous(world: World) -> None:
    """Take the rendezvous away without a word, and put it there again with the same key."""
    old = world.rendezvous
    old.vanish()
    world.rendezvous = SimulatedNode(
        world.network, old.host, introduces=True, private_key=old.identity.private_key
    )


def test_a_node_tells_that_it_is_registered_once() -> None:
    world = World("cone", "cone")
    world.run(200)
    assert registered(world.server) == [RendezvousRegistered(world.rendezvous.node_id)]
    assert lost(world.server) == []
    assert world.server.node.registered_with == [world.rendezvous.node_id]


def test_a_node_registers_again_with_a_rendezvous_that_was_restarted() -> None:
    world = World("cone", "cone-firewalled")
    restart_rendezvous(world)
    world.run(40)
    assert len(lost(world.server)) == 1
    assert len(registered(world.server)) == 2
    assert world.rendezvous.node.rendezvous_server is not None
    assert world.rendezvous.node.rendezvous_server.registered == [world.server.node_id]
    assert world.connect().is_open


def test_a_rendezvous_that_says_goodbye_is_lost_at_once_and_tried_again() -> None:
    world = World("cone", "cone")
    world.rendezvous.stop()
    world.run(1)
    (event,) = lost(world.server)
    assert event.node_id == world.rendezvous.node_id
    assert event.retry_at == pytest.approx(world.network.now, abs=1.5 * FIRST_RETRY)
    assert world.server.node.registered_with == []
    restart_rendezvous(world)
    world.run(10)
    assert World.is_registered(world.server)


def test_a_rendezvous_that_vanished_is_noticed_by_its_silence() -> None:
    world = World("cone", "cone")
    world.rendezvous.host.move(world.network.nat("one-to-one").inside, "10.9.9.9")
    world.run(HEARTBEAT_INTERVAL + 45)
    (first, *_) = lost(world.server)
    assert first.reason == "the peer does not answer"
    assert world.server.node.registered_with == []


def test_a_node_whose_address_changes_registers_again() -> None:
    world = World("cone", "cone")
    assert world.far is not None
    world.far.set_address("203.0.113.99")
    world.run(40)
    assert World.is_registered(world.server)
    public = world.server.node.public_address
    assert public is not None
    assert public.address[0] == "203.0.113.99"
    assert world.connect().is_open


def test_a_rendezvous_that_is_not_there_is_tried_less_and_less_often() -> None:
    world = World("cone", "cone")
    world.rendezvous.vanish()
    world.run(1200)
    times = [event.retry_at for event in lost(world.server)]
    assert all(when is not None for when in times)
    # 15 s for each try, and the pause after it.
    assert 1200 / (LAST_RETRY * 1.25 + 16) <= len(times) <= 1200 / (LAST_RETRY * 0.75 + 15) + 7


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_the_pauses_double_up_to_a_minute_and_differ_from_node_to_node(chance: float) -> None:
    registration = Registration(RendezvousInfo(World(None, None).server.node_id, ()))
    registration.is_lasting = True
    pauses = []
    for _ in range(8):
        registration.lost(100.0, chance)
        assert registration.retry_at is not None
        pauses.append((registration.retry_at - 100) / (0.75 + chance / 2))
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
    registration.registered()
    registration.lost(100.0, chance)
    assert registration.retry_at == pytest.approx(100 + 0.75 + chance / 2)


def test_a_rendezvous_that_was_used_for_one_dial_is_left_when_it_is_of_no_more_use() -> None:
    world = World("cone", "cone")
    stream = world.connect()
    assert world.client.node.registered_with == [world.rendezvous.node_id]
    world.run(IDLE_PATIENCE + 15)
    assert world.client.node.registered_with == []
    assert lost(world.client) == []
    assert world.rendezvous.node.rendezvous_server is not None
    assert world.client.node_id not in world.rendezvous.node.rendezvous_server.members
    # Nor is it asked by STUN any more.
    assert stream.is_open
    before = world.rendezvous.node.sockets.stun_server.stats.answered
    world.client.attachment.kick()
    world.run(100)
    answered = world.rendezvous.node.sockets.stun_server.stats.answered - before
    assert answered <= 100 / 20 + 1
    # And it serves again when it is wanted.
    assert world.connect().is_open


def test_a_rendezvous_that_is_idle_for_some_but_lasting_is_not_left() -> None:
    world = World("cone", "cone")
    world.connect()
    world.client.node.register(world.rendezvous.rendezvous_info, world.network.now)
    world.client.attachment.kick()
    world.run(300)
    assert world.client.node.registered_with == [world.rendezvous.node_id]


def test_a_rendezvous_for_one_dial_that_is_lost_is_not_tried_again() -> None:
    world = World("cone", "cone")
    world.connect()
    world.rendezvous.stop()
    world.run(5)
    (event,) = lost(world.client)
    assert event.retry_at is None
    world.run(5)
    assert len(lost(world.client)) == 1


@pytest.mark.parametrize("addresses", [(), (("2001:db8::1", 1315),), (("rendezvous.example", 1315),)])
def test_a_rendezvous_that_cannot_be_reached_by_its_addresses_is_an_error_in_words(
    addresses: tuple[tuple[str, int], ...],
) -> None:
    world = World("cone", "cone")
    info = RendezvousInfo(world.rendezvous.node_id, addresses)
    with pytest.raises(PknetError, match="no address of a kind that this node can reach"):
        world.client.node.open_channel([info], world.server.node_id, world.network.now)
    stream = world.client.connect(NodeInfo(world.server.node_id, (), (info,)))
    world.wait(lambda: stream.closed, 5)
    assert stream.failure == ("its rendezvous nodes have no address of a kind that this node can reach")
    # A lasting one is tried again, in case that changes.
    world.client.node.register(info, world.network.now)
    assert lost(world.client) == [] or lost(world.client)[-1].retry_at is None
    world.client.attachment.kick()
    world.run(10)
    assert lost(world.client)[-1].retry_at is not None


def test_of_several_rendezvous_nodes_one_that_is_connected_is_used() -> None:
    world = World("cone", "cone")
    dead = RendezvousInfo(world.client.node_id[:-1] + "q", (("192.0.2.99", 1315),))
    world.connect()
    info = NodeInfo(world.server.node_id, (), (dead, world.rendezvous.rendezvous_info))
    world.server.streams[-1].close()
    world.run(30)
    stream = world.client.connect(info)
    assert world.wait(lambda: stream.is_open, 5)


def test_this_node_is_no_rendezvous_for_itself() -> None:
    world = World("cone", "cone")
    own = world.rendezvous.rendezvous_info
    with pytest.raises(PknetError, match="no rendezvous node is known"):
        world.rendezvous.node.open_channel([own], world.server.node_id, world.network.now)


def test_a_node_does_not_register_with_itself() -> None:
    world = World("cone", "cone")
    world.rendezvous.node.register(world.rendezvous.rendezvous_info, world.network.now)
    world.rendezvous.attachment.kick()
    world.run(30)
    assert lost(world.rendezvous) == []
    assert world.rendezvous.node.registered_with == []


def test_two_rendezvous_nodes_are_kept_at_the_same_time() -> None:
    world = World("cone", "cone")
    second = world.public("192.0.2.80", introduces=True)
    world.server.node.register(second.rendezvous_info, world.network.now)
    world.server.attachment.kick()
    world.run(2)
    assert set(world.server.node.registered_with) == {world.rendezvous.node_id, second.node_id}
    world.rendezvous.vanish()
    world.run(100)
    assert world.server.node.registered_with == [second.node_id]
    info = NodeInfo(world.server.node_id, (), (second.rendezvous_info,))
    stream = world.client.connect(info)
    assert world.wait(lambda: stream.is_open, 20)
