"""A node, as one machine: everything that happens on its sockets.

A datagram goes to the part it belongs to: STUN to a meeting, or to the client or server of the node's
sockets; uTP to the endpoint, whose connections carry TLS and so become streams between nodes. What comes of a
batch of datagrams is worked out once, when the transmits are taken.

The parts: `sockets` (public addresses), `meetings` and `dials` (how a path is found), `registrations`
(rendezvous nodes of this one), `rendezvous_server` (what this one is for others). Each has timers and is told
what concerns it; here they are tied together, and here it is decided who may come in.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pknet._core.classifier import DatagramKind, classify, classify_segments, is_utp
from pknet.errors import ProtocolError, StateError
from pknet.network.channel import Channel
from pknet.network.dial import Dials
from pknet.network.info import SECRET_SIZE, NodeInfo, RendezvousInfo
from pknet.network.meetings import Meetings
from pknet.network.messages import Hello, Purpose
from pknet.network.registration import Registrations
from pknet.network.rendezvous import RendezvousServer
from pknet.network.sockets import NodeSockets
from pknet.network.stream import ADMISSION_CONTEXT, NodeStream, StreamOwner
from pknet.network.ticket import check_admission
from pknet.stun import SourceLimiter, parse_message
from pknet.utp import (
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    TooManyConnections,
    UtpConfig,
    UtpEndpoint,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from pknet._core.transmit import Transmit
    from pknet.nat import Candidate, Description, Mapping, PublicAddress
    from pknet.network.identity import Identity, NodeId
    from pknet.network.introduction import ProofCheck
    from pknet.network.meeting import Meeting
    from pknet.utp import UtpConnection, UtpEvent

    Address = tuple[str, int]

__all__ = ["Node", "NodeConfig", "NodeStats"]

# How long the peer of a stream that this side has closed may acknowledge nothing, and then not finish.
CLOSING_TIMEOUT: Final = 30.0
# How long a connection to or from another node may take to prove a node id and be admitted, and how many that
# come in may be at it.
OPENING_TIMEOUT: Final = 15.0
MAX_OPENINGS: Final = 1024
# A TLS handshake costs about a millisecond: so many are begun for one source (an IPv4 address, an IPv6 /56)
# at once, and in a second.
HANDSHAKE_BURST: Final = 500.0
HANDSHAKE_RATE: Final = 50.0
MAX_SOURCES: Final = 16384


def default_utp_config() -> UtpConfig:
    """Return the settings of a node's uTP: both ends are pknet's, and NATs may forget after 30 s."""
    return UtpConfig(keepalive=15.0, idle_timeout=60.0)


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a program may set for a node.

    `admit(node_id)`: whether a node may open streams to this one. `secrets`: of tickets (16 bytes each),
    whose holders may too; the set may be changed at any time. `allow_plain_utp`: whether uTP without TLS may
    come in, from anybody, as streams whose `peer` is None; the initiator has to speak first. `introduces`:
    whether this node is a rendezvous for others. `alternate_port`: a second port for STUN, by which others
    can tell how their NAT maps; None for none. `utp`: settings of the node's connections; by default those
    of UtpConfig with a keepalive every 15 s and an idle_timeout of 60 s.

    Raises ValueError for a secret of another size.
    """

    admit: Callable[[NodeId], bool] = field(default=lambda _: False)
    secrets: set[bytes] = field(default_factory=set)
    allow_plain_utp: bool = False
    introduces: bool = False
    alternate_port: int | None = None
    utp: UtpConfig | None = None

    def __post_init__(self) -> None:
        if any(len(secret) != SECRET_SIZE for secret in self.secrets):
            raise ValueError(f"a ticket's secret has {SECRET_SIZE} bytes")


@dataclass(slots=True)
class NodeStats:
    """What a node dropped or refused."""

    unknown_datagrams: int = 0
    """Dropped: neither STUN nor uTP by their form."""
    malformed_stun: int = 0
    """Dropped: STUN by their form alone."""
    unproven_checks: int = 0
    """Dropped: checks that were forged, reflected or replayed."""
    rationed_streams: int = 0
    """Reset: connections from sources that begin too many, or while too many are being opened."""
    refused_streams: int = 0
    """Streams of nodes that may not come in, and were told so."""
    timed_out_streams: int = 0
    """Connections that did not come so far as to be admitted or refused."""
    refused_meetings: int = 0
    """Meetings that others wanted to begin while there were too many."""


