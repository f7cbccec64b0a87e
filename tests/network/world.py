"""A rendezvous node in the public internet, and two nodes behind NATs, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pknet.testing import Link, SimulatedNetwork
from pknet.testing.node import SimulatedNode, SimulatedStream, echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.testing import Nat

__all__ = ["PUBLIC", "World", "wire"]

PUBLIC = "192.0.2.1"
# One way between any two of the NATs and public hosts, in seconds.
LATENCY = 0.010


def wire(latency: float = LATENCY, loss: float = 0.0) -> dict[str, Any]:
    """Return half of the way between two hosts, and of the way back."""
    return {"up": Link(latency / 2, loss=loss), "down": Link(latency / 2, loss=loss)}


class World:
    """`server` echoes behind the NAT `far` and is registered with `rendezvous`; `client` is behind `near`.

    None for a NAT puts the node into the public internet.
    """

    def __init__(
        self,
        near: str | None = "cone",
        far: str | None = "cone",
        *,
        hops: int = 1,
        seed: int = 1,
        latency: float = LATENCY,
        loss: float = 0.0,
        client: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
    ) -> None:
        self.network = SimulatedNetwork(seed, internet_hops=hops)
        self._latency, self._loss = latency, loss
        self.rendezvous = self.public(PUBLIC, introduces=True)
        self.near = None if near is None else self.network.nat(near, **self.wire())
        self.far = None if far is None else self.network.nat(far, **self.wire())
        options = {"rendezvous": [self.rendezvous], "service": echo, **(server or {})}
        self.server = self.behind(self.far, **options)
        self.client = self.behind(self.near, **(client or {}))
        assert self.wait(lambda: self.is_registered(self.server), 60 if loss else 5)
        self.network.run(1)

    def wire(self) -> dict[str, Any]:
        """Return half of a way in this world."""
        return wire(self._latency, self._loss)

    def public(self, address: str, **options: Any) -> SimulatedNode:
        """Put a node into the public internet."""
        return SimulatedNode(self.network, self.network.host(address, **self.wire()), **options)

    def behind(self, nat: Nat | None, **options: Any) -> SimulatedNode:
        """Put a node behind a NAT."""
        host = self.network.host(**self.wire()) if nat is None else self.network.host(behind=nat)
        return SimulatedNode(self.network, host, **options)

    def wait(self, predicate: Callable[[], object], timeout: float) -> bool:
        """Let time pass until something holds; return whether it does."""
        return self.network.run_until(predicate, timeout)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.network.run(seconds)

    @staticmethod
    def is_registered(node: SimulatedNode) -> bool:
        """Return whether a node is registered, and knows how it is seen."""
        return bool(node.node.registered_with) and node.node.public_address is not None

    def connect(self, timeout: float = 40, *, direct: bool = False) -> SimulatedStream:
        """Connect the client to the server, by introduction alone unless told; return how it went."""
        stream = self.client.connect(self.server.info(direct=direct))
        assert self.wait(lambda: stream.is_open or stream.closed, timeout), "it neither opened nor failed"
        return stream

    def echoes(self, stream: SimulatedStream, data: bytes = b"hello", timeout: float = 30) -> bool:
        """Return whether what is sent on a stream comes back."""
        before = len(stream.received)
        stream.send(data)
        self.wait(lambda: len(stream.received) >= before + len(data), timeout)
        return bytes(stream.received[before:]) == data
