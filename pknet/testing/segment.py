"""Where hosts and routers reach each other directly: the public internet, or the inside of a NAT."""

from typing import Protocol

from pknet.testing.errors import SimulationError
from pknet.testing.link import Link
from pknet.testing.packet import Packet
from pknet.testing.simulation import Simulation

__all__ = ["Gateway", "Node", "Segment"]


class Node(Protocol):
    """A host, or a router's outer face."""

    down: Link | None

    def arrive(self, packet: Packet) -> None:
        """Take a packet that has crossed the wire towards the node."""


class Gateway(Protocol):
    """The router by which packets leave a segment."""

    def leave(self, packet: Packet) -> None:
        """Take a packet from the inside."""

    def publish(self, host: str) -> None:
        """Learn of an address inside, and make it known outside if it can be reached from there."""

    def withdraw(self, host: str) -> None:
        """Learn that the inside no longer has this address."""


class Segment:
    """Who is where in one network, and how many routers lie between any two of them."""

    def __init__(self, simulation: Simulation, name: str, gateway: Gateway | None = None) -> None:
        self.name = name
        self.hops = 0
        self.nodes: dict[str, Node] = {}
        self._simulation = simulation
        self._gateway = gateway

    def join(self, host: str, node: Node) -> None:
        """Give an address of this segment to a node."""
        if host in self.nodes:
            raise SimulationError(f"{host} is taken in {self.name}")
        self.nodes[host] = node
        if self._gateway is not None:
            self._gateway.publish(host)

    def part(self, host: str) -> None:
        """Take an address back."""
        if self._gateway is not None:
            self._gateway.withdraw(host)
        del self.nodes[host]

    def forward(self, packet: Packet) -> None:
        """Bring a packet to whoever has its address here, or out by the gateway."""
        node = self.nodes.get(packet.dst[0])
        if node is not None:
            if self.hops:
                if packet.ttl <= self.hops:
                    self._simulation.drop(packet, self.name, "TTL ran out")
                    return
                packet.ttl -= self.hops
            down = node.down
            if down is None:
                node.arrive(packet)
            else:
                down.carry(self._simulation, packet, node.arrive)
        elif self._gateway is not None:
            self._gateway.leave(packet)
        else:
            self._simulation.drop(packet, self.name, "no route")
