"""What a rendezvous node does for honest nodes, for rude ones, and what a lying one can do to nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pknet.network import NodeInfo, RendezvousInfo, messages
from pknet.network import rendezvous as rendezvous_module
from pknet.network.framing import FrameReader
from pknet.network.meetings import OFFER_BURST
from pknet.network.messages import (
    ChannelClosed,
    ChannelData,
    Hello,
    Introduce,
    OpenChannel,
    Purpose,
    Register,
    Registered,
    Rendezvous,
    Signalling,
    Welcome,
)
from pknet.network.rendezvous import (
    MAX_CHANNEL_BYTES,
    MEMBER_PATIENCE,
    OPEN_BURST,
    RendezvousServer,
)
from pknet.stun import SourceLimiter
from pknet.testing.node import SimulatedNode, echo
from pknet.utp import UtpConfig
from tests.network.raw import RawPeer
from tests.network.world import World, wire

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = "a" * 52


class Member:
    """A peer that is connected to the rendezvous of a world, and says to it what the test has it say."""

    def __init__(self, world: World, *, address: str | None = None) -> None:
        self.world = world
        hosts = () if address is None else (address,)
        self.raw = RawPeer(world.network, world.network.host(*hosts, **wire()))
        self.connection = self.raw.dial(world.rendezvous.address, world.rendezvous.node_id)
        self.heard: list[Any] = []
        self._reader = FrameReader()
        world.run(0.2)
        self.raw.say(messages.encode(Hello(messages.VERSION, Purpose.RENDEZVOUS)))
        world.run(0.2)
        (answer,) = self._payloads()
        self.answer = messages.decode(answer, messages.Opening)

    @property
    def node_id(self) -> Any:
        return self.raw.identity.node_id

    @property
    def is_connected(self) -> bool:
        return self.connection.connection.state == "CONNECTED" and not self.connection.connection.at_eof

    def say(self, *spoken: Any, wait: float = 0.2) -> list[Any]:
        """Say some messages, and return what has been heard by then."""
        for message in spoken:
            self.raw.say(messages.encode(message), connection=self.connection)
        self.world.run(wait)
        return self.listen()

    def listen(self) -> list[Any]:
        return [messages.decode(payload, Rendezvous) for payload in self._payloads()]

    def _payloads(self) -> list[bytes]:
        payloads = []
        while self.connection.tls.readable:
            payloads += self._reader.receive_stream_data(self.connection.tls.read(1 << 16))
        return payloads


@pytest.fixture
def world() -> World:
    return World(None, None)


def server_of(world: World) -> RendezvousServer:
    server = world.rendezvous.node.rendezvous_server
    assert server is not None
    return server


def test_a_node_registers_and_learns_of_the_port_where_stun_is_served_too(world: World) -> None:
    member = Member(world)
    assert member.answer == Welcome()
    assert member.say(Register()) == [Registered(1316)]
    assert set(server_of(world).registered) == {world.server.node_id, member.node_id}


def test_a_channel_joins_two_nodes(world: World) -> None:
    one, other = Member(world), Member(world)
    other.say(Register())
    one.say(OpenChannel(1, other.node_id), ChannelData(1, b"hello"))
    opened, data = other.listen()
    assert opened == OpenChannel(opened.channel, one.node_id)
    assert opened.channel % 2 == 0
    assert data == ChannelData(opened.channel, b"hello")
    other.say(ChannelData(opened.channel, b"hello yourself"), ChannelClosed(opened.channel, "enough"))
    assert one.listen() == [ChannelData(1, b"hello yourself"), ChannelClosed(1, "enough")]
    # What is said on a channel that is over is dropped.
    assert one.say(ChannelData(1, b"are you there?")) == []
    assert other.listen() == []


def test_a_channel_that_cannot_be_opened_is_closed_in_words(world: World) -> None:
    member = Member(world)
    member.say(Register())
    assert member.say(OpenChannel(1, NOBODY)) == [
        ChannelClosed(1, "the node is not connected to this rendezvous")
    ]
    assert member.say(OpenChannel(3, member.node_id)) == [
        ChannelClosed(3, "a node is not introduced to itself")
    ]
    assert member.say(OpenChannel(2, world.server.node_id)) == [
        ChannelClosed(2, "the channel number is taken")
    ]
    member.say(OpenChannel(5, world.server.node_id))
    assert member.say(OpenChannel(5, world.server.node_id)) == [
        ChannelClosed(5, "the channel number is taken")
    ]


def test_who_is_connected_and_not_registered_is_not_found(world: World) -> None:
    one, other = Member(world), Member(world)
    (closed,) = one.say(OpenChannel(1, other.node_id))
    assert closed.reason == "the node is not connected to this rendezvous"


def test_introductions_are_rationed_by_source(world: World) -> None:
    member = Member(world, address="192.0.2.70")
    heard = member.say(*(OpenChannel(number, NOBODY) for number in range(1, 401, 2)), wait=1)
    rationed = [message for message in heard if message.reason == "too many introductions were asked for"]
    assert 200 - OPEN_BURST - 10 <= len(rationed) < 200
    # Another source is not held back.
    other = Member(world)
    (closed,) = other.say(OpenChannel(1, NOBODY))
    assert "not connected" in closed.reason


def test_a_stranger_that_asks_for_a_node_all_the_time_keeps_nobody_from_it(world: World) -> None:
    strangers = [Member(world, address=f"192.0.2.{70 + number}") for number in range(3)]

    def ask(first: int) -> None:
        for channel in range(first, first + 200, 2):
            for stranger in strangers:
                stranger.say(OpenChannel(channel, world.server.node_id), wait=0.03)

    ask(1)
    info = RendezvousInfo(world.rendezvous.node_id, (world.rendezvous.address,))
    stream = world.client.connect(NodeInfo(world.server.node_id, (), (info,)))
    ask(201)
    assert stream.is_open, stream.failure


def test_a_member_has_only_so_many_channels(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous_module, "MAX_CHANNELS", 3)
    one, other = Member(world), Member(world)
    other.say(Register())
    heard = one.say(*(OpenChannel(number, other.node_id) for number in (1, 3, 5, 7)))
    assert heard == [ChannelClosed(7, "too many channels are open")]


def test_a_channel_that_carries_too_much_is_closed_at_both_ends(world: World) -> None:
    one, other = Member(world), Member(world)
    other.say(Register())
    one.say(OpenChannel(1, other.node_id))
    part = bytes(8192)
    heard = one.say(*[ChannelData(1, part)] * (MAX_CHANNEL_BYTES // 8192))
    assert heard == []
    assert one.say(ChannelData(1, b"x")) == [ChannelClosed(1, "too much was sent")]
    received = other.listen()
    assert (
        sum(len(message.data) for message in received if isinstance(message, ChannelData))
        == MAX_CHANNEL_BYTES
    )
    assert received[-1].reason == "too much was sent"


def test_a_member_that_goes_takes_its_channels_with_it(world: World) -> None:
    one, other = Member(world), Member(world)
    other.say(Register())
    one.say(OpenChannel(1, other.node_id))
    other.connection.connection.abort(world.network.now)
    other.raw.attachment.kick()
    world.run(1)
    assert one.listen() == [ChannelClosed(1, "the node has gone")]
    assert other.node_id not in server_of(world).registered


def test_a_member_that_ends_its_stream_in_peace_is_gone_too(world: World) -> None:
    member = Member(world)
    member.say(Register())
    member.connection.tls.send_eof()
    member.raw.attachment.kick()
    world.run(1)
    assert member.node_id not in server_of(world).members


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1\xc1", (1 << 31).to_bytes(4)])
def test_a_member_that_talks_nonsense_is_sent_away(world: World, noise: bytes) -> None:
    member = Member(world)
    member.raw.say(noise)
    world.run(1)
    assert not member.is_connected
    assert member.node_id not in server_of(world).members


def test_a_member_that_does_not_read_does_not_fill_the_memory_and_others_are_told(world: World) -> None:
    lazy, one = Member(world), Member(world)
    lazy.say(Register())
    server_of(world)._opens_to = SourceLimiter(1e9, 1e9, 10)
    # It acknowledges nothing any more.
    lazy.raw.attachment.detach()
    sent = 0
    answers: list[Any] = []
    for number in range(1, 101, 2):
        answers += one.say(
            OpenChannel(number, lazy.node_id), *[ChannelData(number, bytes(8192))] * 7, wait=0.3
        )
        sent += 7 * 8192
    reasons = {message.reason for message in answers if isinstance(message, ChannelClosed)}
    assert reasons == {"too much was sent", "the node does not keep up"}
    assert sent > 2_000_000
    (member,) = (item for item in server_of(world)._members.values() if item.node_id == lazy.node_id)
    assert len(member.messages._backlog) < 300_000


def test_a_member_that_asks_and_does_not_read_the_answers_loses_its_stream() -> None:
    small = UtpConfig(receive_buffer=16384, send_buffer=16384)
    world = World(None, None)
    world.rendezvous.vanish()
    world.rendezvous = SimulatedNode(world.network, world.rendezvous.host, introduces=True, utp=small)
    world.run(0.5)
    rude = Member(world)
    rude.raw.transmits, transmits = (lambda: rude.raw.utp.transmits()), rude.raw.transmits  # type: ignore[method-assign]
    questions = messages.encode(OpenChannel(2, NOBODY)) * 60_000
    stream = next(iter(server_of(world)._members))
    for start in range(0, len(questions), 4096):
        if rude.connection.connection.state != "CONNECTED":
            break
        rude.connection.tls.send(questions[start : start + 4096])
        data = rude.connection.tls.data_to_send(1 << 16)
        rude.connection.connection.send(data, world.network.now)
        rude.raw.attachment.kick()
        world.run(0.05)
    assert transmits is not None
    assert stream not in server_of(world)._members
    assert not stream.is_open


def test_only_so_many_nodes_may_be_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(None, None)
    world.rendezvous.node.rendezvous_server = RendezvousServer(max_members=1)
    assert Member(world).answer == Welcome()
    assert Member(world).answer.reason == "as many nodes are connected as this one can serve"
    world.rendezvous.node.rendezvous_server = RendezvousServer()
    monkeypatch.setattr(rendezvous_module, "MAX_MEMBERS_OF_SOURCE", 1)
    first = Member(world, address="192.0.2.71")
    assert first.answer == Welcome()
    host = first.raw.attachment.host
    again = RawPeer(world.network, host, port=2000)
    connection = again.dial(world.rendezvous.address, world.rendezvous.node_id)
    world.run(0.3)
    again.say(messages.encode(Hello(messages.VERSION, Purpose.RENDEZVOUS)))
    world.run(0.3)
    (payload,) = FrameReader().receive_stream_data(connection.tls.read(1 << 16))
    assert messages.decode(payload, messages.Opening).reason == (
        "too many nodes are connected from your address"
    )
    # A place that becomes free is free.
    first.connection.connection.abort(world.network.now)
    first.raw.attachment.kick()
    world.run(0.3)
    assert Member(world, address="192.0.2.72").answer == Welcome()
    assert not server_of(world)._members_of or max(server_of(world)._members_of.values()) == 1


def test_a_member_that_falls_silent_is_given_up_and_one_that_says_it_is_there_is_not(world: World) -> None:
    member = Member(world)
    member.say(Register())
    world.server.vanish()
    for _ in range(4):
        world.run(MEMBER_PATIENCE / 3)
        member.say(Register())
    assert server_of(world).registered == [member.node_id]


def test_of_two_members_the_one_that_is_silent_is_given_up_though_it_came_later(world: World) -> None:
    early, late = Member(world), Member(world)
    late.say(Register())
    for _ in range(4):
        world.run(MEMBER_PATIENCE / 3)
        early.say(Register())
    assert early.node_id in server_of(world).registered
    assert late.node_id not in server_of(world).members


def test_a_new_stream_takes_the_place_of_the_nodes_old_one(world: World) -> None:
    member = Member(world)
    member.say(Register())
    old = member.connection
    member.connection = member.raw.dial(world.rendezvous.address, world.rendezvous.node_id)
    world.run(0.2)
    member.raw.say(messages.encode(Hello(messages.VERSION, Purpose.RENDEZVOUS)))
    world.run(0.2)
    member._payloads()
    member.say(Register())
    # The end of the old one does not undo the registration of the new one.
    old.connection.abort(world.network.now)
    member.raw.attachment.kick()
    world.run(0.2)
    one = Member(world)
    one.say(OpenChannel(1, member.node_id))
    assert [type(message) for message in member.listen()] == [OpenChannel]


def test_a_rendezvous_that_stops_says_goodbye(world: World) -> None:
    member = Member(world)
    world.rendezvous.stop()
    world.run(1)
    assert not member.is_connected
    assert server_of(world).members == []


# What a lying rendezvous can do: deny its service, and no more.


class Liar(RendezvousServer):
    """Passes on what `lie(data, history)` makes of what nodes say to each other."""

    def __init__(self, lie: Callable[[bytes, list[bytes]], list[bytes]]) -> None:
        super().__init__()
        self.lie = lie
        self.history: list[bytes] = []

    def _pass_on(self, member: Any, channel: int, data: bytes, now: float) -> None:
        self.history.append(data)
        for part in self.lie(data, self.history):
            super()._pass_on(member, channel, part, now)


def lying(lie: Callable[[bytes, list[bytes]], list[bytes]], near: str = "cone", far: str = "cone") -> World:
    world = World(near, far)
    world.rendezvous.node.rendezvous_server = liar = Liar(lie)
    liar.alternate_port = 1316
    # Its members are those of the honest one that it has replaced.
    world.rendezvous.vanish()
    world.rendezvous = SimulatedNode(world.network, world.rendezvous.host, introduces=True)
    liar.alternate_port = 1316
    world.rendezvous.node.rendezvous_server = liar
    rendezvous = world.rendezvous.rendezvous_info
    world.server.node.register(rendezvous, world.network.now)
    world.server._rendezvous = (rendezvous,)
    world.server.attachment.kick()
    world.wait(lambda: world.rendezvous.node_id in world.server.node.registered_with, 10)
    world.run(1)
    return world


def checks_sent(world: World) -> int:
    """Return how many packets went from one side's NAT towards the other."""
    assert world.near is not None
    assert world.far is not None
    return (
        world.near.traffic_with(world.far.address).packets_out
        + world.far.traffic_with(world.near.address).packets_out
    )


