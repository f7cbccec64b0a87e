"""A whole node: what comes on its sockets, who may come in, floods, and stopping in every phase."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet import Transmit
from pknet.errors import StateError
from pknet.network import (
    Identity,
    Node,
    NodeConfig,
    NodeInfo,
    PublicAddressChanged,
    Purpose,
    RendezvousInfo,
    RendezvousRegistered,
    SignallingEnded,
    SignallingWanted,
    SocketWanted,
)
from pknet.network.meetings import OFFER_BURST
from pknet.network.node import HANDSHAKE_BURST, HANDSHAKE_RATE, MAX_OPENINGS, OPENING_TIMEOUT
from pknet.stun import MAGIC_COOKIE, Attribute, MessageClass, Method, build_message, parse_message
from pknet.testing import Link, SimulatedNetwork
from pknet.testing.node import SimulatedNode, echo
from pknet.utp import CloseReason, UtpConfig
from tests.network.raw import RawPeer
from tests.network.world import World, wire

IDENTITY = Identity(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = ("198.51.100.9", 9)
TRANSACTION = bytes(range(12))


def make_node(config: NodeConfig | None = None) -> Node:
    node = Node(IDENTITY, random.Random(5).randbytes, config)
    node.start([("192.0.2.1", 1315)], 0.0)
    return node


def utp(
    type_: int, *, extension: int = 0, connection_id: int = 7, timestamp: int = 1, payload: bytes = b""
) -> bytes:
    return (
        struct.pack(">BBHIIIHH", type_ << 4 | 1, extension, connection_id, timestamp, 0, 1 << 20, 5, 6)
        + payload
    )


BINDING_REQUEST = build_message(Method.BINDING, MessageClass.REQUEST, TRANSACTION)
SYN = utp(4)


# Which datagram goes where.


def test_a_stranger_is_told_its_address() -> None:
    node = make_node()
    node.receive_datagram(BINDING_REQUEST, STRANGER, "socket", 1.0)
    (answer,) = node.transmits()
    assert (answer.remote, answer.local) == (STRANGER, "socket")
    assert parse_message(answer.data).get(Attribute.XOR_MAPPED_ADDRESS) == STRANGER


def test_a_syn_is_answered() -> None:
    node = make_node()
    node.receive_datagram(SYN, STRANGER, None, 1.0)
    (answer,) = node.transmits()
    assert answer.data[0] == 0x21


@pytest.mark.parametrize("type_", [0, 1, 2, 3])
def test_a_utp_packet_that_passes_for_stun_but_is_malformed_as_such_reaches_utp(type_: int) -> None:
    text = b"GET / HTTP/1.1\r\n"
    packet = utp(type_, timestamp=MAGIC_COOKIE, connection_id=len(text), payload=text)
    node = make_node()
    node.receive_datagram(packet, STRANGER, None, 1.0)
    assert node.utp.counters.unknown_connection == 1
    assert node.stats.malformed_stun == 0


def test_malformed_stun_that_is_no_utp_either_is_counted_and_dropped() -> None:
    broken = bytearray(build_message(Method.BINDING, MessageClass.REQUEST, TRANSACTION))
    broken[22:24] = b"\xff\xff"
    node = make_node()
    node.receive_datagram(bytes(broken), STRANGER, None, 1.0)
    assert node.stats.malformed_stun == 1
    assert node.transmits() == []


def test_a_binding_success_that_nobody_asked_for_is_dropped_and_not_taken_for_utp() -> None:
    node = make_node()
    success = build_message(
        Method.BINDING,
        MessageClass.SUCCESS_RESPONSE,
        TRANSACTION,
        [(Attribute.XOR_MAPPED_ADDRESS, ("203.0.113.1", 1))],
    )
    node.receive_datagram(success, STRANGER, None, 1.0)
    assert node.transmits() == []
    assert node.utp.counters.unknown_connection == 0
    assert node.public_address is None


def test_a_utp_data_packet_that_begins_as_a_binding_success_reaches_utp() -> None:
    node = make_node()
    node.receive_datagram(utp(0, extension=1, payload=b"\0\4abcd"), STRANGER, None, 1.0)
    assert node.utp.counters.unknown_connection == 1


def test_channel_data_and_noise_are_counted_and_dropped() -> None:
    node = make_node()
    for data in (b"", b"\0", b"\x40\x00\x00\x04data" + bytes(20), b"\xff" * 100):
        node.receive_datagram(data, STRANGER, None, 1.0)
    assert node.stats.unknown_datagrams == 4
    assert node.transmits() == []


def test_a_merged_run_of_mixed_protocols_is_taken_apart() -> None:
    node = make_node()
    # A run as GRO gives it: one flow, one size, several protocols.
    request = build_message(Method.BINDING, MessageClass.REQUEST, TRANSACTION, fingerprint=False)
    run = SYN + request + utp(4, connection_id=9) + bytes(20) + request
    node.receive_segments(run, 20, STRANGER, None, 1.0)
    answers = [datagram for transmit in node.transmits() for datagram in transmit.datagrams()]
    assert (
        sum(
            parse_message(data).message_class is MessageClass.SUCCESS_RESPONSE
            for data in answers
            if data[0] == 1
        )
        == 2
    )
    assert sum(data[0] == 0x21 for data in answers) == 2
    assert node.stats.unknown_datagrams == 1


def test_noise_in_a_run_is_counted_by_the_datagram() -> None:
    node = make_node()
    node.receive_segments(bytes(50), 20, STRANGER, None, 1.0)
    assert node.stats.unknown_datagrams == 3


@settings(max_examples=300)
@given(st.binary(max_size=120), st.integers(1, 60))
def test_no_datagram_raises(data: bytes, segment_size: int) -> None:
    node = make_node(NodeConfig(introduces=True, allow_plain_utp=True))
    node.receive_datagram(data, STRANGER, None, 1.0)
    node.receive_segments(data, segment_size, STRANGER, None, 1.0)
    node.transmits()
    node.events()
    node.handle_timeout(2.0)


# All that went over the wire in a meeting of two nodes, what is in it and what comes of it if it is changed.


class Tap:
    """Keeps every datagram that a node is given."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.datagrams: list[tuple[bytes, Any, Any]] = []
        self.receive = node.node.receive_datagram
        node.node.receive_datagram = self._take  # type: ignore[method-assign]

    def _take(self, data: Any, remote: Any, local: Any, now: float) -> None:
        self.datagrams.append((bytes(data), remote, local))
        self.receive(data, remote, local, now)


