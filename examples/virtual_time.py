"""Two nodes behind NATs meet through a third, in virtual time: no socket, and no wait.

    python -m examples.virtual_time [NAT [NAT]]

The machines are those that the adapters drive; here a simulated network does. NATs are called by their names
in `pknet.testing.NATS`; both are "cone" unless told.
"""

import sys
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pknet.network import (
    Channel,
    Identity,
    Node,
    NodeConfig,
    NodeInfo,
    NodeStream,
    RendezvousInfo,
    SignallingData,
    SignallingEnded,
    SignallingWanted,
    SocketReleased,
    SocketWanted,
)
from pknet.testing import Attachment, Host, Link, SimulatedNetwork, SimulatedSocket
from pknet.utp import ConnectionClosed, ConnectionOpened, DataReceived


class Driver:
    """What an adapter does for a node, where sockets and time are simulated."""

    def __init__(
        self, network: SimulatedNetwork, host: Host, name: str, config: NodeConfig | None = None
    ) -> None:
        self.network, self.host, self.name = network, host, name
        self.identity = Identity(Ed25519PrivateKey.generate())
        self.node = Node(self.identity, network.token_bytes, config)
        self.rendezvous: list[RendezvousInfo] = []
        self.channels: dict[int, Channel] = {}
        self.attachment: Attachment[Node] = host.attach(self.node, 1315, self.on_event)
        self.node.start([self.attachment.address], network.now)
        self.attachment.kick()

    def register(self, rendezvous: RendezvousInfo) -> None:
        """Stay known to a rendezvous node."""
        self.rendezvous.append(rendezvous)
        self.node.register(rendezvous, self.network.now)
        self.attachment.kick()

    def connect(self, info: NodeInfo) -> NodeStream:
        """Open a stream to a node."""
        stream = self.node.connect(info, self.network.now)
        self.attachment.kick()
        return stream

    def on_event(self, event: Any) -> None:
        """Answer what the node asks for; tell of the rest."""
        node, now = self.node, self.network.now
        match event:
            case SocketWanted(number, port):
                socket = self.host.bind(port)
                self.attachment.add_socket(socket)
                node.socket_opened(number, socket, [socket.address], now)
            case SocketReleased(SimulatedSocket() as local):
                self.attachment.remove_socket(local)
            case SignallingWanted(number, node_id):
                channel = node.open_channel(self.rendezvous, node_id, now)
                channel.context = number
                self.channels[number] = channel
                node.signalling_opened(number, now)
            case SignallingData(number, data):
                self.channels[number].send(data, now)
            case SignallingEnded(number):
                self.channels[number].close(now)
            case DataReceived(Channel() as channel):
                node.receive_signalling(channel.context, channel.read(1 << 16, now), now)
            case ConnectionClosed(Channel() as channel):
                node.signalling_ended(channel.context, channel.failure or "", now)
            case DataReceived(stream):
                self.say(f"read {stream.read(1 << 16, now)!r} from {stream.remote}")
            case ConnectionOpened(NodeStream() as stream):
                self.say(f"opened a stream to {stream.remote}")
            case ConnectionClosed(stream):
                self.say(stream.failure or "the stream ended")
            case _:
                self.say(type(event).__name__)

    def say(self, text: str) -> None:
        """Print what happened, and when."""
        print(f"{self.network.now:7.3f} s  {self.name}: {text}")


def wire() -> Link:
    """Return one direction of a wire to the internet."""
    return Link(latency=0.010)


def main() -> None:
    """Have two nodes meet."""
    nats = (sys.argv[1:] or ["cone"]) * 2
    network = SimulatedNetwork(seed=1)
    house1, house2 = (network.nat(nat, up=wire(), down=wire()) for nat in nats[:2])

    serving = NodeConfig(introduces=True, alternate_port=1316)
    server = Driver(network, network.host("192.0.2.1", up=wire(), down=wire()), "server", serving)
    one = Driver(network, network.host(behind=house1), "one")
    other = Driver(network, network.host(behind=house2), "other", NodeConfig(admit=lambda _: True))

    rendezvous = RendezvousInfo(server.identity.node_id, (server.attachment.address,))
    for driver in (one, other):
        driver.register(rendezvous)
    network.run(2)
    stream = one.connect(NodeInfo(other.identity.node_id, (), (rendezvous,)))
    network.run_until(lambda: stream.is_open or stream.close_reason is not None, timeout=60)
    if stream.is_open:
        stream.send(b"hello", network.now)
        one.attachment.kick()
        network.run(1)


if __name__ == "__main__":
    main()
