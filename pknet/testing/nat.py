"""A router with a NAT, as Linux does it: what the table of flows does not know passes four stations.

Prerouting finds where a packet goes (a forwarded port, a host that let the sender in, or the router itself);
input takes what is for the router itself; forward lets through or refuses the rest; postrouting gives it the
source address it leaves with. Then the flow is remembered, and its later packets are translated by the table
alone.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import chain

from pknet.testing.behaviours import NatBehaviour
from pknet.testing.conntrack import Conntrack, Flow
from pknet.testing.errors import SimulationError
from pknet.testing.link import Link
from pknet.testing.packet import Address, Packet, canonical_address, canonical_host
from pknet.testing.segment import Segment
from pknet.testing.simulation import Simulation

__all__ = ["Nat", "Traffic"]

# What is picked from when nothing else is said: the ports above the well-known ones.
_PORTS = (1024, 65535)


@dataclass(slots=True)
class Traffic:
    """What a router has forwarded; bytes are UDP payload."""

    packets_out: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    bytes_in: int = 0


class Nat:
    """A router: its outside `address` in one segment, and a segment of its own (`inside`) behind it.

    `traffic` counts by the address of the other side, `drops` by reason. `up` and `down` are its wire
    outwards and back. `outer` is the NAT that it is itself behind, if any.
    """

    def __init__(
        self,
        simulation: Simulation,
        behaviour: NatBehaviour,
        address: str,
        segment: Segment,
        outer: "Nat | None",
        inside: list[str],
        up: Link | None,
        down: Link | None,
        name: str | None,
    ) -> None:
        self.name = name or f"nat {address}"
        self.outer = outer
        self.up = up
        self.down = down
        self.traffic: dict[Address, Traffic] = {}
        self.drops: Counter[str] = Counter()
        self.inside = Segment(simulation, f"inside of {self.name}", self)
        self.prefixes = [ip_network(prefix) for prefix in inside]
        self._simulation = simulation
        self._segment = segment
        self._address = canonical_host(address)
        self._table = Conntrack(behaviour)
        self._mapped_ports: dict[int, Address] = {}
        # Outside address -> who has it inside, until when; and who was contacted from there, until when.
        self._owners: dict[Address, tuple[Address, float]] = {}
        self._contacts: dict[tuple[Address, str], float] = {}
        self._next_port = simulation.random.randint(*self._ports)
        segment.join(self._address, self)

    def __repr__(self) -> str:
        return f"<Nat {self.name}>"

    @property
    def behaviour(self) -> NatBehaviour:
        """How it behaves; it may become another NAT while time runs, and keeps the flows that it has."""
        return self._table.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: NatBehaviour) -> None:
        if behaviour.translates != self.behaviour.translates:
            raise SimulationError(f"{self.name} can't begin or cease to translate")
        self._table.behaviour = behaviour

    @property
    def address(self) -> str:
        """The outside address."""
        return self._address

    @property
    def public_address(self) -> str:
        """The outside address of the outermost NAT."""
        return self._address if self.outer is None else self.outer.public_address

    def flows(self) -> list[Flow]:
        """Return the flows that are remembered now, oldest first."""
        return list(self._table.flows(self._simulation.now))

    def traffic_with(self, host: str) -> Traffic:
        """Return what was forwarded to and from all ports of an outside host."""
        total = Traffic()
        for (other, _), traffic in self.traffic.items():
            if other == host:
                total.packets_out += traffic.packets_out
                total.bytes_out += traffic.bytes_out
                total.packets_in += traffic.packets_in
                total.bytes_in += traffic.bytes_in
        return total

    def map_port(self, port: int, to: Address) -> None:
        """Forward a port of the outside address to an address inside, as PCP or UPnP would."""
        self._mapped_ports[port] = canonical_address(to)

    def unmap_port(self, port: int) -> None:
        """Take a forwarded port back."""
        if self._mapped_ports.pop(port, None) is None:
            raise SimulationError(f"{self.name} does not forward port {port}")

    def flush(self) -> None:
        """Forget all flows, as a reboot does; forwarded ports stay."""
        self._table.clear()
        self._owners.clear()
        self._contacts.clear()

    def set_address(self, address: str) -> None:
        """Change the outside address, which ends all flows."""
        new = canonical_host(address)
        self._segment.join(new, self)
        self._segment.part(self._address)
        self._address = new
        self.flush()

    # What the segments on both sides call.

    def arrive(self, packet: Packet) -> None:
        """Take a packet from outside."""
        self._pass(packet, from_inside=False)

    def leave(self, packet: Packet) -> None:
        """Take a packet from inside."""
        self._pass(packet, from_inside=True)

    def publish(self, host: str) -> None:
        """Make an inside address known outside if it isn't translated."""
        if not self._translates(host):
            self._segment.join(host, self)

    def withdraw(self, host: str) -> None:
        """Take back what `publish` made known."""
        if not self._translates(host):
            self._segment.part(host)

    def _pass(self, packet: Packet, *, from_inside: bool) -> None:
        now = self._simulation.now
        pair = packet.src, packet.dst
        flow = self._table.find(pair, now)
        if flow is not None:
            self._table.refresh(flow, pair, now)
        else:
            flow = self._new_flow(packet, from_inside=from_inside)
            if flow is None:
                return
        if flow.for_router:
            self._drop(packet, "for the router itself")
        elif self.behaviour.blocks_udp:
            self._drop(packet, "UDP is blocked")
        elif packet.ttl <= 1:
            self._drop(packet, "TTL ran out")
        else:
            packet.ttl -= 1
            packet.src, packet.dst = flow.translated(pair)
            if self._simulation.tracing:
                self._simulation.record("translated", packet, self.name)
            if packet.dst[0] in self.inside.nodes:
                self._send_in(packet)
            elif from_inside:
                self._send_out(packet, pair[0], now)
            else:
                self._drop(packet, "no route")

    def _send_in(self, packet: Packet) -> None:
        traffic = self._traffic(packet.src)
        traffic.packets_in += 1
        traffic.bytes_in += len(packet.data)
        self.inside.forward(packet)

    def _send_out(self, packet: Packet, sender: Address, now: float) -> None:
        traffic = self._traffic(packet.dst)
        traffic.packets_out += 1
        traffic.bytes_out += len(packet.data)
        if self._remembers_contacts():
            until = now + self.behaviour.contact_lifetime
            self._owners[packet.src] = sender, until
            self._contacts[packet.src, packet.dst[0]] = until
        if self.up is None:
            self._segment.forward(packet)
        else:
            self.up.carry(self._simulation, packet, self._segment.forward)

    # What becomes of the first packet of a flow.

    def _new_flow(self, packet: Packet, *, from_inside: bool) -> Flow | None:
        now = self._simulation.now
        target = self._prerouting(packet, now, from_inside=from_inside)
        if target[0] == self._address:
            return self._input(packet, now, from_inside=from_inside)
        if not self._forward(packet, target, now, from_inside=from_inside):
            return None
        source, key = self._postrouting(packet, target, now, from_inside=from_inside)
        if source is None:
            self._drop(packet, "no port is free")
            return None
        return self._remember(packet, Flow((packet.src, packet.dst), (target, source), now, 0.0), key)

    def _prerouting(self, packet: Packet, now: float, *, from_inside: bool) -> Address:
        """Return where a packet goes: its own destination, or someone inside."""
        behaviour = self.behaviour
        dst = packet.dst
        if dst[0] != self._address or not behaviour.translates:
            return dst
        if from_inside and not behaviour.hairpin:
            return dst
        mapped = self._mapped_ports.get(dst[1])
        if mapped is not None:
            return mapped
        if behaviour.filtering is None:
            agent = self._agent()
            if agent is None:
                return dst
            if behaviour.dmz is None:
                return agent, dst[1]
            return (agent, behaviour.dmz[1]) if dst[1] == behaviour.dmz[0] else dst
        owner = self._owner(dst, now)
        if owner is None or not (from_inside or self._lets_in(packet.src, dst, now)):
            return dst
        return owner

    def _input(self, packet: Packet, now: float, *, from_inside: bool) -> Flow | None:
        """Take what is for the router itself: nobody reads it there, but unless refused it is a flow."""
        if self.behaviour.firewalled and not from_inside:
            self._drop(packet, "refused by the firewall")
            return None
        flow = Flow((packet.src, packet.dst), (packet.dst, packet.src), now, 0.0, for_router=True)
        return self._remember(packet, flow, None)

    def _forward(self, packet: Packet, target: Address, now: float, *, from_inside: bool) -> bool:
        """Return whether a packet may go through."""
        if self.behaviour.blocks_udp:
            self._drop(packet, "UDP is blocked")
        elif packet.ttl <= 1:
            self._drop(packet, "TTL ran out")
        elif not from_inside and target == packet.dst and not self._lets_in(packet.src, target, now):
            self._drop(packet, "refused by the firewall")
        else:
            return True
        return False

    def _postrouting(
        self, packet: Packet, target: Address, now: float, *, from_inside: bool
    ) -> tuple[Address | None, Hashable | None]:
        """Return the source address to leave with, None if none is free, and the key it is found by."""
        source = packet.src
        if not from_inside:
            # A host inside may already talk to this source under another name: then it sees another port.
            if self._is_free(source, target, now):
                return source, None
            return self._pick(source[0], target, now, _PORTS, self._simulation.random.randint(*_PORTS)), None
        if not self._translates(source[0]):
            return source, None
        mapping = self.behaviour.mapping
        key: Hashable = source
        if mapping == "address-dependent":
            key = source, target[0]
        elif mapping == "address-and-port-dependent":
            key = source, target
        return self._map(source, target, key, now), key

    def _map(self, source: Address, target: Address, key: Hashable, now: float) -> Address | None:
        """Return the outside address for an inside one."""
        behaviour = self.behaviour
        if behaviour.dmz is not None and source[0] == self._agent():
            outside = self._address, behaviour.dmz[0]
            return outside if self._is_free(outside, target, now) else None
        like = self._table.newest(key, now)
        if like is not None and self._is_free(like.outside, target, now):
            return like.outside
        first, last = self._ports
        if behaviour.port_allocation == "preserving":
            outside = self._address, source[1]
            if behaviour.port_range is None or first <= source[1] <= last:
                shared = behaviour.mapping != "endpoint-independent" and self._table.in_use(outside, now)
                if not shared and self._is_free(outside, target, now):
                    return outside
        if behaviour.port_allocation != "sequential":
            return self._pick(
                self._address, target, now, (first, last), self._simulation.random.randint(first, last)
            )
        picked = self._pick(self._address, target, now, (first, last), self._next_port)
        if picked is not None:
            self._next_port = picked[1] + 1 if picked[1] < last else first
        return picked

    def _pick(
        self, host: str, target: Address, now: float, ports: tuple[int, int], start: int
    ) -> Address | None:
        """Return the first address, from port `start` on, at which no one awaits answers from `target`."""
        first, last = ports
        for port in chain(range(start, last + 1), range(first, start)):
            if self._is_free((host, port), target, now):
                return host, port
        return None

    def _is_free(self, source: Address, target: Address, now: float) -> bool:
        return self._table.find((target, source), now) is None

    def _remember(self, packet: Packet, flow: Flow, key: Hashable | None) -> Flow | None:
        now = self._simulation.now
        self._table.refresh(flow, flow.original, now)
        if self._table.add(flow, key, now):
            return flow
        self._drop(packet, "table of flows full")
        return None

    # Who may come in, and to whom.

    def _lets_in(self, source: Address, outside: Address, now: float) -> bool:
        """Return whether filtering lets `source` reach whoever sent from `outside`."""
        filtering = self.behaviour.filtering
        if filtering is None:
            return True
        if filtering == "endpoint-independent":
            return self._owner(outside, now) is not None
        if filtering == "address-dependent":
            return self._contacts.get((outside, source[0]), now) > now
        return False

    def _owner(self, outside: Address, now: float) -> Address | None:
        owner, until = self._owners.get(outside, (None, now))
        return owner if until > now else None

    def _remembers_contacts(self) -> bool:
        return self.behaviour.hairpin or self.behaviour.filtering in (
            "endpoint-independent",
            "address-dependent",
        )

    def _agent(self) -> str | None:
        """Return the first host inside, to which a DMZ or a 1:1 NAT gives everything."""
        return next((host for host in self.inside.nodes if self._translates(host)), None)

    def _translates(self, host: str) -> bool:
        return self.behaviour.translates and ":" not in host

    @property
    def _ports(self) -> tuple[int, int]:
        return self.behaviour.port_range or _PORTS

    def _traffic(self, other: Address) -> Traffic:
        traffic = self.traffic.get(other)
        if traffic is None:
            traffic = self.traffic[other] = Traffic()
        return traffic

    def _drop(self, packet: Packet, reason: str) -> None:
        self.drops[reason] += 1
        self._simulation.drop(packet, self.name, reason)
