"""Two machines wired to each other."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from pknet.testing.attachment import Attachment, Machine
from pknet.testing.link import Link
from pknet.testing.network import SimulatedNetwork

__all__ = ["Pair", "pair"]

MachineA = TypeVar("MachineA", bound=Machine)
MachineB = TypeVar("MachineB", bound=Machine)


class Pair(NamedTuple, Generic[MachineA, MachineB]):
    """Two machines and the network between them. `a_to_b` and `b_to_a` are the two directions of the wire."""

    network: SimulatedNetwork
    a: Attachment[MachineA]
    b: Attachment[MachineB]
    a_to_b: Link
    b_to_a: Link


def pair(
    machine_a: MachineA,
    machine_b: MachineB,
    link: Link | None = None,
    back: Link | None = None,
    *,
    seed: int = 0,
    start: float = 0.0,
    port: int = 1315,
    on_event_a: Callable[[Any], object] | None = None,
    on_event_b: Callable[[Any], object] | None = None,
    receive_segments: bool = False,
    trace: bool = False,
) -> Pair[MachineA, MachineB]:
    """Wire two machines to each other: at 192.0.2.1 and 192.0.2.2, both on `port`.

    `link` is how the wire is from a to b and, unless `back` says otherwise, from b to a; each direction is a
    copy.
    """
    network = SimulatedNetwork(seed, start, trace=trace)
    a_to_b = (link or Link()).copy()
    b_to_a = (back or link or Link()).copy()
    a = network.host("192.0.2.1", up=a_to_b, name="a")
    b = network.host("192.0.2.2", up=b_to_a, name="b")
    return Pair(
        network,
        a.attach(machine_a, port, on_event_a, receive_segments=receive_segments),
        b.attach(machine_b, port, on_event_b, receive_segments=receive_segments),
        a_to_b,
        b_to_a,
    )
