"""A peer that speaks uTP and TLS as a node does, and above that whatever a test has it say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pknet.network import Identity, NodeInfo
from pknet.network.stream import SecureConnection
from pknet.network.tls import SecureStream
from pknet.utp import ConnectionAccepted, UtpConfig, UtpEndpoint

if TYPE_CHECKING:
    from pknet import Transmit
    from pknet.network import NodeId
    from pknet.testing import Attachment, Host, SimulatedNetwork
    from pknet.utp import UtpConnection

__all__ = ["RawPeer"]


class RawPeer:
    """A machine with uTP connections and TLS on each; with `tls=False`, on none."""

    def __init__(self, network: SimulatedNetwork, host: Host, *, port: int = 1315, tls: bool = True) -> None:
        self.network = network
        self.identity = Identity(Ed25519PrivateKey.from_private_bytes(network.token_bytes(32)))
        self.utp = UtpEndpoint(network.token_bytes, UtpConfig(send_buffer=1 << 20))
        self.connections: list[SecureConnection] = []
        self.accepted: list[UtpConnection] = []
        self.tls = tls
        self.attachment: Attachment[RawPeer] = host.attach(self, port)

    @property
    def info(self) -> NodeInfo:
        """What others need to reach it."""
        return NodeInfo(self.identity.node_id, (self.attachment.address,))

    def dial(self, remote: tuple[str, int], peer: NodeId) -> SecureConnection:
        """Dial a node."""
        connection = self.dial_plain(remote)
        self.connections.append(SecureConnection(connection, SecureStream.client(self.identity, peer)))
        self.attachment.kick()
        return self.connections[-1]

    def dial_plain(self, remote: tuple[str, int]) -> UtpConnection:
        """Dial by uTP alone."""
        connection = self.utp.connect(remote, self.network.now)
        self.attachment.kick()
        return connection

    def say(self, data: bytes, *, connection: SecureConnection | None = None) -> None:
        """Send bytes inside TLS, by the newest connection unless told."""
        assert (connection or self.connections[-1]).tls.send(data) == len(data)
        self.attachment.kick()

    def receive_datagram(self, data: bytes, remote: Any, local: Any, now: float) -> None:
        """Take a datagram."""
        self.utp.receive_datagram(data, remote, local, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        self.utp.handle_timeout(now)

    def next_timeout(self) -> float | None:
        """Return when that is."""
        return self.utp.next_timeout()

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        for event in self.utp.events():
            if isinstance(event, ConnectionAccepted):
                self.accepted.append(event.connection)
                if self.tls:
                    tls = SecureStream.server(self.identity)
                    self.connections.append(SecureConnection(event.connection, tls))
        for connection in self.connections:
            connection.move(self.network.now)
        return self.utp.transmits()

    def events(self) -> list[Any]:
        """Take nothing: tests look for themselves."""
        return []
