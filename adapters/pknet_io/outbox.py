"""What leaves by a UDP socket, in order: what the kernel has no room for waits."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pknet import Transmit
    from pknet_io.udp import UdpSocket

__all__ = ["MAX_WAITING", "Outbox"]

# So many bytes may wait, twice what the kernel's own buffer is asked to hold: what answers strangers is among
# them. Each transmit counts as so much more than its data, for that is what it takes in memory.
MAX_WAITING = 8 << 20
TRANSMIT_COST = 512


class Outbox:
    """Sends by one socket; while something waits, have `flush` called whenever the socket is writable."""

    def __init__(self, socket: UdpSocket) -> None:
        self._socket = socket
        self._waiting: deque[Transmit] = deque()
        self._size = 0

    def send(self, transmit: Transmit) -> bool:
        """Send, or keep for `flush`, or drop; return whether this is the first to wait."""
        is_first = not self._waiting
        if is_first and self._socket.send(transmit):
            return False
        size = len(transmit.data) + TRANSMIT_COST
        if self._size + size > MAX_WAITING:
            self._socket.drop(transmit)
            return False
        self._waiting.append(transmit)
        self._size += size
        return is_first

    def flush(self) -> bool:
        """Send what waits, as far as there is room; return whether nothing waits any more."""
        waiting = self._waiting
        while waiting and self._socket.send(waiting[0]):
            self._size -= len(waiting.popleft().data) + TRANSMIT_COST
        return not waiting