class Node(StreamOwner):
    """The machine of a node: five verbs, and what a program asks of it.

    `token_bytes` must be fit for cryptography. Addresses are IP addresses, never names. Streams are told by
    the events of `pknet.utp`, all else by those of `pknet.network`. A node is started once and stopped once.
    """

    def __init__(
        self, identity: Identity, token_bytes: Callable[[int], bytes], config: NodeConfig | None = None
    ) -> None:
        self.identity = identity
        self.token_bytes = token_bytes
        self.config = config or NodeConfig()
        self.utp = UtpEndpoint(token_bytes, self.config.utp or default_utp_config())
        self.streams: set[NodeStream] = set()
        """The streams between programs that are open."""
        self.sockets = NodeSockets(token_bytes, self.tell)
        self.meetings = Meetings(self)
        self.dials = Dials(self)
        self.registrations = Registrations(self)
        self.rendezvous_server = RendezvousServer() if self.config.introduces else None
        self._stats = NodeStats()
        self._stopped = False
        self._now = float("-inf")
        # Streams that are not open yet, and have no dial to watch over them, by deadline.
        self._openings: OrderedDict[NodeStream, float] = OrderedDict()
        # Closed streams by deadline, each with what was not acknowledged when that was set.
        self._closings: OrderedDict[NodeStream, tuple[float, int]] = OrderedDict()
        self._incoming = 0
        self._handshakes = SourceLimiter(HANDSHAKE_RATE, HANDSHAKE_BURST, MAX_SOURCES)
        # All streams that are open and not to a rendezvous, the newest last, and the hosts they go to.
        self._open_to: dict[NodeId | None, dict[NodeStream, str]] = {}
        self._known_hosts: Counter[str] = Counter()
        self._touched: dict[NodeStream, None] = {}
        self._events: list[Any] = []

    # What the program asks for.

    @property
    def stats(self) -> NodeStats:
        """What was dropped or refused so far."""
        self._stats.unproven_checks = self.meetings.unproven_checks
        self._stats.refused_meetings = self.meetings.refused
        return self._stats

    @property
    def public_address(self) -> PublicAddress | None:
        """The address by which others see the primary socket, None while it is not known."""
        return self.sockets.public_address

    @property
    def mapping(self) -> Mapping:
        """What is known of how this node's NAT maps ports."""
        return self.sockets.mapping

    @property
    def registered_with(self) -> list[NodeId]:
        """The rendezvous nodes that introduce others to this one now."""
        return self.registrations.registered_with

    def start(self, addresses: Iterable[Address], now: float) -> None:
        """Begin the NAT traversal service.

        `addresses`: where the primary socket is reached on the local network. Raises StateError after `stop`.
        """
        self._require_running(now)
        self.sockets.start(addresses, self.config.alternate_port if self.config.introduces else None)

    def stop(self, now: float) -> None:
        """Stop the NAT traversal service: no new stream, meeting or introduction. Open streams go on."""
        self._advance(now)
        if self._stopped:
            return
        self._stopped = True
        self.utp.accepting = False
        self.dials.stop(self._now)
        self.meetings.stop(self._now)
        self.registrations.stop(self._now)
        if self.rendezvous_server is not None:
            self.rendezvous_server.stop(self._now)
        for stream in list(self._openings):
            stream.fail("the node was stopped", self._now)
        for stream in [stream for group in self._open_to.values() for stream in group]:
            if stream not in self.streams:
                stream.close(self._now)
        self.sockets.stop(self._now)

    def register(self, rendezvous: RendezvousInfo, now: float) -> None:
        """Stay known to a rendezvous node, so that others can be introduced to this one.

        Raises StateError after `stop`.
        """
        self._require_running(now)
        self.registrations.register(rendezvous, self._now)

    def connect(self, info: NodeInfo, now: float, purpose: Purpose = Purpose.STREAM) -> NodeStream:
        """Open a stream to a node, over whatever path works.

        ConnectionOpened or ConnectionClosed tells how it went. Purpose.ASSOCIATION opens none that the node's
        program sees: it only keeps the path open. Raises StateError after `stop`.
        """
        self._require_running(now)
        stream = NodeStream(self, info.node_id, purpose, info.secret)
        self.dials.begin(stream, info, self._now)
        return stream

    def open_channel(self, rendezvous: Iterable[RendezvousInfo], node_id: NodeId, now: float) -> Channel:
        """Open a signalling channel to a node through the first rendezvous node that is connected, or can be.

        Raises PknetError if there is none, StateError after `stop`.
        """
        self._require_running(now)
        return self.registrations.open_channel(rendezvous, node_id, self._now)

    # Sockets and signalling streams, which the adapter has.

    def socket_opened(self, number: int, local: Hashable, addresses: Iterable[Address], now: float) -> None:
        """Take a socket that SocketWanted asked for; `addresses`: where it is reached on the local network.

        Raises StateError if none was asked for under this number.
        """
        self._advance(now)
        self.sockets.opened(number, local, addresses, self._now)
        if self.rendezvous_server is not None:
            self.rendezvous_server.alternate_port = self.sockets.alternate_port

    def socket_failed(self, number: int, reason: str, now: float) -> None:
        """Take note that a socket that SocketWanted asked for can't be had; raises as `socket_opened`."""
        self._advance(now)
        self.sockets.failed(number, reason, self._now)

    def signalling_opened(self, number: int, now: float) -> None:
        """Take note that the stream that SignallingWanted asked for is there."""
        self._advance(now)
        self.meetings.stream_opened(number, self._now)

    def receive_signalling(self, number: int, data: bytes, now: float) -> None:
        """Take bytes from a signalling stream."""
        self._advance(now)
        self.meetings.stream_received(number, data, self._now)

    def signalling_ended(self, number: int, reason: str, now: float) -> None:
        """Take note that a signalling stream is over, or could not be opened; `reason` may be empty."""
        self._advance(now)
        self.meetings.stream_ended(number, reason, self._now)

    def accept_signalling(self, now: float) -> int:
        """Take a signalling stream that a peer opened by the program's own means; return its number.

        Raises StateError if there are too many meetings, and after `stop`.
        """
        self._advance(now)
        return self.meetings.accept_stream(self._now)

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
            self._stats.unknown_datagrams += 1

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
                self._stats.unknown_datagrams += -(-(stop - start) // segment_size)

    def receive_packet_too_big(
        self,
        data: bytes | bytearray | memoryview,
        max_datagram: int | None,
        remote: Any,
        local: Hashable | None,
        now: float,
    ) -> None:
        """Take word, as a uTP endpoint does, that a datagram is too long for its path."""
        self._advance(now)
        self.utp.receive_packet_too_big(data, max_datagram, remote, local, self._now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        self._advance(now)
        now = self._now
        self.utp.handle_timeout(now)
        self.sockets.handle_timeout(now)
        self.meetings.handle_timeout(now)
        self.dials.handle_timeout(now)
        self.registrations.handle_timeout(now)
        if self.rendezvous_server is not None:
            self.rendezvous_server.handle_timeout(now)
        while self._openings and next(iter(self._openings.values())) <= now:
            stream = next(iter(self._openings))
            self._end_opening(stream)
            self._stats.timed_out_streams += 1
            stream.fail("it did not open in time", now)
        while self._closings and next(iter(self._closings.values()))[0] <= now:
            stream, (_, before) = self._closings.popitem(last=False)
            if stream.unacknowledged < before:
                self.expect_end(stream)
            else:
                stream.abort(now)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        deadlines = [
            self.utp.next_timeout(),
            self.sockets.next_timeout(),
            self.meetings.next_timeout(),
            self.dials.next_timeout(),
            self.registrations.next_timeout(),
        ]
        if self.rendezvous_server is not None:
            deadlines.append(self.rendezvous_server.next_timeout())
        if self._openings:
            deadlines.append(next(iter(self._openings.values())))
        if self._closings:
            deadlines.append(next(iter(self._closings.values()))[0])
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        self._work()
        return self.sockets.transmits() + self.meetings.transmits() + self.utp.transmits()

    def events(self) -> list[Any]:
        """Take what has happened."""
        taken, self._events = self._events, []
        return taken

    # What the parts and the streams ask for.

    def tell(self, event: object) -> None:
        """Tell the program of an event."""
        self._events.append(event)

    def touch(self, stream: NodeStream) -> None:
        """Have `stream.advance` called before anything is sent."""
        self._touched[stream] = None

    def expect_end(self, stream: NodeStream) -> None:
        """Give the peer of a stream that was closed time: to take what was sent, and then to finish too."""
        self._closings.setdefault(stream, (self._now + CLOSING_TIMEOUT, stream.unacknowledged))

    def admit(self, stream: NodeStream, hello: Hello) -> str | None:
        """Return why a node may not come in, None if it may."""
        secure = stream.secure
        assert secure is not None
        assert stream.peer is not None
        if self._stopped:
            refusal: str | None = "it is stopping"
        elif hello.purpose is Purpose.RENDEZVOUS:
            server = self.rendezvous_server
            refusal = "this node introduces nobody" if server is None else server.refusal(stream)
        else:
            binding = secure.channel_binding()
            is_admitted = self.admit_offer(
                stream.peer, lambda secret: check_admission(secret, ADMISSION_CONTEXT, binding, hello.proof)
            )
            refusal = None if is_admitted else "you are not on its list, and show no ticket that it knows"
        self._stats.refused_streams += refusal is not None
        return refusal

    def admit_offer(self, node_id: NodeId, proof_check: ProofCheck) -> bool:
        """Return whether a node may come in, by its id or by the secret of a ticket."""
        if self._stopped:
            return False
        # Every secret is tried, so that the time taken does not tell which one it was.
        known = [proof_check(secret) for secret in self.config.secrets if len(secret) == SECRET_SIZE]
        return any(known) or self.config.admit(node_id)

    def emit(self, event: UtpEvent) -> None:
        """Tell the program of an event of a stream, or act on it where the stream is the node's own."""
        owner = event.connection
        if isinstance(owner, Channel):
            if not self.meetings.handle_event(owner, event, self._now):
                self.tell(event)
            return
        if isinstance(event, ConnectionOpened | ConnectionAccepted | ConnectionClosed):
            self._end_opening(owner)
        if isinstance(event, ConnectionClosed):
            self._closings.pop(owner, None)
        if owner.purpose is not Purpose.RENDEZVOUS:
            self._note_stream(owner, event)
        elif not self.registrations.handle_event(event, self._now) and self.rendezvous_server is not None:
            self.rendezvous_server.handle_event(event, self._now)

    def describe(self, local: Hashable | None) -> Description | None:
        """Return this node's description by the socket `local`, None while it is still being gathered."""
        return self.sockets.describe(local)

    def reachable(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return those of a peer's candidates that packets may be sent to."""
        return self.sockets.reachable(candidates)

    def want_socket(self, meeting: Meeting) -> None:
        """Open a socket for a meeting and learn its public address."""
        self.sockets.want_fresh(meeting, self._now)

    def path_to(self, node_id: NodeId) -> tuple[Hashable, Hashable | None] | None:
        """Return the path of the newest open stream to a node, None if there is none."""
        group = self._open_to.get(node_id)
        return None if group is None else next(reversed(group)).path

    def dial(self, stream: NodeStream, remote: Any, local: Hashable | None) -> None:
        """Try to open a stream by one more connection, if that can be."""
        if not self.sockets.can_reach(remote[0]) or remote in self.sockets.addresses:
            return
        try:
            connection = self.utp.connect(remote, self._now, local)
        except TooManyConnections as error:
            stream.failure = str(error)
            return
        self.sockets.hold(local)
        stream.add_attempt(connection, self.identity)

    def dial_rendezvous(self, info: RendezvousInfo) -> NodeStream:
        """Begin to open a stream to a rendezvous node; it fails by itself if that takes too long."""
        stream = NodeStream(self, info.node_id, Purpose.RENDEZVOUS)
        for address in info.addresses:
            self.dial(stream, address, None)
        if stream.attempts_left:
            self._openings[stream] = self._now + OPENING_TIMEOUT
        return stream

    def accept_channel(self, channel: Channel, rendezvous: NodeId) -> str:
        """Take a signalling channel that another node opened; return why not, or ""."""
        return self.meetings.accept_channel(channel, rendezvous, self._now)

    # Work.

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _require_running(self, now: float) -> None:
        self._advance(now)
        if self._stopped:
            raise StateError("the node was stopped")

    def _work(self) -> None:
        """Follow what has happened in each part to what it means for the others, until nothing is new."""
        now = self._now
        while True:
            for event in self.utp.events():
                self._receive_utp_event(event)
            self.sockets.work(now)
            self.meetings.work(now)
            self.dials.work(now)
            if not self._touched:
                break
            touched, self._touched = self._touched, {}
            for stream in touched:
                stream.advance(now)

    def _receive_utp_event(self, event: UtpEvent) -> None:
        connection = event.connection
        if isinstance(event, ConnectionAccepted):
            self.sockets.hold(connection.local)
            self._accept(connection)
            return
        if isinstance(event, ConnectionClosed):
            self.sockets.let_go(connection.local, self._now)
        if connection.context is None:
            return
        stream: NodeStream = connection.context.owner
        if isinstance(event, ConnectionClosed):
            stream.connection_closed(connection.context, event)
        else:
            self.touch(stream)

    def _accept(self, connection: UtpConnection) -> None:
        """Begin to find out who dials; anybody may, so strangers' hosts are rationed."""
        remote: Any = connection.remote
        is_allowed = self._incoming < MAX_OPENINGS and not self._stopped
        is_known = self._known_hosts[remote[0]] > 0
        if not is_allowed or not (is_known or self._handshakes.allow(remote[0], self._now)):
            self._stats.rationed_streams += 1
            connection.abort(self._now)
            return
        stream = NodeStream(self, None, Purpose.STREAM)
        self._openings[stream] = self._now + OPENING_TIMEOUT
        self._incoming += 1
        stream.accept(connection, self.identity, allow_plain=self.config.allow_plain_utp)

    def _end_opening(self, stream: NodeStream) -> None:
        if self._openings.pop(stream, None) is not None and not stream.is_initiator:
            self._incoming -= 1

    def _note_stream(self, stream: NodeStream, event: UtpEvent) -> None:
        """Keep the record of open streams; tell the program what it knows of."""
        is_association = stream.purpose is Purpose.ASSOCIATION
        if isinstance(event, ConnectionClosed):
            was_open = self._forget_open(stream)
            is_known = stream.is_initiator or (was_open and not is_association)
        else:
            self._note_open(stream)
            is_known = stream.is_initiator or not is_association
            if is_known:
                self.streams.add(stream)
            elif not isinstance(event, ConnectionAccepted):
                # Nothing comes on it but its end.
                stream.close(self._now)
        if is_known:
            self.tell(event)

    def _note_open(self, stream: NodeStream) -> None:
        group = self._open_to.setdefault(stream.peer, {})
        if stream not in group:
            remote: Any = stream.remote
            group[stream] = remote[0]
            # Who speaks no TLS has proved nothing.
            self._known_hosts[remote[0]] += stream.peer is not None

    def _forget_open(self, stream: NodeStream) -> bool:
        """Take a stream off the records; return whether it was on them."""
        self.streams.discard(stream)
        group = self._open_to.get(stream.peer)
        if group is None or stream not in group:
            return False
        host = group.pop(stream)
        if not group:
            del self._open_to[stream.peer]
        self._known_hosts[host] -= stream.peer is not None
        if not self._known_hosts[host]:
            del self._known_hosts[host]
        return True

    def _receive_stun(
        self, data: bytes | bytearray | memoryview, remote: Any, local: Hashable | None
    ) -> None:
        try:
            message = parse_message(data)
        except ProtocolError:
            if is_utp(data):
                self.utp.receive_datagram(data, remote, local, self._now)
            else:
                self._stats.malformed_stun += 1
            return
        if not self.meetings.receive_message(message, remote, local, self._now):
            self.sockets.receive_message(message, remote, local, self._now)
