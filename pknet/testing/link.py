"""One direction of a wire: what it costs a datagram to cross it, and how it may get lost."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from heapq import heappush
from typing import Self

from pknet.testing.errors import SimulationError
from pknet.testing.packet import Packet
from pknet.testing.simulation import Simulation

__all__ = ["Link"]


@dataclass(slots=True, eq=False)
class Link:
    """One direction of a wire. Any value may be changed while time runs; what is under way keeps the old one.

    `latency` in seconds; `jitter`: up to so many seconds more, chosen for each datagram, without changing
    their order: what would overtake arrives together with what it would overtake; `loss`, `reorder` and
    `duplicate`: shares from 0 to 1. A reordered datagram arrives up to `reorder_delay` seconds after its
    time, and others overtake it. `rate` in bytes a second: datagrams leave one after another, and those that
    wait fill at most `queue` bytes, beyond which the newest is dropped. `mtu` in bytes: a datagram that is
    longer and may not be fragmented is dropped. All bytes are UDP payload.

    Whoever is given the same Link shares the wire, as hosts share a bottleneck.
    """

    latency: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    rate: float | None = None
    queue: int | None = None
    mtu: int | None = None
    reorder_delay: float = 0.01
    name: str = "link"

    # What the wire has carried to the other end so far, copies not counted, and what it has dropped.
    datagrams: int = field(default=0, init=False)
    bytes: int = field(default=0, init=False)
    dropped: Counter[str] = field(default_factory=Counter, init=False)
    longest_queue: float = field(default=0.0, init=False)
    _free_at: float = field(default=float("-inf"), init=False, repr=False)
    _last_arrival: float = field(default=float("-inf"), init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("latency", "jitter", "reorder_delay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SimulationError(f"{name} must be a number of seconds, not {getattr(self, name)}")
        for name in ("loss", "reorder", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise SimulationError(f"{name} must lie between 0 and 1, not at {getattr(self, name)}")
        for name in ("rate", "queue", "mtu"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SimulationError(f"{name} must be positive, not {value}")

    def copy(self) -> Self:
        """Return a wire of its own with the same values, on which nothing has happened yet."""
        return replace(self)

    def change(self, **values: float | None) -> None:
        """Change several values at once, with the checks that a new Link has."""
        known = {entry.name for entry in fields(self) if entry.init}
        if not values.keys() <= known:
            raise SimulationError(f"a Link has no {', '.join(sorted(values.keys() - known))}")
        replace(self, **values)  # type: ignore[arg-type]
        for name, value in values.items():
            setattr(self, name, value)

    def queued(self, now: float) -> float:
        """Return the bytes that wait or are being sent."""
        return 0.0 if self.rate is None else max(0.0, self._free_at - now) * self.rate

    def queueing_delay(self, now: float) -> float:
        """Return the seconds that a datagram would wait before its first byte leaves."""
        return max(0.0, self._free_at - now)

    def carry(self, simulation: Simulation, packet: Packet, onward: Callable[[Packet], None]) -> None:
        """Carry a datagram to the other end, where `onward` takes it: at once if nothing delays it."""
        now = when = simulation.now
        length = len(packet.data)
        if self.mtu is not None and length > self.mtu and packet.dont_fragment:
            self._drop(simulation, packet, "longer than the MTU")
            return
        rate = self.rate
        if rate is not None:
            if self._free_at > now:
                when = self._free_at
                waiting = (when - now) * rate
                # Half a byte of grace: the sum of many short times is not exact.
                if self.queue is not None and waiting + length > self.queue + 0.5:
                    self._drop(simulation, packet, "queue full")
                    return
            else:
                waiting = 0.0
            if waiting + length > self.longest_queue:
                self.longest_queue = waiting + length
            when += length / rate
            self._free_at = when
        random = simulation.random.random
        if self.loss and random() < self.loss:
            self._drop(simulation, packet, "lost")
            return
        self.datagrams += 1
        self.bytes += length
        when += self.latency
        if self.jitter:
            when += self.jitter * random()
        if self.reorder and random() < self.reorder:
            when += self.reorder_delay * random()
        elif when < self._last_arrival:
            when = self._last_arrival
        else:
            self._last_arrival = when
        if self.duplicate and random() < self.duplicate:
            heappush(simulation.heap, (when, next(simulation.counter), onward, packet.copy()))
        if when > now:
            heappush(simulation.heap, (when, next(simulation.counter), onward, packet))
        else:
            onward(packet)

    def _drop(self, simulation: Simulation, packet: Packet, reason: str) -> None:
        self.dropped[reason] += 1
        simulation.drop(packet, self.name, reason)
