"""Hosts and their sockets."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

from pknet.testing.attachment import Attachment, Machine
from pknet.testing.errors import SimulationError
from pknet.testing.link import Link
from pknet.testing.packet import (
    DEFAULT_TTL,
    MAX_UDP_PAYLOAD,
    Address,
    Packet,
    canonical_address,
    canonical_host,
)
from pknet.testing.segment import Segment
from pknet.testing.simulation import Simulation
from pknet.testing.trace import endpoint

__all__ = ["Host", "Received", "SimulatedSocket"]

MachineT = TypeVar("MachineT", bound=Machine)

# RFC 6335, section 6: the ports that belong to nobody.
_EPHEMERAL_PORTS = range(49152, 65536)


class Received(NamedTuple):
    """A datagram that came to a socket which no machine reads."""

    data: bytes
    remote: Address
    time: float
    ecn: int


class SimulatedSocket:
    """A UDP socket, and the handle by which a machine names it as `local`.

    `address` is (host, port). `dont_fragment` holds for every datagram that does not say otherwise. What
    comes in while no machine is attached is kept in `received`.
    """

    __slots__ = ("address", "attachment", "closed", "dont_fragment", "handle", "host", "received")

    def __init__(self, host: "Host", address: Address) -> None:
        self.host = host
        self.address = address
        self.dont_fragment = False
        self.received: list[Received] = []
        self.closed = False
        # Who reads it, and by which name: None on a machine's primary socket, else the socket itself.
        self.attachment: Attachment[Any] | None = None
        self.handle: Hashable | None = None

    def __repr__(self) -> str:
        return f"<SimulatedSocket {endpoint(self.address)}>"

    @property
    def is_ipv6(self) -> bool:
        """Whether its address is one of IPv6."""
        return ":" in self.address[0]

    def send(
        self,
        data: bytes,
        remote: Address,
        *,
        ttl: int | None = None,
        dont_fragment: bool | None = None,
        ecn: int = 0,
    ) -> None:
        """Send one datagram."""
        if len(data) > MAX_UDP_PAYLOAD:
            raise SimulationError(f"{len(data)} bytes don't fit into a datagram")
        to = canonical_address(remote)
        if (":" in to[0]) != self.is_ipv6:
            raise SimulationError(f"{self!r} can't send to {to}, of another address family")
        self.host.send(self, data, to, ttl, dont_fragment, ecn)

    def close(self) -> None:
        """Free the port; twice is harmless."""
        self.closed = True
        self.host.release(self)


class Host:
    """One or more addresses in one segment, a wire to the others there (`up`) and one back (`down`).

    Without a wire, datagrams cross at once.
    """

    def __init__(
        self,
        simulation: Simulation,
        segment: Segment,
        addresses: list[str],
        up: Link | None,
        down: Link | None,
        name: str | None,
    ) -> None:
        self.up = up
        self.down = down
        self._simulation = simulation
        self._segment = segment
        self._addresses: list[str] = []
        self._sockets: dict[Address, SimulatedSocket] = {}
        self._join(segment, addresses)
        self.name = name or self.address

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self._addresses[0]

    @property
    def addresses(self) -> tuple[str, ...]:
        """All its addresses."""
        return tuple(self._addresses)

    @property
    def sockets(self) -> list[SimulatedSocket]:
        """The open sockets."""
        return list(self._sockets.values())

    def bind(self, port: int = 0, address: str | None = None) -> SimulatedSocket:
        """Open a socket on one address, the first unless told; port 0 takes the first one that is free."""
        host = self.address if address is None else canonical_host(address)
        if host not in self._addresses:
            raise SimulationError(f"{self.name} does not have the address {host}")
        if port == 0:
            port = next((free for free in _EPHEMERAL_PORTS if (host, free) not in self._sockets), 0)
        if not 0 < port <= 65535:
            raise SimulationError(f"{self.name} can't bind port {port}")
        if (host, port) in self._sockets:
            raise SimulationError(f"{endpoint((host, port))} is in use")
        socket = self._sockets[host, port] = SimulatedSocket(self, (host, port))
        return socket

    def attach(
        self,
        machine: MachineT,
        port: int = 0,
        on_event: Callable[[Any], object] | None = None,
        *,
        address: str | None = None,
        receive_segments: bool = False,
    ) -> Attachment[MachineT]:
        """Bind the primary socket of a machine and drive its five verbs from now on.

        With `receive_segments`, datagrams of one size that come from one peer at one moment reach the machine
        as one buffer, as GRO gives them.
        """
        return Attachment(
            self._simulation, machine, self.bind(port, address), on_event, receive_segments=receive_segments
        )

    def move(self, segment: Segment, *addresses: str) -> None:
        """Go to another network, or take other addresses: sockets stay open and follow, by address family.

        Raises SimulationError if a socket's family has no address there.
        """
        there = [canonical_host(address) for address in addresses]
        for address in there:
            if segment.nodes.get(address, self) is not self:
                raise SimulationError(f"{address} is taken in {segment.name}")
        follow = {old: _same_family(old, there) for old, _ in self._sockets}
        for address in self._addresses:
            self._segment.part(address)
        self._join(segment, there)
        sockets, self._sockets = self._sockets, {}
        for (old, port), socket in sockets.items():
            socket.address = follow[old], port
            self._sockets[socket.address] = socket

    def send(
        self,
        socket: SimulatedSocket,
        data: bytes,
        remote: Address,
        ttl: int | None,
        dont_fragment: bool | None,
        ecn: int,
    ) -> None:
        """Put a datagram on the wire; `remote` is canonical."""
        simulation = self._simulation
        if socket.closed:
            raise SimulationError(f"{socket!r} is closed")
        if ttl is None:
            ttl = DEFAULT_TTL
        elif not 0 < ttl < 256:
            raise SimulationError(f"{socket!r} can't send with a TTL of {ttl}")
        packet = Packet(
            data,
            socket.address,
            remote,
            ttl,
            socket.dont_fragment if dont_fragment is None else dont_fragment,
            ecn,
        )
        if simulation.tracing:
            simulation.record("sent", packet, self.name)
        if remote in self._sockets:
            self.arrive(packet)
        elif self.up is None:
            self._segment.forward(packet)
        else:
            self.up.carry(simulation, packet, self._segment.forward)

    def arrive(self, packet: Packet) -> None:
        """Give a packet to the socket that it is for."""
        socket = self._sockets.get(packet.dst)
        if socket is None:
            self._simulation.drop(packet, self.name, "port closed")
            return
        if self._simulation.tracing:
            self._simulation.record("received", packet, self.name)
        if socket.attachment is None:
            socket.received.append(Received(packet.data, packet.src, self._simulation.now, packet.ecn))
        else:
            socket.attachment.take(packet.data, packet.src, socket.handle)

    def release(self, socket: SimulatedSocket) -> None:
        """Forget a socket that was closed."""
        if self._sockets.get(socket.address) is socket:
            del self._sockets[socket.address]

    def _join(self, segment: Segment, addresses: list[str]) -> None:
        for address in addresses:
            segment.join(address, self)
        self._segment = segment
        self._addresses = addresses


def _same_family(old: str, candidates: list[str]) -> str:
    for candidate in candidates:
        if (":" in candidate) == (":" in old):
            return candidate
    raise SimulationError(f"no address among {candidates} can follow {old}")