@settings(max_examples=40)
@given(st.data())
def test_no_datagram_of_a_meeting_that_was_tampered_with_raises_or_is_believed(data: st.DataObject) -> None:
    world = World("cone", "cone-firewalled")
    taps = [Tap(node) for node in (world.client, world.server, world.rendezvous)]
    world.client.connect(world.server.info(direct=False))
    world.run(data.draw(st.floats(0, 0.4)))
    for tap in taps:
        for _ in range(20):
            if not tap.datagrams:
                break
            original, remote, local = data.draw(st.sampled_from(tap.datagrams))
            changed = bytearray(original)
            for _ in range(data.draw(st.integers(0, 4))):
                changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
            del changed[data.draw(st.integers(0, len(changed))) :]
            tap.receive(
                bytes(changed), data.draw(st.sampled_from([remote, STRANGER])), local, world.network.now
            )
            tap.node.attachment.kick()
    world.run(60)
    for node in (world.client, world.server):
        assert all(stream.peer in (world.client.node_id, world.server.node_id) for stream in node.streams)


# Who may come in.


def test_a_secret_of_the_wrong_size_is_the_programs_mistake() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        NodeConfig(secrets={b"too short"})


def test_a_secret_of_the_wrong_size_that_was_added_later_admits_nobody_and_breaks_nothing() -> None:
    world = World("cone", "cone", server={"admit": lambda _: False})
    world.server.node.config.secrets.add(b"too short")
    assert world.connect().closed


