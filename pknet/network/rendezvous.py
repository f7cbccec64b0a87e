"""What a rendezvous node does for others: it introduces the nodes that are connected to it.

Each keeps one stream to it. Over that, others open signalling channels to the node: pipes of bytes that the
rendezvous joins, rations and does not understand. Anybody may connect, so everything is bounded, by member
and by source.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pknet._core.stun_address import source_of
from pknet.errors import ProtocolError
from pknet.network.identity import NodeId
from pknet.network.message_stream import MessageStream
from pknet.network.messages import ChannelClosed, ChannelData, OpenChannel, Register, Registered
from pknet.stun import SourceLimiter
from pknet.utp import ConnectionAccepted, ConnectionClosed, EofReceived

if TYPE_CHECKING:
    from pknet.network.stream import NodeStream
    from pknet.utp import UtpEvent

__all__ = ["MAX_CHANNELS", "MAX_CHANNEL_BYTES", "RendezvousServer"]

MAX_MEMBERS: Final = 4096
# Of an IPv4 address or an IPv6 /56: a household, or a carrier's NAT with many of them behind it.
MAX_MEMBERS_OF_SOURCE: Final = 256
# A member that is there says so more often than this, in seconds (Register, again).
MEMBER_PATIENCE: Final = 100.0
MAX_CHANNELS: Final = 256
# Each way; a channel carries one introduction, and that is small.
MAX_CHANNEL_BYTES: Final = 64 * 1024
# How often one source may ask to be introduced: a burst, then so many a second.
OPEN_BURST: Final = 50.0
OPEN_RATE: Final = 5.0
# And to the same node, so that one source can't use up what that node looks at (meetings.OFFER_RATE).
TARGET_BURST: Final = 16.0
TARGET_RATE: Final = 2.0


@dataclass(slots=True)
class _Relayed:
    """One end of a channel that the rendezvous joins: where it goes on, and what it may still carry."""

    other: _Member
    other_channel: int
    allowance: int = MAX_CHANNEL_BYTES


class _Member:
    """A node's stream at its rendezvous."""

    def __init__(self, stream: NodeStream, node_id: NodeId, source: bytes) -> None:
        self.messages = MessageStream(stream)
        self.node_id = node_id
        self.source = source
        self.heard_at = float("-inf")
        self.channels: dict[int, _Relayed] = {}
        # Channels that the rendezvous opens are even, those that the node opens odd.
        self.next_channel = 0


