"""Whole nodes in the simulated network: each with its socket, its streams and its signalling, behind any NAT.

    network = SimulatedNetwork(seed=1)
    rendezvous = SimulatedNode(network, network.host("192.0.2.1"), introduces=True)
    server = SimulatedNode(
        network, network.host(behind=network.nat("cone")), rendezvous=[rendezvous], service=echo
    )
    client = SimulatedNode(network, network.host(behind=network.nat("symmetric")))
    assert network.run_until(lambda: server.node.registered_with, timeout=5)
    stream = client.connect(server.info(direct=False))
    network.run_until(lambda: stream.is_open or stream.closed, timeout=30)

TLS draws its randomness from OpenSSL, so the bytes on the wire are not the same in each run; their number and
their times are.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pknet.errors import PknetError
from pknet.network import (
    Channel,
    Identity,
    Node,
    NodeConfig,
    NodeId,
    NodeInfo,
    NodeStream,
    Purpose,
    RendezvousInfo,
    SignallingData,
    SignallingEnded,
    SignallingWanted,
    SocketReleased,
    SocketWanted,
)
from pknet.testing.errors import SimulationError
from pknet.testing.host import Host, SimulatedSocket
from pknet.testing.network import SimulatedNetwork
from pknet.testing.packet import Address
from pknet.utp import (
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    DataReceived,
    EofReceived,
    SendBufferDrained,
    UtpConfig,
    UtpEvent,
)

if TYPE_CHECKING:
    from pknet.testing.attachment import Attachment

__all__ = ["SimulatedNode", "SimulatedStream", "echo"]

_READ_SIZE = 1 << 16
_SEND_SIZE = 1 << 18


class SimulatedStream:
    """A stream of a simulated node: reads at once what comes, and keeps what can't be sent yet.

    `received` is what came, `eof` whether the peer finished, `closed` the ConnectionClosed event or None.
    """

    def __init__(self, owner: "SimulatedNode", stream: NodeStream) -> None:
        self.stream = stream
        self.received = bytearray()
        self.is_open = False
        self.eof = False
        self.closed: ConnectionClosed | None = None
        self.is_paused = False
        """Whether what comes is left unread; `resume` ends that."""
        self._owner = owner
        self._backlog = bytearray()
        self._finishing = False
        stream.context = self

    @property
    def peer(self) -> NodeId | None:
        """The node at the other end."""
        return self.stream.peer

    @property
    def failure(self) -> str | None:
        """Why the stream did not open or broke, in words."""
        return self.stream.failure

    @property
    def unsent(self) -> int:
        """How many bytes of what `send` was given the stream itself has not taken."""
        return len(self._backlog)

    def send(self, data: bytes) -> None:
        """Send all of it, as room is made; what is given before the stream is open waits."""
        self._backlog += data
        self._flush()

    def finish(self) -> None:
        """Say that no more is sent, once all has been; reading goes on."""
        self._finishing = True
        self._flush()

    def close(self) -> None:
        """Close the stream."""
        self.stream.close(self._owner.network.now)
        self._owner.attachment.kick()

    def abort(self) -> None:
        """End the stream at once."""
        self.stream.abort(self._owner.network.now)
        self._owner.attachment.kick()

    def resume(self) -> None:
        """Read again after `is_paused` was set."""
        self.is_paused = False
        self._read()
        self._owner.attachment.kick()

    def take(self) -> bytes:
        """Return what was received, and forget it."""
        data = bytes(self.received)
        self.received.clear()
        return data

    def handle_event(self, event: UtpEvent) -> None:
        """Take an event of the stream."""
        match event:
            case ConnectionOpened() | ConnectionAccepted():
                self.is_open = True
                self._flush()
            case DataReceived():
                self._read()
            case EofReceived():
                self._read()
            case SendBufferDrained():
                self._flush()
            case ConnectionClosed():
                self._read()
                self.is_open = False
                self.closed = event

    def _read(self) -> None:
        while not self.is_paused and self.stream.readable:
            self.received += self.stream.read(_READ_SIZE, self._owner.network.now)
        self.eof = self.stream.at_eof

    def _flush(self) -> None:
        now = self._owner.network.now
        if self.stream.is_open and not self.stream.is_closing:
            while self._backlog:
                part = bytes(self._backlog[:_SEND_SIZE])
                taken = self.stream.send(part, now)
                del self._backlog[:taken]
                if taken < len(part):
                    break
            if self._finishing and not self._backlog:
                self.stream.finish(now)
        self._owner.attachment.kick()


def echo(stream: SimulatedStream) -> None:
    """Send back what comes, and finish when the peer has; a service for SimulatedNode."""
    if stream.is_open:
        stream.send(stream.take())
        if stream.eof:
            stream.finish()


class SimulatedNode:
    """A node on a host, started; it registers with the nodes of `rendezvous` and stays registered.

    `introduces`: whether it is a rendezvous itself, and serves STUN on `port` and on the port after it.
    `admit` and `secrets`: who may come in, everybody by default. `service(stream)`: called for each incoming
    stream when it opens, when something has come and when it ends. `streams` has the incoming streams so far,
    `events` what the node told beside the events of streams. `receive_segments`: whether datagrams come
    merged, as by GRO.
    """

    def __init__(
        self,
        network: SimulatedNetwork,
        host: Host,
        *,
        port: int = 1315,
        rendezvous: Iterable["SimulatedNode"] = (),
        introduces: bool = False,
        admit: Callable[[NodeId], bool] = lambda _: True,
        secrets: Iterable[bytes] = (),
        service: Callable[[SimulatedStream], object] | None = None,
        private_key: Ed25519PrivateKey | None = None,
        utp: UtpConfig | None = None,
        allow_plain_utp: bool = False,
        receive_segments: bool = False,
    ) -> None:
        self.network = network
        self.host = host
        self.service = service
        self.streams: list[SimulatedStream] = []
        self.events: list[Any] = []
        self.identity = Identity(private_key or Ed25519PrivateKey.from_private_bytes(network.token_bytes(32)))
        self.node = Node(
            self.identity,
            network.token_bytes,
            NodeConfig(
                admit=admit,
                secrets=set(secrets),
                introduces=introduces,
                alternate_port=port + 1 if introduces else None,
                utp=utp,
                allow_plain_utp=allow_plain_utp,
            ),
        )
        self._rendezvous = tuple(node.rendezvous_info for node in rendezvous)
        self._known: dict[NodeId, NodeInfo] = {}
        self._channels: dict[int, Channel] = {}
        self.attachment: Attachment[Node] = host.attach(
            self.node, port, self._on_event, receive_segments=receive_segments
        )
        self.node.start([self.attachment.address], network.now)
        for info in self._rendezvous:
            self.node.register(info, network.now)
        self.attachment.kick()

    @property
    def node_id(self) -> NodeId:
        """The id of the node."""
        return self.identity.node_id

    @property
    def address(self) -> Address:
        """The (host, port) of its primary socket, as its own host knows it."""
        return self.attachment.address

    @property
    def rendezvous_info(self) -> RendezvousInfo:
        """What others need to use it as a rendezvous."""
        return RendezvousInfo(self.node_id, (self.address,))

    def info(self, secret: bytes = b"", *, direct: bool = True) -> NodeInfo:
        """Return what others need to reach it; without `direct`, through its rendezvous alone."""
        return NodeInfo(self.node_id, (self.address,) if direct else (), self._rendezvous, secret)

    def connect(self, info: NodeInfo, purpose: Purpose = Purpose.STREAM) -> SimulatedStream:
        """Open a stream to a node."""
        self._known[info.node_id] = info
        stream = SimulatedStream(self, self.node.connect(info, self.network.now, purpose))
        self.attachment.kick()
        return stream

    def stop(self) -> None:
        """Stop the node; its open streams go on."""
        self.node.stop(self.network.now)
        self.attachment.kick()

    def vanish(self) -> None:
        """Take the node off the network without a word; its port is free then."""
        self.attachment.detach()

    def _on_event(self, event: Any) -> None:
        now = self.network.now
        match event:
            case UtpEvent() if isinstance(event.connection, Channel):
                self._carry(event.connection, event)
            case UtpEvent():
                self._serve(event)
            case SocketWanted(number, port):
                self._open_socket(number, port)
            case SocketReleased(local):
                assert isinstance(local, SimulatedSocket)
                self.attachment.remove_socket(local)
            case SignallingWanted(number, node_id):
                self.open_signalling(number, node_id)
            case SignallingData(number, data):
                if number in self._channels:
                    self._channels[number].send(data, now)
            case SignallingEnded(number):
                if number in self._channels:
                    self._channels[number].close(now)
            case _:
                self.events.append(event)

    def open_signalling(self, number: int, node_id: NodeId) -> None:
        """Open a signalling channel through a rendezvous; to be overridden by who has another way."""
        info = self._known.get(node_id)
        rendezvous = (*(() if info is None else info.rendezvous), *self._rendezvous)
        try:
            channel = self.node.open_channel(rendezvous, node_id, self.network.now)
        except PknetError as error:
            self.node.signalling_ended(number, str(error), self.network.now)
        else:
            channel.context = number
            self._channels[number] = channel

    def _carry(self, channel: Channel, event: UtpEvent) -> None:
        """Bring what comes on a channel to the meeting that it is for."""
        now = self.network.now
        number = channel.context
        match event:
            case ConnectionOpened():
                self.node.signalling_opened(number, now)
            case DataReceived():
                self.node.receive_signalling(number, channel.read(channel.readable, now), now)
            case ConnectionClosed():
                del self._channels[number]
                self.node.signalling_ended(number, channel.failure or "", now)

    def _serve(self, event: UtpEvent) -> None:
        stream: SimulatedStream | None = event.connection.context
        if stream is None:
            stream = SimulatedStream(self, event.connection)
            self.streams.append(stream)
        stream.handle_event(event)
        if self.service is not None and not stream.stream.is_initiator:
            self.service(stream)

    def _open_socket(self, number: int, port: int) -> None:
        try:
            socket = self.host.bind(port, self.address[0])
        except SimulationError as error:
            self.node.socket_failed(number, str(error), self.network.now)
            return
        self.attachment.add_socket(socket)
        self.node.socket_opened(number, socket, [socket.address], self.network.now)