def test_a_wrong_secret_is_refused_at_the_introduction_and_the_right_one_is_not() -> None:
    secret = os.urandom(16)
    world = World("cone", "cone", server={"admit": lambda _: False, "secrets": [secret]})
    stream = world.client.connect(world.server.info(os.urandom(16), direct=False))
    world.wait(lambda: stream.closed, 40)
    assert stream.failure == (
        "the node refused: this node is not on the list, and its ticket does not admit it"
    )
    # Nobody sent a packet towards the other.
    assert world.near is not None
    assert world.far is not None
    assert world.near.traffic_with(world.far.address).packets_out == 0
    assert world.far.traffic_with(world.near.address).packets_out == 0
    stream = world.client.connect(world.server.info(secret, direct=False))
    assert world.wait(lambda: stream.is_open, 40)


def test_who_is_on_the_list_needs_no_ticket() -> None:
    guests: set[str] = set()
    world = World("cone", "cone", server={"admit": guests.__contains__})
    assert world.connect().closed
    guests.add(world.client.node_id)
    assert world.connect().is_open


def test_a_node_that_introduces_nobody_says_so() -> None:
    world = World("cone", "cone")
    elsewhere = world.public("192.0.2.50")
    info = NodeInfo(world.server.node_id, (), (RendezvousInfo(elsewhere.node_id, (elsewhere.address,)),))
    stream = world.client.connect(info)
    assert world.wait(lambda: stream.closed, 40)
    assert stream.failure is not None
    assert "this node introduces nobody" in stream.failure


# Associations.


def test_an_association_keeps_a_path_open_and_no_program_sees_it() -> None:
    world = World("cone", "cone")
    association = world.client.connect(world.server.info(direct=False), Purpose.ASSOCIATION)
    assert world.wait(lambda: association.is_open, 20)
    world.run(300)
    assert association.is_open
    assert not world.server.streams
    began = world.network.now
    stream = world.connect()
    assert stream.is_open
    assert world.network.now - began < 0.2
    assert stream.stream.path == association.stream.path


def test_an_association_works_both_ways() -> None:
    world = World("cone", "cone", client={"service": echo})
    association = world.client.connect(world.server.info(direct=False), Purpose.ASSOCIATION)
    assert world.wait(lambda: association.is_open, 20)
    # The server knows no way to the client but this.
    back = world.server.connect(NodeInfo(world.client.node_id))
    assert world.wait(lambda: back.is_open, 2)
    assert world.echoes(back)


def test_an_association_that_carries_something_is_closed() -> None:
    world = World("cone", "cone")
    association = world.client.connect(world.server.info(direct=False), Purpose.ASSOCIATION)
    assert world.wait(lambda: association.is_open, 20)
    association.send(b"what is this")
    assert world.wait(lambda: association.eof or association.closed, 20)
    assert not world.server.streams


def test_an_association_ends_when_either_node_stops() -> None:
    world = World("cone", "cone")
    association = world.client.connect(world.server.info(direct=False), Purpose.ASSOCIATION)
    assert world.wait(lambda: association.is_open, 20)
    world.server.stop()
    assert world.wait(lambda: association.eof, 5)


# Floods.


def test_a_flood_of_syns_from_forged_sources_takes_bounded_memory_and_ends() -> None:
    world = World(None, None)
    stream = world.connect(direct=True)
    node = world.server.node
    for number in range(5000):
        remote = (f"198.18.{number >> 8}.{number & 255}", 1 + number)
        node.receive_datagram(utp(4, connection_id=number), remote, None, world.network.now)
    node.transmits()
    assert len(node.utp) <= 1024 + 10
    assert world.echoes(stream)
    world.run(node.utp.config.half_open_timeout + 2)
    assert len(node.utp) <= 2
    assert world.connect(direct=True).is_open


