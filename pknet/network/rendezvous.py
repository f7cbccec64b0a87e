"""Introductions through a third node: what it does for those who ask, and what they do to ask it.

A node keeps one stream to each of its rendezvous nodes. Over it, others open signalling channels to the node: pipes of
bytes that the rendezvous joins, rations and does not understand.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pknet.errors import ProtocolError, StateError
from pknet.network import messages
from pknet.network.framing import FrameReader
from pknet.network.messages import ChannelClosed, ChannelData, OpenChannel, Register, Registered, Rendezvous
from pknet.utp import CloseReason, ConnectionClosed, ConnectionOpened, DataReceived, EofReceived

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.network.identity import NodeId
    from pknet.network.stream import NodeStream
    from pknet.utp import UtpEvent

__all__ = ["Channel", "RendezvousClient", "RendezvousServer"]

READ_SIZE: Final = 1 << 16
MAX_REGISTERED: Final = 65536
MAX_CHANNELS: Final = 64
# A channel carries one introduction, and that is small.
MAX_CHANNEL_BYTES: Final = 64 * 1024
# How often one node may ask to be introduced: a burst, then a rate.
OPEN_BURST: Final = 20.0
OPEN_RATE: Final = 2.0
# What may wait on a stream whose peer does not read.
MAX_BACKLOG: Final = 256 * 1024


class _MessageStream:
    """Frames of the rendezvous conversation over a NodeStream."""

    def __init__(self, stream: NodeStream) -> None:
        self.stream = stream
        self._reader = FrameReader()
        self._backlog = bytearray()

    def send(self, message: Rendezvous, now: float) -> bool:
        """Send a message; return False if too much is waiting already."""
        if not self.stream.is_open or self.stream.is_closing or len(self._backlog) > MAX_BACKLOG:
            return False
        self._backlog += messages.encode(message)
        self.flush(now)
        return True

    def flush(self, now: float) -> None:
        """Send what waits, as far as there is room."""
        if self._backlog and self.stream.is_open and not self.stream.is_closing:
            taken = self.stream.send(bytes(self._backlog), now)
            del self._backlog[:taken]

    def receive(self, now: float) -> list[Any]:
        """Read the messages that have come. Raises ProtocolError."""
        received: list[Any] = []
        while self.stream.readable:
            for payload in self._reader.receive_stream_data(self.stream.read(READ_SIZE, now)):
                received.append(messages.decode(payload, Rendezvous))
        return received


@dataclass(slots=True)
class _Relayed:
    """One end of a channel that the rendezvous joins: where it goes on, and what it may still carry."""

    other: _Member
    other_channel: int
    allowance: int = MAX_CHANNEL_BYTES


class _Member:
    """A node's stream at its rendezvous."""

    def __init__(self, stream: NodeStream, now: float) -> None:
        self.messages = _MessageStream(stream)
        self.channels: dict[int, _Relayed] = {}
        # Channels that the rendezvous opens are even, those that the node opens odd.
        self.next_channel = 0
        self._opens = OPEN_BURST
        self._opens_at = now

    @property
    def node_id(self) -> NodeId:
        """The node."""
        peer = self.messages.stream.peer
        assert peer is not None
        return peer

    def may_open(self, now: float) -> bool:
        """Take one from the node's allowance of introductions; return False if there is none."""
        self._opens = min(self._opens + (now - self._opens_at) * OPEN_RATE, OPEN_BURST)
        self._opens_at = now
        if self._opens < 1:
            return False
        self._opens -= 1
        return True