class RendezvousServer:
    """Introduces the nodes that are connected to this one."""

    def __init__(self, *, max_members: int = MAX_MEMBERS) -> None:
        self.alternate_port = 0
        self.introductions = 0
        self._max_members = max_members
        # In the order in which they were last heard of.
        self._members: OrderedDict[NodeStream, _Member] = OrderedDict()
        self._members_of: Counter[bytes] = Counter()
        self._registered: dict[NodeId, _Member] = {}
        self._opens = SourceLimiter(OPEN_RATE, OPEN_BURST, 2 * max_members)
        self._opens_to = SourceLimiter(TARGET_RATE, TARGET_BURST, 2 * max_members)

    @property
    def members(self) -> list[NodeId]:
        """The nodes that are connected, registered or not."""
        return [member.node_id for member in self._members.values()]

    @property
    def registered(self) -> list[NodeId]:
        """The nodes that others can be introduced to."""
        return list(self._registered)

    def refusal(self, stream: NodeStream) -> str | None:
        """Return why a node can't be a member, None if it can."""
        if len(self._members) >= self._max_members:
            return "as many nodes are connected as this one can serve"
        if self._members_of[source_of(_host_of(stream))] >= MAX_MEMBERS_OF_SOURCE:
            return "too many nodes are connected from your address"
        return None

    def handle_event(self, event: UtpEvent, now: float) -> None:
        """Take an event of a stream that was opened for Purpose.RENDEZVOUS."""
        stream: NodeStream = event.connection
        if isinstance(event, ConnectionAccepted):
            self._add(stream)
        member = self._members.get(stream)
        if member is None:
            return
        if isinstance(event, ConnectionClosed | EofReceived):
            self._remove(member, now)
            stream.close(now)
            return
        member.heard_at = now
        self._members.move_to_end(stream)
        member.messages.flush(now)
        try:
            received = member.messages.receive(now)
        except ProtocolError:
            stream.abort(now)
            return
        for message in received:
            if stream in self._members:
                self._receive(member, message, now)

    def handle_timeout(self, now: float) -> None:
        """End the streams of members that have fallen silent."""
        while (when := self.next_timeout()) is not None and when <= now:
            member = next(iter(self._members.values()))
            self._remove(member, now)
            member.messages.stream.abort(now)

    def next_timeout(self) -> float | None:
        """Return when the member that has been silent longest is given up."""
        if not self._members:
            return None
        return next(iter(self._members.values())).heard_at + MEMBER_PATIENCE

    def stop(self, now: float) -> None:
        """Introduce nobody any more, and close the members' streams."""
        for member in list(self._members.values()):
            self._remove(member, now)
            member.messages.stream.close(now)

    def _add(self, stream: NodeStream) -> None:
        assert stream.peer is not None
        member = self._members[stream] = _Member(stream, stream.peer, source_of(_host_of(stream)))
        self._members_of[member.source] += 1

    def _remove(self, member: _Member, now: float) -> None:
        if self._members.pop(member.messages.stream, None) is None:
            return
        self._members_of[member.source] -= 1
        if not self._members_of[member.source]:
            del self._members_of[member.source]
        if self._registered.get(member.node_id) is member:
            del self._registered[member.node_id]
        for channel in list(member.channels):
            self._part(member, channel, "the node has gone", now)

    def _receive(self, member: _Member, message: Any, now: float) -> None:
        match message:
            case Register():
                # A new stream takes the place of the node's old one, which may not know yet that it is dead.
                self._registered[member.node_id] = member
                member.messages.send(Registered(self.alternate_port), now)
            case OpenChannel(channel, node):
                refusal = self._open(member, channel, node, now)
                if refusal:
                    member.messages.send(ChannelClosed(channel, refusal), now)
            case ChannelData(channel, data):
                self._pass_on(member, channel, data, now)
            case ChannelClosed(channel, reason):
                self._part(member, channel, reason, now)

    def _open(self, member: _Member, channel: int, node: str, now: float) -> str:
        """Join a channel to the node that it is for; return why not, or ""."""
        if channel % 2 == 0 or channel in member.channels:
            return "the channel number is taken"
        source = _host_of(member.messages.stream)
        if not (self._opens.allow(source, now) and self._opens_to.allow(source, now, node.encode())):
            return "too many introductions were asked for"
        other = self._registered.get(NodeId(node))
        if other is None:
            return "the node is not connected to this rendezvous"
        if other.node_id == member.node_id:
            return "a node is not introduced to itself"
        if len(member.channels) >= MAX_CHANNELS or len(other.channels) >= MAX_CHANNELS:
            return "too many channels are open"
        if other.messages.is_full:
            return "the node does not keep up"
        other.next_channel = (other.next_channel + 2) % (1 << 31)
        member.channels[channel] = _Relayed(other, other.next_channel)
        other.channels[other.next_channel] = _Relayed(member, channel)
        other.messages.send(OpenChannel(other.next_channel, member.node_id), now)
        self.introductions += 1
        return ""

    def _pass_on(self, member: _Member, channel: int, data: bytes, now: float) -> None:
        relayed = member.channels.get(channel)
        if relayed is None:
            # It was closed while this was on its way.
            return
        relayed.allowance -= len(data)
        if relayed.allowance < 0 or relayed.other.messages.is_full:
            self._part(member, channel, "too much was sent", now)
            member.messages.send(ChannelClosed(channel, "too much was sent"), now)
        else:
            relayed.other.messages.send(ChannelData(relayed.other_channel, data), now)

    def _part(self, member: _Member, channel: int, reason: str, now: float) -> None:
        """End a channel for the node at its other end, if there is one."""
        relayed = member.channels.pop(channel, None)
        if relayed is not None and relayed.other.channels.pop(relayed.other_channel, None) is not None:
            relayed.other.messages.send(ChannelClosed(relayed.other_channel, reason), now)


def _host_of(stream: NodeStream) -> str:
    remote: Any = stream.remote
    host: str = remote[0]
    return host
