"""Many gigabytes through one uTP connection over a path that loses datagrams, in memory and in virtual time:
`python -m benchmarks.soak [--gigabytes 10] [--loss 0.01] [--congestion-control ledbat]`.

What has arrived is compared by its hash, after each gigabyte, with what was sent; and the process may not
grow: after the last gigabyte it holds what it held after the first.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pknet.utp import CloseReason, ConnectionAccepted, ConnectionClosed, UtpConfig, UtpConnection, UtpEndpoint

if TYPE_CHECKING:
    from pknet import Transmit

GIGABYTE = 10**9
# Of one way, in seconds.
LATENCY = 0.010
PIECE = 1 << 16
# What an allocator may keep in its holes. A leak of one byte in a thousand is more, after ten gigabytes.
ALLOWED_GROWTH = 8 << 20


class Wire:
    """One direction of the path: a datagram arrives LATENCY later or, by chance, never."""

    def __init__(self, loss: float, seed: int) -> None:
        self.carried = self.lost = 0
        # (when it arrives, the run, the size of its datagrams)
        self.under_way: deque[tuple[float, bytes, int]] = deque()
        self._loss = loss
        self._random = Random(seed).random

    def carry(self, transmit: Transmit, now: float) -> None:
        """Take a run, and lose some of its datagrams."""
        size = transmit.segment_size or len(transmit.data)
        start = 0
        for at in range(0, len(transmit.data), size):
            self.carried += 1
            if self._random() < self._loss:
                self.lost += 1
                self._append(transmit.data[start:at], size, now)
                start = at + size
        self._append(transmit.data[start:], size, now)

    def next_arrival(self) -> float:
        """Return when something arrives."""
        return self.under_way[0][0] if self.under_way else float("inf")

    def deliver(self, machine: UtpEndpoint, now: float) -> None:
        """Hand over what has arrived."""
        while self.next_arrival() <= now:
            _, run, size = self.under_way.popleft()
            machine.receive_segments(run, size, "the other", None, now)

    def _append(self, run: bytes, size: int, now: float) -> None:
        if run:
            self.under_way.append((now + LATENCY, run, size))


class Checksum:
    """The hash of a stream, noted after each gigabyte."""

    def __init__(self) -> None:
        self.size = 0
        self.noted: list[str] = []
        self._hash = hashlib.sha256()

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the stream."""
        while data:
            part = data[: GIGABYTE - self.size % GIGABYTE]
            self._hash.update(part)
            self.size += len(part)
            data = data[len(part) :]
            if self.size % GIGABYTE == 0:
                self.noted.append(self._hash.hexdigest())


class Soak:
    """Two endpoints, their programs, and the path between them."""

    def __init__(self, gigabytes: int, loss: float, config: UtpConfig) -> None:
        self.total = gigabytes * GIGABYTE
        self.now = 1.0
        self.machines = [UtpEndpoint(Random(seed).randbytes, config) for seed in (1, 2)]
        # By whom each is taken.
        self.wires = [Wire(loss, seed) for seed in (3, 4)]
        self.sent, self.received = Checksum(), Checksum()
        self.connection = self.machines[0].connect("the other", self.now)
        self.accepted: UtpConnection | None = None
        self.closed: list[CloseReason] = []
        # Pieces are cut from it at places that wander, so that no two that follow each other are the same.
        self._stock = memoryview(Random(5).randbytes(2 * PIECE))

    def step(self) -> None:
        """Send what is to be sent, go to the next moment at which something happens, and do it."""
        for machine, wire in zip(self.machines, reversed(self.wires), strict=True):
            for transmit in machine.transmits():
                wire.carry(transmit, self.now)
            for event in machine.events():
                if isinstance(event, ConnectionAccepted):
                    self.accepted = event.connection
                elif isinstance(event, ConnectionClosed):
                    self.closed.append(event.reason)
        timeouts = [machine.next_timeout() for machine in self.machines]
        moments = [timeout for timeout in timeouts if timeout is not None]
        self.now = max(self.now, min(*moments, *(wire.next_arrival() for wire in self.wires)))
        for machine, wire, timeout in zip(self.machines, self.wires, timeouts, strict=True):
            wire.deliver(machine, self.now)
            if timeout is not None and timeout <= self.now:
                machine.handle_timeout(self.now)
        self._read()
        self._write()

    def _write(self) -> None:
        while self.connection.state == "CONNECTED" and self.sent.size < self.total:
            place = self.sent.size * 7919 % PIECE
            piece = self._stock[place : place + min(PIECE, self.total - self.sent.size)]
            taken = self.connection.send(piece, self.now)
            self.sent.update(piece[:taken])
            if taken < len(piece):
                return
        if self.sent.size == self.total:
            self.connection.finish(self.now)

    def _read(self) -> None:
        while self.accepted is not None and self.accepted.readable:
            self.received.update(self.accepted.read(1 << 20, self.now))
        if self.accepted is not None and self.accepted.at_eof:
            self.accepted.finish(self.now)


def resident() -> int:
    """Return how many bytes of memory the process holds (Linux)."""
    (size,) = re.findall(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(size) << 10


def main() -> None:
    """Soak; fail if a byte differs or the process has grown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--gigabytes", type=int, default=10)
    parser.add_argument("--loss", type=float, default=0.01, help="share of datagrams, each way")
    parser.add_argument("--congestion-control", default="ledbat", help="as UtpConfig has it")
    options = parser.parse_args()
    soak = Soak(options.gigabytes, options.loss, UtpConfig(congestion_control=options.congestion_control))
    began = time.perf_counter()
    held: list[int] = []
    while len(soak.closed) < 2:
        soak.step()
        if len(soak.received.noted) > len(held):
            held.append(resident())
            if soak.received.noted != soak.sent.noted[: len(held)]:
                sys.exit(f"gigabyte {len(held)} is not as it was sent")
            print(
                f"{len(held)} GB, {soak.wires[1].lost} of {soak.wires[1].carried} datagrams lost, "
                f"{soak.now:.0f} s of virtual time, {time.perf_counter() - began:.0f} s: "
                f"{held[-1] / (1 << 20):.1f} MiB resident",
                flush=True,
            )
    if soak.closed != [CloseReason.FINISHED] * 2 or soak.received.size != soak.total:
        sys.exit(f"{soak.received.size} bytes of {soak.total} arrived: {soak.closed}")
    growth = held[-1] - held[0]
    print(
        f"{soak.received.size} bytes, on both sides SHA-256 {soak.received.noted[-1]}\n"
        f"{growth / (1 << 20):+.1f} MiB since the first gigabyte"
    )
    if growth > ALLOWED_GROWTH:
        sys.exit("the process has grown")


if __name__ == "__main__":
    main()