def test_a_source_that_opens_connections_and_says_nothing_is_rationed_and_its_openings_time_out() -> None:
    world = World(None, None)
    stream = world.connect(direct=True)
    raw = RawPeer(world.network, world.network.host("198.51.100.77", **wire()), tls=False)
    for _ in range(int(HANDSHAKE_BURST) + 200):
        raw.dial_plain(world.server.address)
    world.run(2)
    node = world.server.node
    assert node.stats.rationed_streams >= 200 - 2 * HANDSHAKE_RATE
    assert len(node._openings) <= HANDSHAKE_BURST + 2 * HANDSHAKE_RATE
    assert world.echoes(stream)
    # Others come in all the while.
    assert world.connect(direct=True).is_open
    world.run(OPENING_TIMEOUT + 1)
    assert not node._openings
    assert node.stats.timed_out_streams >= HANDSHAKE_BURST
    raw.dial_plain(world.server.address)
    world.run(1)
    assert len(node._openings) == 1


def test_a_node_that_is_in_may_open_as_many_streams_as_it_likes() -> None:
    world = World(None, None)
    first = world.connect(direct=True)
    streams = [world.client.connect(world.server.info()) for _ in range(2 * int(HANDSHAKE_BURST))]
    assert world.wait(lambda: all(stream.is_open for stream in streams), 30)
    assert world.server.node.stats.rationed_streams == 0
    for stream in [first, *streams]:
        stream.close()
    world.run(60)
    assert not world.server.node._known_hosts
    assert not world.server.node._open_to


def test_no_more_connections_are_being_opened_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_OPENINGS >= 1024
    monkeypatch.setattr("pknet.network.node.MAX_OPENINGS", 3)
    world = World(None, None)
    raw = RawPeer(world.network, world.network.host("198.51.100.77", **wire()), tls=False)
    connections = [raw.dial_plain(world.server.address) for _ in range(5)]
    world.run(1)
    assert [connection.close_reason for connection in connections].count(CloseReason.RESET) == 2
    assert world.server.node.stats.rationed_streams == 2


def test_a_flood_of_binding_requests_leaves_the_node_at_work() -> None:
    world = World(None, None)
    stream = world.connect(direct=True)
    node = world.server.node
    for number in range(20_000):
        node.receive_datagram(BINDING_REQUEST, ("198.51.100.9", 1 + number % 60000), None, world.network.now)
    assert len(node.transmits()) < 5_000
    assert world.echoes(stream)


# Sockets.


def test_a_rendezvous_wants_its_second_port_and_lives_without_it() -> None:
    node = make_node(NodeConfig(introduces=True, alternate_port=1316))
    (wanted,) = node.events()
    assert wanted == SocketWanted(1, 1316)
    node.socket_failed(wanted.number, "in use", 0.0)
    assert node.rendezvous_server is not None
    assert node.rendezvous_server.alternate_port == 0


def test_a_socket_that_nobody_asked_for_is_the_adapters_mistake() -> None:
    node = make_node()
    for answer in (
        lambda: node.socket_opened(7, "local", [], 0.0),
        lambda: node.socket_failed(7, "reason", 0.0),
    ):
        with pytest.raises(StateError):
            answer()


def test_fresh_sockets_are_given_back_when_nothing_goes_by_them_any_more() -> None:
    world = World(hops=0)
    stream = world.connect()
    for node in (world.client, world.server):
        assert len(node.attachment.sockets) == 2
    world.run(300)
    assert world.echoes(stream)
    for node in (world.client, world.server):
        assert len(node.attachment.sockets) == 2
    stream.finish()
    world.run(60)
    for node in (world.client, world.server):
        assert len(node.attachment.sockets) == 1


def test_fresh_sockets_of_a_meeting_that_failed_are_given_back() -> None:
    world = World(hops=0, latency=0.0)
    assert world.connect().closed
    assert len(world.client.attachment.sockets) > 1
    world.run(60)
    for node in (world.client, world.server):
        assert len(node.attachment.sockets) == 1


def test_where_no_fresh_socket_can_be_had_the_failure_says_so() -> None:
    world = World(hops=0)
    world.client._open_socket = lambda number, port: world.client.node.socket_failed(  # type: ignore[method-assign]
        number, "too many open files", world.network.now
    )
    stream = world.connect()
    assert stream.failure is not None
    assert "no direct path, because none of" in stream.failure
    assert "another try with a fresh socket failed: too many open files" in stream.failure


