"""How NATs behave, in the words of RFC 4787. A new kind of NAT is one entry in NATS."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from pknet.testing.errors import SimulationError

__all__ = ["NATS", "Behaviour", "NatBehaviour", "PortAllocation"]

# RFC 4787, section 4.1 (mapping) and section 5 (filtering).
Behaviour: TypeAlias = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]

# RFC 4787, section 4.2. "sequential" is one more than the last, whoever asked for that.
PortAllocation: TypeAlias = Literal["preserving", "random", "sequential"]

_BEHAVIOURS = ("endpoint-independent", "address-dependent", "address-and-port-dependent")


@dataclass(frozen=True, slots=True, kw_only=True)
class NatBehaviour:
    """What makes a router one kind of NAT. Times are in seconds.

    `translates`: False is a router that leaves addresses alone. IPv6 is never translated, only filtered.
    `filtering`: None lets everything in, to the first host behind the router. `firewalled`: whether the
    router refuses what comes from outside for itself. One that does not keeps a record of such a packet, as
    of any flow of its own, and that record can later cost a host inside its port. `port_range`: the ports it
    may use, first and last; without one it picks from 1024 to 65535 and may preserve any. `dmz`: (outside
    port, inside port) that are all that is let in, and the one port by which everything leaves.
    `unreplied_lifetime` and `stream_lifetime`: how long a flow is remembered after its last packet either
    way, before and after there were replies for more than `stream_after`. `contact_lifetime`: how long
    endpoint-independent and address-dependent filtering remember a packet from the inside. `max_flows`: more
    are dropped.
    """

    translates: bool = True
    mapping: Behaviour = "endpoint-independent"
    filtering: Behaviour | None = "address-and-port-dependent"
    port_allocation: PortAllocation = "preserving"
    port_range: tuple[int, int] | None = None
    firewalled: bool = False
    hairpin: bool = False
    dmz: tuple[int, int] | None = None
    blocks_udp: bool = False
    unreplied_lifetime: float = 30.0
    stream_lifetime: float = 120.0
    stream_after: float = 2.0
    contact_lifetime: float = 300.0
    max_flows: int = 262144

    def __post_init__(self) -> None:
        if self.mapping not in _BEHAVIOURS:
            raise SimulationError(f"no mapping is called {self.mapping!r}")
        if self.filtering is not None and self.filtering not in _BEHAVIOURS:
            raise SimulationError(f"no filtering is called {self.filtering!r}")
        if self.port_allocation not in ("preserving", "random", "sequential"):
            raise SimulationError(f"no port allocation is called {self.port_allocation!r}")
        first, last = self.port_range or (1024, 65535)
        if not 0 < first <= last <= 65535:
            raise SimulationError(f"{self.port_range} is no range of ports")


_CONE = NatBehaviour()
_SYMMETRIC = NatBehaviour(mapping="address-and-port-dependent", port_allocation="random")
_CONE_FIREWALLED = replace(_CONE, firewalled=True)
_PORT_BLOCK = NatBehaviour(port_range=(40000, 40099))

# Each is the chain of NATs from the host outwards: one for a home, two where the carrier has one too.
NATS: Mapping[str, tuple[NatBehaviour, ...]] = MappingProxyType(
    {
        "dmz": (NatBehaviour(filtering=None, dmz=(1315, 1315)),),
        "cone": (_CONE,),
        "symmetric": (_SYMMETRIC,),
        "cone-firewalled": (_CONE_FIREWALLED,),
        "symmetric-firewalled": (replace(_SYMMETRIC, firewalled=True),),
        "firewall": (NatBehaviour(translates=False, firewalled=True),),
        "full-cone": (NatBehaviour(filtering="endpoint-independent"),),
        "address-restricted": (NatBehaviour(filtering="address-dependent", firewalled=True),),
        "symmetric-sequential": (
            NatBehaviour(mapping="address-and-port-dependent", port_allocation="sequential"),
        ),
        "address-dependent": (NatBehaviour(mapping="address-dependent", port_allocation="random"),),
        "cgnat": (_CONE_FIREWALLED, replace(_PORT_BLOCK, firewalled=True)),
        "port-block": (_PORT_BLOCK,),
        "one-to-one": (NatBehaviour(filtering=None),),
        "no-udp": (NatBehaviour(blocks_udp=True),),
    }
)