def assert_denied(world: World) -> None:
    stream = world.connect()
    assert stream.closed
    assert stream.failure
    assert stream.failure.isprintable()
    assert not world.server.streams


def test_a_rendezvous_that_tells_the_truth_is_believed() -> None:
    world = lying(lambda data, _: [data])
    assert world.connect().is_open


def test_a_rendezvous_that_drops_everything_denies_its_service() -> None:
    world = lying(lambda data, _: [])
    assert_denied(world)
    assert checks_sent(world) == 0


def test_a_rendezvous_that_drops_go_makes_nobody_find_anybody() -> None:
    world = lying(lambda data, history: [] if len(history) >= 3 else [data])
    assert_denied(world)


def test_a_rendezvous_that_repeats_everything_gains_nothing() -> None:
    world = lying(lambda data, _: [data, data])
    stream = world.connect()
    # What is repeated breaks the introduction off, or comes when all has been said.
    assert stream.is_open or stream.failure


def test_a_rendezvous_that_swaps_what_the_two_say_gains_nothing() -> None:
    world = lying(lambda data, history: [history[0]])
    assert_denied(world)
    assert checks_sent(world) == 0


@pytest.mark.parametrize("at", [0, 5, 20, 60, 100, -1])
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_rendezvous_that_changes_a_byte_is_found_out(at: int, which: int) -> None:
    def corrupt(data: bytes, history: list[bytes]) -> list[bytes]:
        if len(history) != which:
            return [data]
        changed = bytearray(data)
        changed[at] ^= 1
        return [bytes(changed)]

    assert_denied(lying(corrupt))


