"""Wires that take time: pairs of TAP interfaces between which a process holds every frame back.

It stands in for netem, which not every kernel has. It is run by its path, so it imports nothing but the
standard library.
"""

import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

_FRAME_SIZE = 2048  # bytes; more than any frame at an MTU of 1500
_BURST = 64  # frames taken from one end before the others have their turn
_QUEUE_LIMIT = 20_000  # frames in flight on all wires; what comes on top is lost


class DelayedWires:
    """Wires that carry frames both ways, each `delay` seconds late, in a process of their own.

    A wire is the two descriptors of its ends, as Namespace.open_tap gives them. They are taken over: when the
    wires are closed, or this process dies, the interfaces are gone.
    """

    def __init__(self, wires: Iterable[tuple[int, int]], delay: float) -> None:
        ends = [end for wire in wires for end in wire]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", __file__, str(delay), *map(str, ends)],
                stdin=subprocess.PIPE,
                pass_fds=ends,
                start_new_session=True,  # a Ctrl-C at the terminal is not meant for it
            )
        finally:
            for end in ends:
                os.close(end)

    def close(self) -> None:
        """Take the wires away. Twice is harmless."""
        self._process.communicate()


def carry(wires: Iterable[tuple[int, int]], delay: float, stop: int) -> None:
    """Carry frames between the two ends of each wire until the descriptor `stop` is readable.

    All wires are equally long, so frames fall due in the order they came and one queue holds them all.
    """
    far_end = {}
    for one, other in wires:
        far_end[one] = other
        far_end[other] = one
    ends = [stop, *far_end]
    queue: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        # select, and not epoll: its timeout is finer than a millisecond
        for end in select.select(ends, [], [], wait)[0]:
            if end == stop:
                return
            due = time.monotonic() + delay
            with suppress(BlockingIOError):
                for _ in range(_BURST):
                    frame = os.read(end, _FRAME_SIZE)
                    if len(queue) < _QUEUE_LIMIT:
                        queue.append((due, far_end[end], frame))
        now = time.monotonic()
        while queue and queue[0][0] <= now:
            _, end, frame = queue.popleft()
            with suppress(OSError):  # an interface that is down loses what is sent to it
                os.write(end, frame)


def main() -> None:
    """Carry frames between the inherited descriptors named as arguments until standard input is closed."""
    ends = [int(argument) for argument in sys.argv[2:]]
    carry(zip(ends[::2], ends[1::2], strict=True), float(sys.argv[1]), sys.stdin.fileno())


if __name__ == "__main__":
    main()