class RendezvousServer:
    """Introduces the nodes that are connected to this one."""

    def __init__(self) -> None:
        self.alternate_port = 0
        self.introductions = 0
        self._members: dict[NodeStream, _Member] = {}
        self._registered: dict[NodeId, _Member] = {}

    @property
    def registered(self) -> list[NodeId]:
        """The nodes that others can be introduced to."""
        return list(self._registered)

    def handle_event(self, event: UtpEvent, now: float) -> None:
        """Take an event of a stream that was opened for Purpose.RENDEZVOUS."""
        stream: Any = event.connection
        member = self._members.setdefault(stream, _Member(stream, now))
        if isinstance(event, ConnectionClosed | EofReceived):
            self._remove(member, now)
            stream.close(now)
            return
        member.messages.flush(now)
        try:
            received = member.messages.receive(now)
        except ProtocolError:
            stream.abort(now)
            return
        for message in received:
            self._receive(member, message, now)

    def _receive(self, member: _Member, message: Any, now: float) -> None:
        match message:
            case Register():
                if member.node_id in self._registered or len(self._registered) < MAX_REGISTERED:
                    # Who registers again has a new stream: the old one may not know yet that it is dead.
                    self._registered[member.node_id] = member
                    member.messages.send(Registered(self.alternate_port), now)
            case OpenChannel(channel, node):
                refusal = self._open(member, channel, node, now)
                if refusal:
                    member.messages.send(ChannelClosed(channel, refusal), now)
            case ChannelData(channel, data):
                self._pass_on(member, channel, data, now)
            case ChannelClosed(channel):
                relayed = member.channels.pop(channel, None)
                if relayed is not None and relayed.other.channels.pop(relayed.other_channel, None) is not None:
                    relayed.other.messages.send(ChannelClosed(relayed.other_channel), now)

    def _open(self, member: _Member, channel: int, node: str, now: float) -> str:
        """Join a channel to the node that it is for; return why not, or ""."""
        other = self._registered.get(node)  # type: ignore[call-overload]
        if channel % 2 == 0 or channel in member.channels:
            return "the channel number is taken"
        if not member.may_open(now):
            return "too many introductions were asked for"
        if other is None:
            return "the node is not connected to this rendezvous"
        if other is member:
            return "a node is not introduced to itself"
        if len(member.channels) >= MAX_CHANNELS or len(other.channels) >= MAX_CHANNELS:
            return "too many channels are open"
        other.next_channel = (other.next_channel + 2) % (1 << 31)
        if other.next_channel in other.channels or not other.messages.send(
            OpenChannel(other.next_channel, member.node_id), now
        ):
            return "the node does not keep up"
        member.channels[channel] = _Relayed(other, other.next_channel)
        other.channels[other.next_channel] = _Relayed(member, channel)
        self.introductions += 1
        return ""

    def _pass_on(self, member: _Member, channel: int, data: bytes, now: float) -> None:
        relayed = member.channels.get(channel)
        if relayed is None:
            return
        relayed.allowance -= len(data)
        if relayed.allowance < 0 or not relayed.other.messages.send(
            ChannelData(relayed.other_channel, data), now
        ):
            del member.channels[channel]
            relayed.other.channels.pop(relayed.other_channel, None)
            relayed.other.messages.send(ChannelClosed(relayed.other_channel, "too much was sent"), now)
            member.messages.send(ChannelClosed(channel, "too much was sent"), now)

    def _remove(self, member: _Member, now: float) -> None:
        self._members.pop(member.messages.stream, None)
        if self._registered.get(member.node_id) is member:
            del self._registered[member.node_id]
        for relayed in member.channels.values():
            if relayed.other.channels.pop(relayed.other_channel, None) is not None:
                relayed.other.messages.send(ChannelClosed(relayed.other_channel, "the node has gone"), now)
        member.channels.clear()


