"""The flows that a router remembers.

A flow has the pair of addresses with which its first packet came (`original`), and the pair with which an
answer to it comes (`reply`). A router without NAT has the one reversed as the other; translation is their
difference. Each pair belongs to one flow at most, and all that NATs do to each other follows from that: a
packet is translated as the flow it belongs to says, and a new flow may only take a port with which its
`reply` is still free.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pknet.testing.behaviours import NatBehaviour
from pknet.testing.packet import Address

__all__ = ["Conntrack", "Flow", "Pair"]

# (source, destination)
Pair: TypeAlias = tuple[Address, Address]

KeyT = TypeVar("KeyT", bound=Hashable)


@dataclass(slots=True, eq=False)
class Flow:
    """One flow. `for_router`: it ends at the router itself. `expires` moves with each packet, either way."""

    original: Pair
    reply: Pair
    created: float
    expires: float
    for_router: bool = False
    replied: bool = False

    @property
    def outside(self) -> Address:
        """The address that the other side answers to."""
        return self.reply[1]

    def translated(self, pair: Pair) -> Pair:
        """Return what a packet of this flow, that came with this pair, leaves with."""
        source, destination = self.reply if pair == self.original else self.original
        return destination, source


class Conntrack:
    """The table of flows of one router."""

    def __init__(self, behaviour: NatBehaviour) -> None:
        self.behaviour = behaviour
        self._flows: dict[Pair, Flow] = {}
        self._by_key: dict[Hashable, list[Flow]] = {}
        self._by_outside: dict[Address, list[Flow]] = {}
        self._sweep_at = 1024

    def __len__(self) -> int:
        """Return how many flows it holds, those included that are over but have not been swept out."""
        return len(self._flows) // 2

    def flows(self, now: float) -> Iterator[Flow]:
        """Yield the flows that are remembered, oldest first."""
        return (flow for pair, flow in self._flows.items() if flow.expires > now and pair == flow.original)

    def find(self, pair: Pair, now: float) -> Flow | None:
        """Return the flow that a packet with this pair belongs to."""
        flow = self._flows.get(pair)
        if flow is not None and flow.expires <= now:
            self._forget(flow)
            return None
        return flow

    def refresh(self, flow: Flow, pair: Pair, now: float) -> None:
        """Take note of a packet of this flow."""
        behaviour = self.behaviour
        streams = flow.replied and now > flow.created + behaviour.stream_after
        flow.expires = now + (behaviour.stream_lifetime if streams else behaviour.unreplied_lifetime)
        if pair == flow.reply:
            flow.replied = True

    def add(self, flow: Flow, key: Hashable | None, now: float) -> bool:
        """Remember a new flow, by a key if later ones are to map as it does; False if the table is full."""
        if len(self._flows) >= min(self._sweep_at, 2 * self.behaviour.max_flows):
            self._sweep(now)
            if len(self._flows) >= 2 * self.behaviour.max_flows:
                return False
        self._flows[flow.original] = self._flows[flow.reply] = flow
        if key is not None:
            self._by_key.setdefault(key, []).append(flow)
            self._by_outside.setdefault(flow.outside, []).append(flow)
        return True

    def newest(self, key: Hashable, now: float) -> Flow | None:
        """Return the newest flow with this key that is still remembered."""
        return next((flow for flow in reversed(self._by_key.get(key, ())) if flow.expires > now), None)

    def in_use(self, outside: Address, now: float) -> bool:
        """Return whether any host inside has this outside address, towards anyone."""
        return any(flow.expires > now for flow in reversed(self._by_outside.get(outside, ())))

    def clear(self) -> None:
        """Forget everything."""
        self._flows.clear()
        self._by_key.clear()
        self._by_outside.clear()

    def _forget(self, flow: Flow) -> None:
        del self._flows[flow.original]
        del self._flows[flow.reply]

    def _sweep(self, now: float) -> None:
        """Forget what has expired; called so rarely that it costs little for each flow."""
        self._flows = {pair: flow for pair, flow in self._flows.items() if flow.expires > now}
        self._by_key = _living(self._by_key, now)
        self._by_outside = _living(self._by_outside, now)
        self._sweep_at = max(1024, 2 * len(self._flows))


def _living(index: dict[KeyT, list[Flow]], now: float) -> dict[KeyT, list[Flow]]:
    living = ((key, [flow for flow in flows if flow.expires > now]) for key, flows in index.items())
    return {key: flows for key, flows in living if flows}
