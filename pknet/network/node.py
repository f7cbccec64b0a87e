"""A node, as one machine: everything that happens on its sockets.

A datagram goes to the machine it belongs to: STUN to a meeting, to the client or to the Binding server; uTP to the
endpoint, whose connections carry TLS and so become streams between nodes. What comes of a batch of datagrams is worked
out once, when the transmits are taken.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pknet._core.classifier import DatagramKind, classify, classify_segments, is_utp
from pknet.errors import PknetError, ProtocolError, StateError
from pknet.nat import AddressDiscovery, Candidate, CandidateType, Description, Mapping, PublicAddress
from pknet.network.dial import Dial
from pknet.network.events import (
    PublicAddressChanged,
    RendezvousLost,
    RendezvousRegistered,
    SignallingData,
    SignallingEnded,
    SignallingWanted,
    SocketReleased,
    SocketWanted,
)
from pknet.network.info import NodeInfo, RendezvousInfo
from pknet.network.meeting import Meeting
from pknet.network.messages import Hello, Purpose
from pknet.network.registration import Registration
from pknet.network.rendezvous import Channel, RendezvousClient, RendezvousServer
from pknet.network.stream import ADMISSION_CONTEXT, NodeStream, StreamOwner
from pknet.network.ticket import check_admission
from pknet.stun import BindingServer, MessageClass, StunClient, parse_message
from pknet.utp import ConnectionAccepted, ConnectionClosed, UtpConfig, UtpEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from pknet._core.transmit import Transmit
    from pknet.network.identity import Identity, NodeId
    from pknet.network.introduction import ProofCheck
    from pknet.stun import Message
    from pknet.utp import UtpConnection, UtpEvent

    Address = tuple[str, int]

__all__ = ["Node", "NodeConfig", "NodeStats"]

# How long an incoming connection may take to prove a node id and be admitted, and how many may be at it.
OPENING_TIMEOUT: Final = 15.0
MAX_OPENINGS: Final = 1024
# Meetings that others begin; each costs a few curve operations and, in a second round, a socket.
MAX_MEETINGS: Final = 64
MEETING_MEMORY: Final = 10.0
# How long a socket that was opened for a meeting may stay unused.
FRESH_SOCKET_PATIENCE: Final = 60.0
# How long the path of a stream that is open is tried alone before a new meeting.
KNOWN_PATH_PATIENCE: Final = 1.5
GATHERING_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a program may set for a node.

    `admit(node_id)`: whether a node may open streams to this one. `secrets`: of tickets (16 bytes each), whose holders
    may too; the set may be changed at any time. `introduces`: whether this node is a rendezvous for others.
    `alternate_port`: a second port for STUN, by which others can tell how their NAT maps; None for none.
    """

    admit: Callable[[NodeId], bool] = field(default=lambda _: False)
    secrets: set[bytes] = field(default_factory=set)
    introduces: bool = False
    alternate_port: int | None = None
    utp: UtpConfig | None = None


@dataclass(slots=True)
class NodeStats:
    """What a node dropped or refused."""

    unknown_datagrams: int = 0
    malformed_stun: int = 0
    unproven_checks: int = 0
    refused_streams: int = 0
    refused_meetings: int = 0


@dataclass(slots=True)
class _FreshSocket:
    """A socket that was opened for a meeting, and what is known of its address."""

    discovery: AddressDiscovery
    addresses: tuple[Address, ...]
    meeting: Meeting
    opened_at: float
    is_ready: bool = False


