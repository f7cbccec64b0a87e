"""Small machines to drive the simulated network with."""

from collections.abc import Callable
from typing import Any

from pknet import Transmit
from pknet.testing import Address


class Quiet:
    """Nothing but the five verbs; the others are made from it."""

    def __init__(self) -> None:
        self.outgoing: list[Transmit] = []
        self.happened: list[Any] = []
        self.deadline: float | None = None

    def receive_datagram(self, data: bytes, remote: Address, local: Any, now: float) -> None:
        pass

    def handle_timeout(self, now: float) -> None:
        self.deadline = None

    def next_timeout(self) -> float | None:
        return self.deadline

    def transmits(self) -> list[Transmit]:
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def events(self) -> list[Any]:
        happened, self.happened = self.happened, []
        return happened

    def send(self, data: bytes, remote: Address, **options: Any) -> None:
        self.outgoing.append(Transmit(data, remote, **options))


class Listener(Quiet):
    """Tells each datagram as an event: (data, remote, local, now)."""

    def receive_datagram(self, data: bytes, remote: Address, local: Any, now: float) -> None:
        self.happened.append((data, remote, local, now))


class SegmentListener(Listener):
    """Tells each run of datagrams as an event: (buffer, segment size, remote, local, now)."""

    def receive_segments(
        self, data: bytes, segment_size: int, remote: Address, local: Any, now: float
    ) -> None:
        self.happened.append((data, segment_size, remote, local, now))


class Mirror(Quiet):
    """Answers each datagram with the address it came from, by the socket it came by."""

    def receive_datagram(self, data: bytes, remote: Address, local: Any, now: float) -> None:
        self.send(f"{remote[0]} {remote[1]}".encode(), remote, local=local)


class Clock(Quiet):
    """Has a timer due every `interval` seconds, `count` times, and tells when it fired."""

    next_timer = "tick"

    def __init__(self, interval: float, count: int, on_tick: Callable[[float], None] | None = None) -> None:
        super().__init__()
        self.interval = interval
        self.count = count
        self.deadline = interval
        self.on_tick = on_tick

    def handle_timeout(self, now: float) -> None:
        if self.deadline is None or now < self.deadline:
            return
        self.happened.append(now)
        self.count -= 1
        self.deadline = now + self.interval if self.count else None
        if self.on_tick is not None:
            self.on_tick(now)


class Puncher(Quiet):
    """Sends to every address of the peer it knows each 50 ms, and learns those from which the peer sends.

    `direct_at` is when the first answer to a probe of its own came.
    """

    interval = 0.05

    def __init__(self, learn: bool = True) -> None:
        super().__init__()
        self.learn = learn
        self.targets: list[Address] = []
        self.opener_ttl: int | None = None
        self.active_until: float | None = None
        self.direct_at: float | None = None

    def start(
        self,
        target: Address,
        now: float,
        duration: float = 1.2,
        opener_ttl: int | None = None,
        lead: float = 0.0,
    ) -> None:
        """Punch for `duration` seconds; with `opener_ttl`, one opener goes `lead` seconds ahead."""
        self.targets = [target]
        self.direct_at = None
        self.active_until = now + duration
        self.deadline = now
        if opener_ttl is not None:
            self.send(b"opener", target, ttl=opener_ttl)
            self.deadline = now + lead

    def receive_datagram(self, data: bytes, remote: Address, local: Any, now: float) -> None:
        if data == b"probe":
            if self.learn and remote not in self.targets:
                self.targets.append(remote)
            if self.active_until is not None and now < self.active_until:
                self.send(b"answer", remote)
        elif data == b"answer" and self.direct_at is None:
            self.direct_at = now

    def handle_timeout(self, now: float) -> None:
        if self.deadline is None or now < self.deadline:
            return
        assert self.active_until is not None
        if now >= self.active_until:
            self.deadline = None
            return
        for target in self.targets:
            self.send(b"probe", target)
        self.deadline = now + self.interval
