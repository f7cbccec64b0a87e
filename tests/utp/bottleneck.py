"""A wire that flows share, in virtual time, and flows that always have something to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pknet.testing import Link, SimulatedNetwork
from pknet.utp import (
    ConnectionAccepted,
    DataReceived,
    SendBufferDrained,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
)
from tests.utp.peer import SEGMENT

if TYPE_CHECKING:
    from collections.abc import Callable

MEGABIT = 125_000
PIECE = bytes(1 << 18)


class Bottleneck:
    """One wire that flows share, and a way back of its own for each, on which what comes may be bunched."""

    def __init__(
        self, rate: float, rtt: float, queue: float, loss: float = 0.0, seed: int = 1, jitter: float = 0.0
    ) -> None:
        self.rate = rate
        self.rtt = rtt
        self.jitter = jitter
        self.network = SimulatedNetwork(seed)
        self.wire = Link(latency=rtt / 2, rate=rate, queue=int(max(queue, 10 * 1402)), loss=loss)
        self.count = 0

    def start(self, controller: str, **settings: object) -> BulkFlow:
        """Begin a flow that always has something to send."""
        self.count += 1
        return BulkFlow(self, controller, self.count, settings)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.network.run(seconds)

    def queueing_delays(self, seconds: float) -> list[float]:
        """Let time pass; return what a datagram would have waited, each 20 ms."""
        delays = []
        for _ in range(round(seconds / 0.02)):
            self.run(0.02)
            delays.append(self.wire.queueing_delay(self.network.now))
        return delays


class BulkFlow:
    """A sender and a receiver; `take` says how many bytes have come since it was last called."""

    def __init__(
        self,
        bottleneck: Bottleneck,
        controller: str,
        number: int,
        settings: dict[str, object],
        clock: Callable[[float], float] = lambda now: now,
    ) -> None:
        self.clock = clock
        self.network = bottleneck.network
        values: dict[str, object] = {"receive_buffer": 32 << 20, "send_buffer": 32 << 20}
        config = UtpConfig(congestion_control=controller, **(values | settings))  # type: ignore[arg-type]
        sender = self.network.host(f"192.0.2.{2 * number}", up=bottleneck.wire)
        receiver = self.network.host(
            f"192.0.2.{2 * number + 1}", up=Link(latency=bottleneck.rtt / 2, jitter=bottleneck.jitter)
        )
        self.connection: UtpConnection | None = None
        self.received = 0
        self._taken = 0
        far = receiver.attach(
            ClockedEndpoint(UtpEndpoint(self.network.token_bytes, config), clock),
            1315,
            self.on_receiver_event,
            receive_segments=True,
        )
        near = sender.attach(
            UtpEndpoint(self.network.token_bytes, config), 1315, self.on_sender_event, receive_segments=True
        )
        self.near = near
        self.connection = near.machine.connect(far.address, self.network.now)
        self.write()
        near.kick()

    def on_sender_event(self, event: object) -> None:
        if isinstance(event, SendBufferDrained):
            self.write()

    def on_receiver_event(self, event: object) -> None:
        if isinstance(event, DataReceived):
            while event.connection.readable:
                self.received += len(event.connection.read(1 << 20, self.clock(self.network.now)))
        elif isinstance(event, ConnectionAccepted):
            event.connection.finish(self.clock(self.network.now))

    def write(self) -> None:
        assert self.connection is not None
        while self.connection.send(PIECE, self.network.now) == len(PIECE):
            pass

    def rebind(self) -> None:
        """Have the sender take its path for another one."""
        assert self.connection is not None
        self.near.machine.rebind(self.connection, self.connection.remote, self.network.now)
        self.near.kick()

    def take(self) -> int:
        """Return the bytes that came since this was last asked."""
        taken = self.received - self._taken
        self._taken = self.received
        return taken

    def share(self, bottleneck: Bottleneck, seconds: float) -> float:
        """Let time pass; return the share of the wire that its datagrams filled."""
        self.take()
        bottleneck.run(seconds)
        return self.take() * (SEGMENT + 20) / SEGMENT / seconds / bottleneck.rate


class ClockedEndpoint:
    """An endpoint whose clock is not that of the network."""

    def __init__(self, machine: UtpEndpoint, clock: Callable[[float], float]) -> None:
        self.machine = machine
        self.clock = clock
        self.transmits = machine.transmits
        self.events = machine.events
        # How much its clock goes on in a second.
        self.rate = clock(1.0) - clock(0.0)

    def receive_datagram(self, data: bytes, remote: object, local: object, now: float) -> None:
        self.machine.receive_datagram(data, remote, local, self.clock(now))

    def receive_segments(self, data: bytes, size: int, remote: object, local: object, now: float) -> None:
        self.machine.receive_segments(data, size, remote, local, self.clock(now))

    def handle_timeout(self, now: float) -> None:
        # What is due now may lie a rounding error ahead.
        self.machine.handle_timeout(self.clock(now) + 1e-9)

    def next_timeout(self) -> float | None:
        due = self.machine.next_timeout()
        return None if due is None else (due - self.clock(0.0)) / self.rate