class Node(StreamOwner):
    """The machine of a node: five verbs, and what a program asks of it.

    `token_bytes` must be fit for cryptography. Addresses are IP addresses, never names. Streams are told by the events of
    `pknet.utp`, all else by those of `pknet.network`.
    """

    def __init__(
        self, identity: Identity, token_bytes: Callable[[int], bytes], config: NodeConfig | None = None
    ) -> None:
        self.identity = identity
        self.token_bytes = token_bytes
        self.config = config or NodeConfig()
        self.stats = NodeStats()
        self.utp = UtpEndpoint(token_bytes, self.config.utp or UtpConfig(keepalive=15.0))
        self.stun_server = BindingServer()
        self.rendezvous_server = RendezvousServer() if self.config.introduces else None
        self.streams: set[NodeStream] = set()
        """The streams between programs that are open."""
        self._stun = StunClient(token_bytes)
        self._addresses: tuple[Address, ...] = ()
        self._discovery = AddressDiscovery(self._stun, ())
        self._started_at = 0.0
        self._stopped = False
        self._now = float("-inf")
        self._touched: dict[NodeStream, None] = {}
        self._openings: OrderedDict[NodeStream, float] = OrderedDict()
        self._registrations: dict[NodeId, Registration] = {}
        self._clients: dict[NodeStream, RendezvousClient] = {}
        self._dials: dict[NodeStream, Dial] = {}
        self._meetings: dict[int, Meeting] = {}
        self._meetings_over: dict[int, float] = {}
        self._meeting_of: dict[Channel, Meeting] = {}
        self._channel_of: dict[int, Channel] = {}
        self._numbers = 0
        self._socket_requests: dict[int, Meeting | None] = {}
        self._fresh: dict[Hashable, _FreshSocket] = {}
        self._alternate: Hashable | None = None
        self._told_address: Address | None = None
        self._transmits: list[Transmit] = []
        self._events: list[Any] = []

    # What the program asks for.

    @property
    def public_address(self) -> PublicAddress | None:
        """The address by which others see the primary socket, None while it is not known."""
        return self._discovery.public_address

    @property
    def mapping(self) -> Mapping:
        """What is known of how this node's NAT maps ports."""
        return self._discovery.mapping

    @property
    def registered_with(self) -> list[NodeId]:
        """The rendezvous nodes that introduce others to this one now."""
        return [node_id for node_id, registration in self._registrations.items() if registration.is_told]

    def start(self, addresses: Iterable[Address], now: float) -> None:
        """Begin the NAT traversal service; `addresses`: where the primary socket is reached on the local network."""
        self._advance(now)
        self._started_at = self._now
        self._addresses = tuple(addresses)
        self._discovery = AddressDiscovery(self._stun, self._addresses)
        if self.rendezvous_server is not None and self.config.alternate_port is not None:
            self._want_socket(None, self.config.alternate_port)

    def stop(self, now: float) -> None:
        """Stop the NAT traversal service: no new stream, meeting or introduction. Open streams go on."""
        self._advance(now)
        self._stopped = True
        for dial in list(self._dials.values()):
            dial.stream.fail("the node was stopped", self._now)
        for number in list(self._meetings):
            self._forget_meeting(number)
        for registration in self._registrations.values():
            if registration.client is not None:
                registration.client.stream.close(self._now)
        self._registrations.clear()
        self.utp.accepting = False

    def register(self, rendezvous: RendezvousInfo, now: float) -> None:
        """Stay known to a rendezvous node, so that others can be introduced to this one."""
        self._advance(now)
        self._registration(rendezvous).is_lasting = True

    def connect(self, info: NodeInfo, now: float) -> NodeStream:
        """Open a stream to a node, over whatever path works; ConnectionOpened or ConnectionClosed tells how it went.

        Raises StateError after `stop`.
        """
        self._advance(now)
        if self._stopped:
            raise StateError("the node was stopped")
        stream = NodeStream(self, info.node_id, Purpose.STREAM, info.secret)
        dial = self._dials[stream] = Dial(stream, info, self._now)
        for known in self.streams:
            if known.peer == info.node_id and known.path is not None:
                self._attempt(stream, known.path[0], known.path[1])
                dial.meets_at = self._now + KNOWN_PATH_PATIENCE
                break
        else:
            dial.meets_at = self._now
            for address in info.addresses:
                if self.is_reachable_family(address[0]):
                    self._attempt(stream, address, None)
        return stream

    def open_channel(self, rendezvous: Iterable[RendezvousInfo], node_id: NodeId, now: float) -> Channel:
        """Open a signalling channel to a node through the first of its rendezvous nodes that is connected, or can be.

        Raises PknetError if none is named.
        """
        self._advance(now)
        known = [self._registration(info) for info in rendezvous if info.node_id != self.identity.node_id]
        if not known:
            raise PknetError("no rendezvous node is known that could introduce it")
        chosen = next((item for item in known if item.is_told), known[0])
        if chosen.client is None:
            self._join(chosen)
        assert chosen.client is not None
        return chosen.client.open_channel(node_id, self._now)

    # Sockets and signalling streams, which the adapter has.

    def socket_opened(self, number: int, local: Hashable, addresses: Iterable[Address], now: float) -> None:
        """Take a socket that SocketWanted asked for; `addresses`: where it is reached on the local network."""
        self._advance(now)
        meeting = self._socket_requests.pop(number)
        bound = tuple(addresses)
        if meeting is None:
            self._alternate = local
            if self.rendezvous_server is not None and bound:
                self.rendezvous_server.alternate_port = bound[0][1]
            return
        discovery = AddressDiscovery(self._stun, bound, local)
        self._fresh[local] = _FreshSocket(discovery, bound, meeting, self._now)
        for server in self._stun_servers():
            discovery.add_server(server, None, self._now)

    def socket_failed(self, number: int, reason: str, now: float) -> None:
        """Take note that a socket that SocketWanted asked for can't be had."""
        self._advance(now)
        meeting = self._socket_requests.pop(number)
        if meeting is not None:
            meeting.socket_failed(reason, self._now)

    def signalling_opened(self, number: int, now: float) -> None:
        """Take note that the stream that SignallingWanted asked for is there."""
        self._advance(now)
        if number in self._meetings:
            self._meetings[number].start(self._now)

    def receive_signalling(self, number: int, data: bytes, now: float) -> None:
        """Take bytes from a signalling stream."""
        self._advance(now)
        if number in self._meetings:
            self._meetings[number].receive_stream_data(data, self._now)

    def signalling_ended(self, number: int, reason: str, now: float) -> None:
        """Take note that a signalling stream is over, or could not be opened."""
        self._advance(now)
        if number in self._meetings:
            self._meetings[number].channel_failed(reason, self._now)

    def accept_signalling(self, now: float) -> int:
        """Take a signalling stream that a peer opened by the program's own means; return its number.

        Raises StateError if there are too many meetings.
        """
        self._advance(now)
        meeting = self._accept_meeting()
        if meeting is None:
            raise StateError("too many meetings are under way")
        return meeting.number

    # The five verbs.

    def receive_datagram(
        self, data: bytes | bytearray | memoryview, remote: Any, local: Hashable | None, now: float
    ) -> None:
        """Take a datagram."""
        self._advance(now)
        kind = classify(data)
        if kind == DatagramKind.UTP:
            self.utp.receive_datagram(data, remote, local, self._now)
        elif kind == DatagramKind.STUN:
            self._receive_stun(data, remote, local)
        else:
            self.stats.unknown_datagrams += 1

    def receive_segments(
        self,
        data: bytes | bytearray | memoryview,
        segment_size: int,
        remote: Any,
        local: Hashable | None,
        now: float,
    ) -> None:
        """Take a run of datagrams; each is classified by itself."""
        self._advance(now)
        stretches = classify_segments(data, segment_size)
        if len(stretches) == 1 and stretches[0][0] == DatagramKind.UTP:
            self.utp.receive_segments(data, segment_size, remote, local, self._now)
            return
        view = memoryview(data)
        for kind, start, stop in stretches:
            if kind == DatagramKind.UTP:
                self.utp.receive_segments(view[start:stop], segment_size, remote, local, self._now)
            elif kind == DatagramKind.STUN:
                self._receive_stun(view[start:stop], remote, local)
            else:
                self.stats.unknown_datagrams += -(-(stop - start) // segment_size)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        self._advance(now)
        now = self._now
        self.utp.handle_timeout(now)
        self._stun.handle_timeout(now)
        self._discovery.handle_timeout(now)
        for meeting in list(self._meetings.values()):
            meeting.handle_timeout(now)
        while self._openings and next(iter(self._openings.values())) <= now:
            stream, _ = self._openings.popitem(last=False)
            stream.fail("it did not open in time", now)
        for number, over_at in list(self._meetings_over.items()):
            if over_at + MEETING_MEMORY <= now:
                self._forget_meeting(number)
        for local, fresh in list(self._fresh.items()):
            if fresh.opened_at + FRESH_SOCKET_PATIENCE <= now:
                self._release_if_unused(local, fresh)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        deadlines = [self.utp.next_timeout(), self._stun.next_timeout(), self._discovery.next_timeout()]
        deadlines += [meeting.next_timeout() for meeting in self._meetings.values()]
        deadlines += [dial.next_timeout(self._now) for dial in self._dials.values()]
        deadlines += [registration.retry_at for registration in self._registrations.values()]
        deadlines += [over_at + MEETING_MEMORY for over_at in self._meetings_over.values()]
        deadlines += [fresh.opened_at + FRESH_SOCKET_PATIENCE for fresh in self._fresh.values()]
        if self._openings:
            deadlines.append(next(iter(self._openings.values())))
        if self._is_gathering:
            deadlines.append(self._started_at + GATHERING_PATIENCE)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        self._work()
        taken, self._transmits = self._transmits, []
        taken += self._stun.transmits()
        taken += self.stun_server.transmits()
        for meeting in self._meetings.values():
            if meeting.punch is not None:
                taken += meeting.punch.transmits()
        taken += self.utp.transmits()
        return taken

    def events(self) -> list[Any]:
        """Take what has happened."""
        taken, self._events = self._events, []
        return taken

    # What streams and meetings ask for.

    def touch(self, stream: NodeStream) -> None:
        """Have `stream.advance` called before anything is sent."""
        self._touched[stream] = None

    def admit(self, stream: NodeStream, hello: Hello) -> str | None:
        """Return why a node may not come in, None if it may."""
        self._openings.pop(stream, None)
        assert stream.secure is not None
        assert stream.peer is not None
        if hello.purpose is Purpose.RENDEZVOUS:
            refusal = None if self.rendezvous_server is not None else "this node introduces nobody"
        elif self._admits(
            stream.peer,
            lambda secret: check_admission(
                secret, ADMISSION_CONTEXT, stream.secure.channel_binding(), hello.proof  # type: ignore[union-attr]
            ),
        ):
            refusal = None
        else:
            refusal = "you are not on its list, and show no ticket that it knows"
        if refusal is not None:
            self.stats.refused_streams += 1
        return refusal

    def emit(self, event: UtpEvent) -> None:
        """Tell the program of an event, or act on it where it is the node's own."""
        owner: Any = event.connection
        if isinstance(owner, Channel):
            meeting = self._meeting_of.get(owner)
            if meeting is None:
                self._events.append(event)
            else:
                self._serve_channel(owner, meeting, event)
        elif owner.purpose is Purpose.RENDEZVOUS:
            if owner in self._clients:
                self._serve_client(self._clients[owner], event)
            elif self.rendezvous_server is not None:
                self.rendezvous_server.handle_event(event, self._now)
        else:
            self._note_stream(owner, event)

    def describe(self, local: Hashable | None) -> Description | None:
        """Return this node's description by the socket `local`, None while it is still being gathered."""
        if local is None:
            if self._is_gathering:
                return None
            return _describe(self._addresses, self._discovery)
        fresh = self._fresh[local]
        return _describe(fresh.addresses, fresh.discovery, self.mapping) if fresh.is_ready else None

    def want_socket(self, meeting: Meeting) -> None:
        """Open a socket for a meeting and learn its public address."""
        self._want_socket(meeting, 0)

    def admit_offer(self, node_id: NodeId, proof_check: ProofCheck) -> bool:
        """Return whether a node that asks to be introduced may come in."""
        return self._admits(node_id, proof_check)

    def is_reachable_family(self, host: str) -> bool:
        """Return whether this node has a socket for that kind of address."""
        return not self._addresses or any((":" in host) == (":" in own) for own, _ in self._addresses)

    # Work.

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _work(self) -> None:
        """Follow what has happened in each part to what it means for the others, until nothing is new."""
        while True:
            utp_events = self.utp.events()
            for event in utp_events:
                self._receive_utp_event(event)
            stun_events = self._stun.events()
            for answer in stun_events:
                if not self._discovery.receive_event(answer, self._now):
                    for fresh in self._fresh.values():
                        fresh.discovery.receive_event(answer, self._now)
            touched, self._touched = self._touched, {}
            for stream in touched:
                stream.advance(self._now)
            if not utp_events and not stun_events and not touched:
                break
        self._tell_public_address()
        self._look_after_registrations()
        self._look_after_meetings()
        self._look_after_dials()
        if self._touched:
            self._work()

    def _receive_utp_event(self, event: UtpEvent) -> None:
        connection = event.connection
        if isinstance(event, ConnectionAccepted):
            self._accept(connection)
        elif connection.context is not None:
            stream: NodeStream = connection.context.owner
            if isinstance(event, ConnectionClosed):
                stream.connection_closed(connection.context, event)
            else:
                self.touch(stream)

    def _accept(self, connection: UtpConnection) -> None:
        if len(self._openings) >= MAX_OPENINGS or self._stopped:
            self.stats.refused_streams += 1
            connection.abort(self._now)
            return
        stream = NodeStream(self, None, Purpose.STREAM)
        self._openings[stream] = self._now + OPENING_TIMEOUT
        stream.accept(connection, self.identity)

    def _note_stream(self, stream: NodeStream, event: UtpEvent) -> None:
        """Keep the record of open streams; tell the program what it knows of."""
        if isinstance(event, ConnectionClosed):
            self._openings.pop(stream, None)
            was_known = stream in self.streams or stream.is_initiator
            self.streams.discard(stream)
            if not was_known:
                return
        elif stream.is_open:
            self.streams.add(stream)
        self._events.append(event)

    def _admits(self, node_id: NodeId, proof_check: ProofCheck) -> bool:
        if self._stopped:
            return False
        # Every secret is tried, so that the time taken does not tell which one it was.
        known = [proof_check(secret) for secret in self.config.secrets]
        return any(known) or self.config.admit(node_id)

    def _attempt(self, stream: NodeStream, remote: Any, local: Hashable | None) -> None:
        stream.add_attempt(self.utp.connect(remote, self._now, local), self.identity)

    def _receive_stun(self, data: bytes | bytearray | memoryview, remote: Any, local: Hashable | None) -> None:
        try:
            message = parse_message(data)
        except ProtocolError:
            if is_utp(data):
                self.utp.receive_datagram(data, remote, local, self._now)
            else:
                self.stats.malformed_stun += 1
            return
        if not self._receive_check(message, remote, local):
            if message.message_class is MessageClass.REQUEST:
                self.stun_server.receive_message(message, remote, local, self._now)
            else:
                self._stun.receive_message(message, remote, local, self._now)

    def _receive_check(self, message: Message, remote: Any, local: Hashable | None) -> bool:
        """Give a message to the meeting whose check it is; return whether there is one."""
        for meeting in self._meetings.values():
            if meeting.punch is not None and meeting.punch.owns(message):
                if not meeting.receive_message(message, remote, local, self._now):
                    self.stats.unproven_checks += 1
                return True
        return False

    # The public address.

    @property
    def _is_gathering(self) -> bool:
        """Whether the primary socket's address, or what there is to know of its NAT, is still on its way."""
        if not self._discovery.is_pending or self._now >= self._started_at + GATHERING_PATIENCE:
            return False
        return self.public_address is None or self.mapping is Mapping.UNKNOWN

    def _stun_servers(self) -> list[Address]:
        return self._discovery.servers

    def _tell_public_address(self) -> None:
        known = self.public_address
        if known is not None and known.address != self._told_address:
            self._told_address = known.address
            self._events.append(PublicAddressChanged(known))

    # Rendezvous nodes.

    def _registration(self, info: RendezvousInfo) -> Registration:
        registration = self._registrations.get(info.node_id)
        if registration is None:
            registration = self._registrations[info.node_id] = Registration(info, is_lasting=False)
            self._join(registration)
        return registration

    def _join(self, registration: Registration) -> None:
        """Open the stream to a rendezvous node, and ask it by STUN at the same time."""
        info = registration.info
        registration.retry_at = None
        stream = NodeStream(self, info.node_id, Purpose.RENDEZVOUS)
        registration.client = self._clients[stream] = RendezvousClient(stream, self.emit, self._accept_channel)
        for address in info.addresses:
            if self.is_reachable_family(address[0]):
                self._attempt(stream, address, None)
                if not self._discovery.servers:
                    self._started_at = self._now
                self._discovery.add_server(address, None, self._now)
        if not stream.attempts_left:
            stream.fail("it has no address of a kind that this node can reach", self._now)

    def _serve_client(self, client: RendezvousClient, event: UtpEvent) -> None:
        client.handle_event(event, self._now)
        registration = self._registrations.get(client.stream.peer)  # type: ignore[arg-type]
        if isinstance(event, ConnectionClosed):
            del self._clients[client.stream]
            if registration is not None and registration.client is client:
                reason = client.stream.failure or event.reason.value
                retry_at = registration.lost(self._now)
                self._events.append(RendezvousLost(registration.info.node_id, reason, retry_at))
                if not registration.is_lasting:
                    del self._registrations[registration.info.node_id]
        elif registration is not None and client.alternate_port is not None and not registration.is_told:
            registration.registered()
            server: Any = client.stream.remote
            alternate = (server[0], client.alternate_port) if client.alternate_port else None
            self._discovery.add_server(server, alternate, self._now)
            self._events.append(RendezvousRegistered(registration.info.node_id))

    def _look_after_registrations(self) -> None:
        for registration in list(self._registrations.values()):
            if registration.client is None and (registration.retry_at is None or registration.retry_at <= self._now):
                self._join(registration)

    # Meetings.

    def _want_socket(self, meeting: Meeting | None, port: int) -> None:
        self._numbers += 1
        self._socket_requests[self._numbers] = meeting
        self._events.append(SocketWanted(self._numbers, port))

    def _accept_meeting(self) -> Meeting | None:
        if self._stopped or len(self._meetings) >= MAX_MEETINGS:
            self.stats.refused_meetings += 1
            return None
        self._numbers += 1
        meeting = self._meetings[self._numbers] = Meeting(self, self._numbers, self._now)
        return meeting

    def _accept_channel(self, channel: Channel) -> None:
        """Take a signalling channel that another node opened through a rendezvous."""
        meeting = self._accept_meeting()
        if meeting is None:
            channel.close(self._now)
            return
        self._meeting_of[channel] = meeting
        self._channel_of[meeting.number] = channel

    def _serve_channel(self, channel: Channel, meeting: Meeting, event: UtpEvent) -> None:
        while channel.readable:
            meeting.receive_stream_data(channel.read(1 << 16, self._now), self._now)
        if isinstance(event, ConnectionClosed):
            del self._meeting_of[channel]
            self._channel_of.pop(meeting.number, None)
            meeting.channel_failed(channel.failure or "", self._now)

    def _look_after_meetings(self) -> None:
        """Feed meetings what has become known, send what they say, and take note of those that are over."""
        for local, fresh in self._fresh.items():
            if not fresh.is_ready and (fresh.discovery.public_address is not None or not fresh.discovery.is_pending):
                fresh.is_ready = True
                fresh.meeting.socket_ready(local, self._now)
        for number, meeting in list(self._meetings.items()):
            if not self._is_gathering:
                meeting.description_ready(self._now)
            data = meeting.data_to_send()
            if data:
                channel = self._channel_of.get(number)
                if channel is None:
                    self._events.append(SignallingData(number, data))
                else:
                    channel.send(data, self._now)
            if meeting.is_over and number not in self._meetings_over:
                self._meetings_over[number] = self._now
                channel = self._channel_of.get(number)
                if channel is None:
                    self._events.append(SignallingEnded(number))
                elif not meeting.is_initiator and meeting.failure:
                    channel.close(self._now)

    def _forget_meeting(self, number: int) -> None:
        del self._meetings[number]
        self._meetings_over.pop(number, None)
        channel = self._channel_of.get(number)
        if channel is not None:
            channel.close(self._now)

    def _release_if_unused(self, local: Hashable, fresh: _FreshSocket) -> None:
        if any(connection.local == local for connection in self.utp.connections):
            fresh.opened_at = self._now
        else:
            del self._fresh[local]
            self._events.append(SocketReleased(local))

    # Dials.

    def _look_after_dials(self) -> None:
        for stream, dial in list(self._dials.items()):
            if stream.is_open or stream.close_reason is not None or stream.secure is not None:
                # Opened, ended, or about to be one of the two: the stream has a peer that proved its key.
                del self._dials[stream]
                continue
            if dial.meets_at is not None and dial.meets_at <= self._now:
                dial.meets_at = None
                self._numbers += 1
                dial.meeting = self._meetings[self._numbers] = Meeting(
                    self, self._numbers, self._now, peer=dial.info.node_id, secret=dial.info.secret
                )
                self._events.append(SignallingWanted(self._numbers, dial.info.node_id))
            meeting = dial.meeting
            if meeting is not None and meeting.path is not None and not dial.is_path_tried:
                dial.is_path_tried = True
                self._attempt(stream, meeting.path.remote, meeting.path.local)
            verdict = dial.verdict(self._now)
            if verdict is not None:
                del self._dials[stream]
                stream.fail(verdict, self._now)


def _describe(
    addresses: Iterable[Address], discovery: AddressDiscovery, mapping: Mapping | None = None
) -> Description:
    """Put together what a peer is told: local addresses first, then the one seen from outside."""
    candidates = [Candidate(CandidateType.HOST, *address) for address in list(addresses)[:6]]
    public = discovery.public_address
    if public is not None and discovery.mapping is not Mapping.NONE:
        candidates.append(Candidate(CandidateType.SERVER_REFLEXIVE, *public.address))
    return Description(tuple(candidates), mapping or discovery.mapping)
