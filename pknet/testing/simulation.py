"""Virtual time: what is due when, and the order in which it happens.

Time stands still while things happen and then jumps to the next moment at which something is due. At one
moment all datagrams that are due arrive first; then each machine that anything happened to has one turn, in
which it sees all of it. What a turn sends over a wire without delay arrives at once, so one moment can hold
many turns.
"""

from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf, isfinite
from random import Random  # noqa: TID251 (the one exemption: seeded, and only here)
from typing import Any, Protocol

from pknet.testing.errors import SimulationError
from pknet.testing.packet import Packet
from pknet.testing.trace import Trace, TraceEntry

__all__ = ["Simulation", "TakesTurns"]


class TakesTurns(Protocol):
    """What the simulation gives a turn to, once, when it has been marked."""

    def turn(self) -> None:
        """Take in what came, and act."""

    def describe(self) -> str:
        """Return who it is and what it waits for."""


class Simulation:
    """A clock that only events move, the queue of those events, and one seeded source of chance."""

    def __init__(self, seed: int, start: float, event_limit: int, instant_limit: int) -> None:
        if not isfinite(start):
            raise SimulationError(f"time can't start at {start}")
        self.now = start
        self.event_limit = event_limit
        self.instant_limit = instant_limit
        # What links and NATs draw from; its draws don't depend on how many bytes the machines ask for.
        # Seeded by words, so that neither is the sequence that a test draws from a Random(seed) of its own.
        self.random = Random(f"network {seed}")
        self._machine_random = Random(f"machines {seed}")
        self.trace = Trace()
        self.tracing = False
        self.drops: Counter[str] = Counter()
        # The number breaks ties in the order of scheduling, so that no two entries compare further.
        self.heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self.counter = count()
        self.waiting: deque[TakesTurns] = deque()
        # True while something below runs a turn or an event: turns never nest.
        self.busy = False
        self._budget = 0

    def token_bytes(self, length: int) -> bytes:
        """Return random bytes that depend on the seed alone, for machines that want `token_bytes`."""
        return self._machine_random.randbytes(length)

    def call_at(self, when: float, callback: Callable[[], object]) -> None:
        """Call back at a moment that has not passed yet."""
        if not when >= self.now:
            raise SimulationError(f"it is {self.now} already, too late for {when}")
        heappush(self.heap, (when, next(self.counter), _call, callback))

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        """Call back `delay` seconds from now."""
        self.call_at(self.now + delay, callback)

    def run(self, duration: float) -> None:
        """Let `duration` seconds pass."""
        self.run_until(_never, duration)

    def run_until(self, predicate: Callable[[], object], timeout: float) -> bool:
        """Let time pass until `predicate()` holds, at most `timeout` seconds; return whether it holds.

        It is asked when all that is due at one moment has happened, and time stays there if it holds.
        """
        if not timeout >= 0 or timeout == inf:
            raise SimulationError(f"time can't run for {timeout} seconds")
        self._budget = self.event_limit
        end = self.now + timeout
        heap = self.heap
        self._happen()
        while not predicate():
            if not heap or heap[0][0] > end:
                self.now = end
                return bool(predicate())
            self.now = heap[0][0]
            self._happen()
        return True

    def step(self) -> bool:
        """Go to the next moment at which anything is due and let it happen; False if nothing ever will."""
        self._budget = self.event_limit
        if not self.waiting:
            if not self.heap:
                return False
            self.now = max(self.now, self.heap[0][0])
        self._happen()
        return True

    def take_turn(self, party: TakesTurns) -> None:
        """Give a turn at once if nothing else is happening, else as soon as it has happened."""
        if self.busy:
            self.waiting.append(party)
            return
        self.busy = True
        try:
            party.turn()
        finally:
            self.busy = False

    def drop(self, packet: Packet, where: str, reason: str) -> None:
        """Record that a datagram ends here."""
        self.drops[reason] += 1
        if self.tracing:
            self.record("dropped", packet, where, reason)

    def record(self, event: str, packet: Packet, where: str, reason: str = "") -> None:
        """Add an entry to the trace."""
        self.trace.append(
            TraceEntry(self.now, event, packet.src, packet.dst, len(packet.data), where, reason)
        )

    def _happen(self) -> None:
        """Let all happen that is due now."""
        if self.busy:
            raise SimulationError("time is running already: a callback can't run it")
        heap, waiting, now = self.heap, self.waiting, self.now
        allowed = self.instant_limit
        party: TakesTurns | None = None
        self.busy = True
        try:
            while True:
                if heap and heap[0][0] <= now:
                    _, _, action, argument = heappop(heap)
                    action(argument)
                elif waiting:
                    party = waiting.popleft()
                    party.turn()
                else:
                    break
                allowed -= 1
                if not allowed:
                    raise SimulationError(
                        f"{self.instant_limit} things happened at {now} and time does not move on"
                        + (f"; the last turn was that of {party.describe()}" if party else "")
                    )
        finally:
            self.busy = False
        self._budget -= self.instant_limit - allowed
        if self._budget < 0:
            raise SimulationError(
                f"more than {self.event_limit} things happened in one run, which has come to {now}"
                + (f"; the last turn was that of {party.describe()}" if party else "")
            )


def _call(callback: Callable[[], object]) -> None:
    callback()


def _never() -> bool:
    return False