def test_the_public_address_is_told_when_it_is_learnt_and_when_it_changes() -> None:
    world = World("cone", "cone")
    assert world.far is not None
    told = [event for event in world.server.events if isinstance(event, PublicAddressChanged)]
    assert [event.public_address.address for event in told] == [(world.far.address, 1315)]
    world.far.set_address("203.0.113.99")
    world.run(60)
    told = [event for event in world.server.events if isinstance(event, PublicAddressChanged)]
    assert [event.public_address.address[0] for event in told][1:] == ["203.0.113.99"]
    assert World.is_registered(world.server)
    assert world.connect().is_open


# Timers.


def test_a_timeout_before_its_time_sends_nothing_and_tells_nothing() -> None:
    world = World("cone", "cone")
    world.client.connect(world.server.info(direct=False))
    world.run(0.1)
    for _ in range(50):
        for simulated in (world.client, world.server, world.rendezvous):
            node = simulated.node
            due = node.next_timeout()
            assert due is None or due >= world.network.now
            node.handle_timeout(world.network.now)
            assert node.transmits() == []
            assert node.events() == []
            assert node.next_timeout() == due
        if not world.network.step():
            break


def test_a_clock_that_goes_back_is_not_believed() -> None:
    node = make_node()
    other = Identity(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    node.register(RendezvousInfo(other.node_id, (("192.0.2.5", 1315),)), 100.0)
    node.transmits()
    before = node.next_timeout()
    node.handle_timeout(3.0)
    node.receive_datagram(b"noise", STRANGER, None, 2.0)
    assert node.next_timeout() == before
    assert before is not None
    assert before > 100


def test_a_node_that_does_nothing_has_no_timer() -> None:
    assert make_node().next_timeout() is None


# Stopping.


def assert_all_quiet(world: World, node: SimulatedNode) -> None:
    """Assert that nothing is left of what a node was doing, and that it is silent."""
    world.run(70)
    assert node.node.next_timeout() is None
    assert len(node.node.utp) == 0
    assert not node.node.dials
    assert not node.node.meetings
    assert not node.node.registered_with
    assert len(node.attachment.sockets) == (2 if node.node.rendezvous_server else 1)
    assert node.node.transmits() == []


@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize("after", [0.01 * step for step in range(40)] + [1.0, 2.2, 2.5, 2.6, 2.7, 3.0])
def test_a_node_can_be_stopped_in_every_phase_of_a_dial(after: float, hops: int) -> None:
    world = World(hops=hops)
    stream = world.client.connect(world.server.info(direct=False))
    world.run(after)
    was_open = stream.is_open
    world.client.stop()
    world.client.stop()
    if was_open:
        assert world.echoes(stream)
        stream.close()
    else:
        assert stream.closed
        assert stream.failure == "the node was stopped"
    assert_all_quiet(world, world.client)
    # The other side is free for the next one.
    assert len(world.server.node.meetings) == 0
    assert len(world.server.attachment.sockets) == 1
    again = world.public("192.0.2.60").connect(world.server.info(direct=False))
    assert world.wait(lambda: again.is_open, 30), again.failure


@pytest.mark.parametrize("after", [0.02 * step for step in range(20)] + [1.0, 2.5])
def test_the_other_node_can_be_stopped_in_every_phase_of_a_dial(after: float) -> None:
    world = World(hops=0)
    stream = world.client.connect(world.server.info(direct=False))
    world.run(after)
    world.server.stop()
    assert world.wait(lambda: stream.is_open or stream.closed, 45)
    if stream.is_open:
        assert world.echoes(stream)
        stream.close()
    else:
        assert stream.failure
    assert_all_quiet(world, world.server)


@pytest.mark.parametrize("how", ["stop", "vanish"])
@pytest.mark.parametrize("after", [0.02 * step for step in range(20)] + [1.0, 2.5])
def test_the_rendezvous_can_go_in_every_phase_of_a_dial(after: float, how: str) -> None:
    world = World(hops=0)
    stream = world.client.connect(world.server.info(direct=False))
    world.run(after)
    getattr(world.rendezvous, how)()
    assert world.wait(lambda: stream.is_open or stream.closed, 45)
    if stream.is_open:
        assert world.echoes(stream)
    else:
        assert stream.failure
        assert stream.failure.isprintable()
    if how == "stop":
        assert_all_quiet(world, world.rendezvous)


def test_a_node_that_was_stopped_begins_nothing_and_lets_nobody_in() -> None:
    world = World(None, None)
    node = world.server.node
    world.server.stop()
    now = world.network.now
    for verb in (
        lambda: node.connect(world.client.info(), now),
        lambda: node.register(world.rendezvous.rendezvous_info, now),
        lambda: node.open_channel([world.rendezvous.rendezvous_info], world.client.node_id, now),
        lambda: node.accept_signalling(now),
        lambda: node.start([], now),
    ):
        with pytest.raises(StateError):
            verb()
    assert world.connect(direct=True).closed
    node.receive_datagram(BINDING_REQUEST, STRANGER, None, now)
    assert node.transmits() == []


def test_connections_that_are_being_opened_end_when_the_node_stops() -> None:
    world = World(None, None)
    raw = RawPeer(world.network, world.network.host("198.51.100.77", **wire()), tls=False)
    connection = raw.dial_plain(world.server.address)
    world.run(0.5)
    world.server.stop()
    world.run(0.5)
    assert connection.close_reason is CloseReason.RESET
    assert not world.server.streams


def test_a_socket_that_was_asked_for_before_the_stop_is_given_back_after_it() -> None:
    node = make_node(NodeConfig(introduces=True, alternate_port=1316))
    (wanted,) = node.events()
    node.stop(1.0)
    node.socket_opened(wanted.number, "socket", [("192.0.2.1", 1316)], 2.0)
    (released,) = node.events()
    assert released.local == "socket"


# Signalling streams of the program's own.


def test_nodes_meet_over_a_signalling_stream_that_the_program_brings() -> None:
    world = World("cone", "cone")
    pipes: dict[int, int] = {}

    def join(number: int, node_id: str) -> None:
        there = world.server.node.accept_signalling(world.network.now)
        pipes[number] = there
        world.client._channels[number] = OwnPipe(world.server, there)  # type: ignore[assignment]
        world.server._channels[there] = OwnPipe(world.client, number)  # type: ignore[assignment]
        world.client.node.signalling_opened(number, world.network.now)

    world.client.open_signalling = join  # type: ignore[method-assign, assignment]
    stream = world.client.connect(NodeInfo(world.server.node_id))
    # The client has asked no STUN server, but the server's NAT learns its address.
    world.client.node.sockets.add_server(world.rendezvous.address, None, world.network.now)
    assert world.wait(lambda: stream.is_open or stream.closed, 30)
    assert stream.is_open, stream.failure
    assert pipes
    assert world.echoes(stream)


class OwnPipe:
    """One end of a pipe of the program's own: bytes take 30 ms to the meeting at its other end."""

    def __init__(self, other: SimulatedNode, number: int) -> None:
        self.other = other
        self.number = number

    def send(self, data: bytes, now: float) -> None:
        def arrive() -> None:
            self.other.node.receive_signalling(self.number, data, self.other.network.now)
            self.other.attachment.kick()

        self.other.network.call_later(0.03, arrive)

    def close(self, now: float) -> None:
        def arrive() -> None:
            self.other.node.signalling_ended(self.number, "", self.other.network.now)
            self.other.attachment.kick()

        self.other.network.call_later(0.03, arrive)


def test_a_program_that_knows_no_way_to_a_node_ends_the_dial_in_its_own_words() -> None:
    world = World("cone", "cone")
    stream = world.client.connect(NodeInfo(world.server.node_id))
    assert world.wait(lambda: stream.closed, 5)
    assert stream.failure == "no rendezvous node is known that could introduce it"


def test_a_program_that_never_opens_a_signalling_stream_fails_the_dial_in_words_that_say_so() -> None:
    world = World("cone", "cone")
    world.client.open_signalling = lambda number, node_id: None  # type: ignore[method-assign]
    stream = world.client.connect(NodeInfo(world.server.node_id))
    assert world.wait(lambda: stream.closed, 31)
    assert stream.failure == "no signalling channel to the node could be opened in time"


def test_words_for_meetings_that_are_gone_are_ignored() -> None:
    node = make_node()
    node.signalling_opened(77, 1.0)
    node.receive_signalling(77, b"data", 1.0)
    node.signalling_ended(77, "gone", 1.0)
    assert node.events() == []


def test_a_stream_that_opens_directly_calls_off_the_meeting() -> None:
    node = make_node()
    stream = node.connect(NodeInfo(IDENTITY.node_id, (("192.0.2.9", 1315),)), 1.0)
    node.transmits()
    (wanted,) = node.events()
    assert isinstance(wanted, SignallingWanted)
    stream.abort(1.5)
    node.transmits()
    ended = [event for event in node.events() if isinstance(event, SignallingEnded)]
    assert ended == [SignallingEnded(wanted.number)]


def test_only_so_many_nodes_may_be_introduced_at_once() -> None:
    node = make_node()
    for _ in range(int(OFFER_BURST)):
        node.accept_signalling(1.0)
    with pytest.raises(StateError, match="too many"):
        node.accept_signalling(1.0)
    assert node.stats.refused_meetings == 1
    # They time out, and the ration grows again.
    for when in range(2, 60):
        node.handle_timeout(float(when))
        node.transmits()
    assert len(node.meetings) == 0
    node.accept_signalling(61.0)


def test_a_node_may_be_a_rendezvous_and_reached_through_another() -> None:
    world = World("cone", "cone")
    both = SimulatedNode(
        world.network,
        world.network.host(behind=world.far),
        port=1400,
        introduces=True,
        rendezvous=[world.rendezvous],
        service=echo,
    )
    assert world.wait(lambda: world.is_registered(both), 5)
    assert any(isinstance(event, RendezvousRegistered) for event in both.events)
    stream = world.client.connect(both.info(direct=False))
    assert world.wait(lambda: stream.is_open, 20)
    assert world.echoes(stream)


def test_transmits_are_of_the_kind_that_adapters_know() -> None:
    node = make_node()
    node.receive_datagram(SYN, STRANGER, None, 1.0)
    assert all(isinstance(transmit, Transmit) for transmit in node.transmits())


def test_what_was_sent_before_close_is_delivered_over_a_slow_path() -> None:
    network = SimulatedNetwork(1)
    far = SimulatedNode(network, network.host("192.0.2.1"))
    slow = Link(latency=0.02, rate=12_000, queue=200_000)
    utp = UtpConfig(send_buffer=1 << 20)
    near = SimulatedNode(network, network.host("192.0.2.2", up=slow), utp=utp)
    stream = near.connect(far.info())
    network.run_until(lambda: stream.is_open, 30)
    sent = 0
    while taken := stream.stream.send(bytes(1 << 18), network.now):
        sent += taken
        near.attachment.kick()
        network.run(0.001)
    stream.close()
    # At this rate it takes minutes.
    assert network.run_until(lambda: stream.closed, 600)
    assert stream.closed.undelivered == 0
    assert len(far.streams[0].received) == sent > 1_000_000


def test_a_node_passes_on_that_a_datagram_was_too_long_for_its_path() -> None:
    node = make_node()
    connection = node.utp.connect(STRANGER, 1.0)
    (syn,) = node.transmits()
    node.receive_datagram(utp_state(syn.data), STRANGER, None, 1.1)
    connection.send(bytes(50_000), 1.1)
    probe = next(transmit for transmit in node.transmits() if len(transmit.data) == 1402)
    node.receive_packet_too_big(probe.data[:20], 1300, STRANGER, None, 1.2)
    assert 1300 in [len(transmit.data) for transmit in node.transmits()]


def utp_state(syn: bytes) -> bytes:
    """Return the SYN-ACK for a SYN."""
    connection_id, seq_nr = struct.unpack(">H12xH", syn[2:18])
    return struct.pack(">BBHIIIHH", 0x21, 0, connection_id, 1, 0, 1 << 20, 5, seq_nr)
