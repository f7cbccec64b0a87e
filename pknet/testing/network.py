"""The simulated network: where hosts and NATs are made, and time is run."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from pknet.testing.behaviours import NATS, NatBehaviour
from pknet.testing.errors import SimulationError
from pknet.testing.host import Host
from pknet.testing.link import Link
from pknet.testing.nat import Nat
from pknet.testing.packet import canonical_host
from pknet.testing.segment import Segment
from pknet.testing.simulation import Simulation

__all__ = ["SimulatedNetwork"]


class SimulatedNetwork(Simulation):
    """A network in virtual time: hosts and NATs around a public internet, or behind other NATs.

    The same seed and the same calls give the same run, datagram by datagram. `now` is in seconds and only
    moves in `run`, `run_until` and `step`. `internet_hops` routers lie between any two addresses of the
    public internet, and take as much from a TTL; it may be changed. With `trace`, everything that happens to
    a datagram is recorded in the list `trace`. More than `event_limit` events in one run, or `instant_limit`
    at one moment, raise SimulationError.
    """

    def __init__(
        self,
        seed: int = 0,
        start: float = 0.0,
        *,
        internet_hops: int = 1,
        trace: bool = False,
        event_limit: int = 50_000_000,
        instant_limit: int = 1_000_000,
    ) -> None:
        super().__init__(seed, start, event_limit, instant_limit)
        self.tracing = trace
        self.internet = Segment(self, "internet")
        self.internet.hops = internet_hops
        self.hosts: list[Host] = []
        self.nats: list[Nat] = []

    @property
    def internet_hops(self) -> int:
        """The routers between any two addresses of the public internet."""
        return self.internet.hops

    @internet_hops.setter
    def internet_hops(self, hops: int) -> None:
        self.internet.hops = hops

    def host(
        self,
        *addresses: str,
        behind: Nat | None = None,
        up: Link | None = None,
        down: Link | None = None,
        name: str | None = None,
    ) -> Host:
        """Make a host in the public internet or behind a NAT; without addresses it gets one that is free.

        `up` and `down` are its wire to the others and from them; without one, datagrams cross at once.
        """
        if behind is None:
            segment, prefixes = self.internet, ["198.51.100.0/24"]
        else:
            segment, prefixes = behind.inside, [str(prefix) for prefix in behind.prefixes]
        hosts = [canonical_host(address) for address in addresses]
        host = Host(self, segment, hosts or [_free_host(segment, prefixes[0])], up, down, name)
        _name_links(host.name, up, down)
        self.hosts.append(host)
        return host

    def nat(
        self,
        behaviour: str | NatBehaviour | Iterable[NatBehaviour],
        address: str | None = None,
        inside: str | Iterable[str] | None = None,
        *,
        behind: Nat | None = None,
        up: Link | None = None,
        down: Link | None = None,
        name: str | None = None,
    ) -> Nat:
        """Make a NAT by its name in NATS or from its behaviour, and return it; several are a chain.

        Of a chain the innermost, which hosts are behind, is returned. `address` and the wires `up` and `down`
        are those of the outermost; `inside` has the prefixes of the innermost. Where they are not given,
        outside addresses count up from 203.0.113.11 and the insides are 10.1.0.0/24, 10.2.0.0/24, …
        (198.18.1.0/24, … where nothing is translated).
        """
        if isinstance(behaviour, str):
            if behaviour not in NATS:
                raise SimulationError(f"no NAT is called {behaviour!r}; there are {', '.join(NATS)}")
            chain = list(NATS[behaviour])
        else:
            chain = [behaviour] if isinstance(behaviour, NatBehaviour) else list(behaviour)
        if not chain:
            raise SimulationError("a chain of no NATs is no NAT")
        outer = behind
        for place in range(len(chain) - 1, -1, -1):
            number = len(self.nats) + 1
            outermost, innermost = place == len(chain) - 1, place == 0
            if not innermost:
                prefixes = [f"100.{64 + number % 64}.0.0/24"]
            elif inside is None:
                prefixes = [f"10.{number}.0.0/24" if chain[place].translates else f"198.18.{number}.0/24"]
            else:
                prefixes = [inside] if isinstance(inside, str) else list(inside)
            outer = self._add_nat(
                chain[place],
                address if outermost else None,
                prefixes,
                outer,
                up if outermost else None,
                down if outermost else None,
                name if innermost else None,
            )
        assert outer is not None
        return outer

    def _add_nat(
        self,
        behaviour: NatBehaviour,
        address: str | None,
        prefixes: list[str],
        outer: Nat | None,
        up: Link | None,
        down: Link | None,
        name: str | None,
    ) -> Nat:
        if outer is None:
            segment = self.internet
            host = address or _free_host(segment, "203.0.113.0/24", first=11)
        else:
            segment = outer.inside
            host = address or _free_host(segment, str(outer.prefixes[0]))
        nat = Nat(self, behaviour, host, segment, outer, prefixes, up, down, name)
        _name_links(nat.name, up, down)
        self.nats.append(nat)
        return nat


def _free_host(segment: Segment, prefix: str, first: int = 2) -> str:
    """Return the first address of a prefix that nobody has; the one before `first` is usually a router's."""
    network = ip_network(prefix)
    candidates: Iterator[str] = (str(network[number]) for number in range(first, network.num_addresses - 1))
    for host in candidates:
        if host not in segment.nodes:
            return host
    raise SimulationError(f"no address is free in {prefix}")


def _name_links(owner: str, up: Link | None, down: Link | None) -> None:
    """Give wires that have no name yet one that says whose they are in the trace."""
    for link, direction in ((up, "up"), (down, "down")):
        if link is not None and link.name == "link":
            link.name = f"{owner} {direction}"