def test_a_rendezvous_that_replays_an_old_introduction_makes_nobody_send_a_packet() -> None:
    world = lying(lambda data, _: [data])
    stream = world.connect()
    assert stream.is_open
    stream.close()
    world.run(30)
    liar = server_of(world)
    assert isinstance(liar, Liar)
    said = list(liar.history)
    before = checks_sent(world)
    # Later it plays the initiator's words to the responder again, all of them.
    accuser = Member(world)
    accuser.say(OpenChannel(1, world.server.node_id))
    for data in said:
        payloads = FrameReader().receive_stream_data(data)
        if isinstance(messages.decode(payloads[0], Signalling), Introduce):
            accuser.say(ChannelData(1, data))
    world.run(30)
    assert checks_sent(world) == before
    assert len(world.server.node.meetings) == 0


def test_a_rendezvous_that_joins_a_channel_to_a_third_node_introduces_nobody() -> None:
    world = lying(lambda data, _: [data])
    third = SimulatedNode(
        world.network, world.network.host(**wire()), rendezvous=[world.rendezvous], service=echo
    )
    assert world.wait(lambda: world.is_registered(third), 5)
    liar = server_of(world)
    # Who asks for the server gets the third node.
    liar._registered[world.server.node_id] = liar._registered[third.node_id]
    assert_denied(world)
    assert not third.streams
    assert len(third.node.meetings) <= 1


def test_a_rendezvous_cannot_claim_to_be_another_node() -> None:
    world = World("cone", "cone")
    impostor = world.public("192.0.2.90", introduces=True)
    info = RendezvousInfo(world.rendezvous.node_id, (impostor.address,))
    stream = world.client.connect(NodeInfo(world.server.node_id, (), (info,)))
    assert world.wait(lambda: stream.closed, 40)
    assert stream.failure is not None
    assert "the rendezvous node was not reached: the peer is node" in stream.failure


def test_a_rendezvous_that_opens_many_channels_is_rationed_and_told() -> None:
    world = World(None, None)
    server_of(world)._opens = server_of(world)._opens_to = SourceLimiter(1e9, 1e9, 10)
    accuser = Member(world)
    burst = int(OFFER_BURST)
    heard = accuser.say(
        *(OpenChannel(number, world.server.node_id) for number in range(1, 2 * burst + 101, 2)), wait=1
    )
    reasons = [message.reason for message in heard]
    assert reasons.count("the node is being introduced to too many others") == 50
    assert len(world.server.node.meetings) == burst
    assert world.server.node.stats.refused_meetings == 50
    world.run(30)
    assert len(world.server.node.meetings) == 0