class Channel:
    """A signalling channel through a rendezvous node, with the verbs and events of a stream.

    It carries little (an introduction), so what is sent is not bounded by the peer's reading but by the rendezvous.
    """

    def __init__(self, client: RendezvousClient, number: int, node: NodeId) -> None:
        self.remote = node
        self.context: Any = None
        self.failure: str | None = None
        self._client = client
        self._number = number
        self._received: deque[bytes] = deque()
        self._eof = False
        self._closed = False
        self._waiting = bytearray()

    @property
    def readable(self) -> int:
        """How many bytes `read` would return."""
        return sum(map(len, self._received))

    @property
    def at_eof(self) -> bool:
        """Whether the other side has closed and all was read."""
        return self._eof and not self._received

    @property
    def writable(self) -> int:
        """How many bytes `send` would take."""
        return 0 if self._closed else messages.CHANNEL_DATA_LIMIT

    @property
    def unacknowledged(self) -> int:
        """Nothing: what the rendezvous has is out of this node's hands."""
        return 0

    def send(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Send bytes; raises StateError when the channel is closed."""
        if self._closed:
            raise StateError("the channel is closed")
        part = bytes(data[: messages.CHANNEL_DATA_LIMIT])
        self._client.send(ChannelData(self._number, part), now)
        return len(part)

    def read(self, limit: int, now: float) -> bytes:
        """Return bytes that have come, at most `limit`."""
        if not self._received or limit <= 0:
            return b""
        data = self._received.popleft()
        if len(data) > limit:
            self._received.appendleft(data[limit:])
        return data[:limit]

    def finish(self, now: float) -> None:
        """Close the channel: it has no half-close."""
        self.close(now)

    def close(self, now: float) -> None:
        """Close the channel."""
        self._client.forget(self._number)
        self._client.send(ChannelClosed(self._number), now)
        self.ended(ChannelClosed(self._number))

    def abort(self, now: float) -> None:
        """Close the channel."""
        self.close(now)

    def received(self, data: bytes) -> None:
        """Take bytes from the rendezvous."""
        if not self._closed:
            self._received.append(data)
            self._client.emit(DataReceived(self))

    def ended(self, message: ChannelClosed) -> None:
        """Take the end of the channel from the rendezvous."""
        if self._closed:
            return
        self._closed = self._eof = True
        self.failure = message.reason if message.reason.isprintable() else "refused"
        self._client.emit(EofReceived(self))
        reason = CloseReason.REFUSED if message.reason else CloseReason.FINISHED
        self._client.emit(ConnectionClosed(self, reason, 0))


class RendezvousClient:
    """This node's side of the conversation with one rendezvous node, over one stream.

    `on_channel` is called for each channel that another node opens, `emit` for each event of a channel.
    """

    def __init__(
        self, stream: NodeStream, emit: Callable[[UtpEvent], None], on_channel: Callable[[Channel], None]
    ) -> None:
        self.stream = stream
        self.emit = emit
        self.alternate_port: int | None = None
        self._on_channel = on_channel
        self._messages = _MessageStream(stream)
        self._channels: dict[int, Channel] = {}
        self._waiting: list[Rendezvous] = []
        self._next_channel = 1

    @property
    def is_registered(self) -> bool:
        """Whether the rendezvous has confirmed that it introduces others to this node."""
        return self.alternate_port is not None

    def open_channel(self, node: NodeId, now: float) -> Channel:
        """Open a channel to a node, at once or as soon as the stream is open."""
        channel = self._channels[self._next_channel] = Channel(self, self._next_channel, node)
        self.send(OpenChannel(self._next_channel, node), now)
        self._next_channel += 2
        self.emit(ConnectionOpened(channel))
        return channel

    def send(self, message: Rendezvous, now: float) -> None:
        """Send a message, or keep it until the stream is open."""
        if self.stream.is_open:
            self._messages.send(message, now)
        else:
            self._waiting.append(message)

    def forget(self, number: int) -> None:
        """Take a channel off the record."""
        self._channels.pop(number, None)

    def handle_event(self, event: UtpEvent, now: float) -> None:
        """Take an event of the stream."""
        if isinstance(event, ConnectionOpened):
            self._messages.send(Register(), now)
            for message in self._waiting:
                self._messages.send(message, now)
            self._waiting.clear()
        elif isinstance(event, ConnectionClosed):
            for number, channel in list(self._channels.items()):
                del self._channels[number]
                channel.ended(ChannelClosed(number, self.stream.failure or event.reason.value))
            return
        elif isinstance(event, EofReceived):
            self.stream.close(now)
        self._messages.flush(now)
        try:
            received = self._messages.receive(now)
        except ProtocolError:
            self.stream.abort(now)
            return
        for message in received:
            self._receive(message, now)

    def _receive(self, message: Any, now: float) -> None:
        match message:
            case Registered(alternate_port):
                self.alternate_port = alternate_port
            case OpenChannel(number, node):
                if number % 2 == 0 and number not in self._channels and len(self._channels) < MAX_CHANNELS:
                    channel = self._channels[number] = Channel(self, number, node)  # type: ignore[arg-type]
                    self._on_channel(channel)
            case ChannelData(number, data):
                if number in self._channels:
                    self._channels[number].received(data)
            case ChannelClosed(number):
                if number in self._channels:
                    self._channels.pop(number).ended(message)
