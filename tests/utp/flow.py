"""Two endpoints of pknet over a simulated path, and programs on both that send, read and finish."""

from __future__ import annotations

from random import Random
from typing import Any

from pknet.testing import Link, Pair, pair
from pknet.utp import (
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    DataReceived,
    EofReceived,
    SendBufferDrained,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
)

PIECE = 1 << 16


class Program:
    """One side: sends `to_send` as fast as it is taken, then finishes.

    Reads all that comes unless it is paused.
    """

    def __init__(self, to_send: bytes = b"", *, reads: bool = True) -> None:
        self.to_send = to_send
        self.reads = reads
        self.at = 0
        self.received = bytearray()
        self.connection: UtpConnection | None = None
        self.closed: ConnectionClosed | None = None
        self.flow: Flow | None = None

    @property
    def now(self) -> float:
        assert self.flow is not None
        return self.flow.now

    def on_event(self, event: Any) -> None:
        """Act on what happens."""
        match event:
            case ConnectionOpened() | ConnectionAccepted():
                self.connection = event.connection
                self.write()
            case SendBufferDrained():
                self.write()
            case DataReceived() | EofReceived():
                if self.reads:
                    self.read()
            case ConnectionClosed():
                self.closed = event

    def write(self) -> None:
        """Send more, and finish after the last."""
        assert self.connection is not None
        while self.at < len(self.to_send):
            piece = memoryview(self.to_send)[self.at : self.at + PIECE]
            taken = self.connection.send(piece, self.now)
            self.at += taken
            if taken < len(piece):
                return
        self.connection.finish(self.now)

    def read(self) -> None:
        """Read all there is."""
        assert self.connection is not None
        while self.connection.readable:
            self.received += self.connection.read(PIECE, self.now)


class Flow:
    """Endpoint a dials endpoint b at once."""

    def __init__(
        self,
        near: Program,
        far: Program,
        link: Link,
        back: Link | None = None,
        *,
        seed: int = 1,
        config: UtpConfig | None = None,
        far_config: UtpConfig | None = None,
        start: float = 0.0,
        receive_segments: bool = False,
    ) -> None:
        near.flow = far.flow = self
        self.near, self.far = near, far
        self.wired: Pair[UtpEndpoint, UtpEndpoint] = pair(
            UtpEndpoint(Random(seed).randbytes, config),
            UtpEndpoint(Random(-seed).randbytes, far_config or config),
            link,
            back,
            seed=seed,
            start=start,
            on_event_a=near.on_event,
            on_event_b=far.on_event,
            receive_segments=receive_segments,
        )
        self.dialled = self.wired.a.machine.connect(self.wired.b.address, self.now)
        self.wired.a.kick()

    @property
    def now(self) -> float:
        return self.wired.network.now

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.wired.network.run(seconds)

    def run_to_the_end(self, timeout: float) -> bool:
        """Let time pass until both sides are over; return whether they are."""
        return self.wired.network.run_until(lambda: self.near.closed and self.far.closed, timeout)
