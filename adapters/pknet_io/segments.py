"""Giving a machine what a UdpSocket received."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pknet.machine import Machine

    ReceiveSegments = Callable[[memoryview, int, Any, Hashable | None, float], object]

__all__ = ["segment_receiver"]


def segment_receiver(machine: Machine) -> ReceiveSegments:
    """Return the machine's own `receive_segments`, or what cuts a run into datagrams if it has none."""

    def cut(data: memoryview, segment_size: int, remote: Any, local: Hashable | None, now: float) -> None:
        for start in range(0, len(data), segment_size):
            machine.receive_datagram(data[start : start + segment_size], remote, local, now)

    own: ReceiveSegments | None = getattr(machine, "receive_segments", None)
    return own or cut
