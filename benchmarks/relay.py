"""A narrow path over loopback: a relay of datagrams, in a process of its own, between a client and a server.

    python -m benchmarks.relay SERVER_PORT [--rate 100] [--round-trip 0.05] [--queue 625000] [--loss 0.01]
    python -m benchmarks.relay check

It prints the port that the client is to send to and, once its standard input ends, what has crossed it, as
JSON lines. Each direction is a wire of that rate (Mbit/s, headers included) with a queue of so many
bytes that drops what does not fit, and half the round trip; only what goes to the server is lost at random.
`check` tells how true it is.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from pknet_io.constants import LINUX, SO_RXQ_OVFL

SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>
SO_RCVBUFFORCE = 33
TIMESPEC = struct.Struct("@ll")
BUFFER = 16 << 20
TICK = 0.001
MEGABIT = 125_000
HEADERS = 28  # IPv4 and UDP
MTU = 1500 - HEADERS
LENGTH = 1402
ROOT = Path(__file__).parents[1]


@dataclass
class Wire:
    """One direction: what a datagram waits for, and whether it crosses. `rate` in bytes a second."""

    rate: float
    latency: float
    queue: int
    loss: float
    random: random.Random
    lost: int = 0
    dropped: int = 0
    too_long: int = 0
    waits: array[float] = field(default_factory=lambda: array("d"))
    _free_at: float = 0.0

    def cross(self, length: int, now: float) -> float | None:
        """Return when a datagram that is sent now arrives, None if it does not."""
        if length > MTU:
            self.too_long += 1
            return None
        length += HEADERS
        wait = max(self._free_at - now, 0.0)
        if wait * self.rate + length > self.queue:
            self.dropped += 1
            return None
        self.waits.append(wait)
        self._free_at = now + wait + length / self.rate
        if self.loss and self.random.random() < self.loss:
            self.lost += 1
            return None
        return self._free_at + self.latency


class Port:
    """A UDP socket on loopback that tells when the kernel took each datagram, however late it is read."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if LINUX:
            assert SO_RXQ_OVFL is not None
            with contextlib.suppress(PermissionError):
                self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.number: int = self.sock.getsockname()[1]
        self.missed = 0
        """Datagrams that the kernel had no room for."""

    def receive(self) -> tuple[bytes, float, tuple[str, int]] | None:
        """Return the next datagram, when it came, and from where; None if there is none."""
        try:
            data, control, _, source = self.sock.recvmsg(MTU + 1, 64)
        except (BlockingIOError, ConnectionError):  # the latter: the far side is gone
            return None
        came = time.time()
        for _, kind, value in control:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = TIMESPEC.unpack(value)
                came = seconds + nanoseconds / 1e9
            elif kind == SO_RXQ_OVFL:
                (self.missed,) = struct.unpack("@I", value)
        return data, came, source

    def send(self, data: bytes) -> None:
        """Send to whom the socket is connected to; what the kernel refuses is lost."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.sock.send(data)


class Direction:
    """What comes to one port, crosses a wire, and leaves by another port."""

    def __init__(self, wire: Wire, inlet: Port, outlet: Port) -> None:
        self.wire = wire
        self.inlet = inlet
        self.outlet = outlet
        self.datagrams = 0
        self.under_way: deque[tuple[float, bytes]] = deque()
        self.late = array("d")

    def take(self) -> tuple[str, int] | None:
        """Take what has come; return where the last came from, None if nothing did."""
        source = None
        while received := self.inlet.receive():
            data, came, source = received
            self.datagrams += 1
            arrives = self.wire.cross(len(data), came)
            if arrives is not None:
                self.under_way.append((arrives, data))
        return source

    def deliver(self) -> None:
        """Send on what has arrived."""
        now = time.time()
        while self.under_way and self.under_way[0][0] <= now:
            arrived, data = self.under_way.popleft()
            self.outlet.send(data)
            self.late.append(now - arrived)

    def report(self) -> dict[str, float]:
        """Return what has crossed, times in milliseconds."""
        return {
            "datagrams": self.datagrams,
            "lost": self.wire.lost,
            "dropped": self.wire.dropped,
            "too_long": self.wire.too_long,
            "missed": self.inlet.missed,
            "queue_median": percentile(self.wire.waits, 50),
            "queue_95th": percentile(self.wire.waits, 95),
            "late_median": percentile(self.late, 50),
            "late_99th": percentile(self.late, 99),
        }


def percentile(seconds: array[float], share: int) -> float:
    """Return the time that so many of a hundred lie below, in milliseconds."""
    if len(seconds) < 2:
        return 0.0
    return round(statistics.quantiles(seconds, n=100, method="inclusive")[share - 1] * 1e3, 2)


def relay(arguments: argparse.Namespace) -> None:
    """Relay until standard input ends."""
    front, back = Port(), Port()
    back.sock.connect(("127.0.0.1", int(arguments.server)))

    def wire(loss: float) -> Wire:
        rate, latency = arguments.rate * MEGABIT, arguments.round_trip / 2
        return Wire(rate, latency, arguments.queue, loss, random.Random(arguments.seed))

    forth, home = Direction(wire(arguments.loss), front, back), Direction(wire(0.0), back, front)
    print(json.dumps({"event": "listening", "port": front.number}), flush=True)
    gc.disable()  # A pause would be a delay of the path, and nothing here refers to itself.
    known = False
    while not select.select([sys.stdin], [], [], 0)[0]:
        client = forth.take()
        if client and not known:
            front.sock.connect(client)
            known = True
        home.take()
        forth.deliver()
        home.deliver()
        time.sleep(TICK)
    print(json.dumps({"event": "relayed", "forth": forth.report(), "home": home.report()}), flush=True)


@dataclass(frozen=True)
class Blast:
    """What came of sending without regard to the path."""

    sent: int
    took: array[float]
    """Seconds from end to end, of each datagram that arrived."""
    rate: float
    """Mbit/s at which they arrived, headers included."""
    report: dict[str, float]


def blast(rate: float, seconds: float, *options: str) -> Blast:
    """Send at so many Mbit/s, headers included, through a relay."""
    sink, source = Port(), Port()
    command = [sys.executable, "-m", "benchmarks.relay", str(sink.number), *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        source.sock.connect(("127.0.0.1", json.loads(process.stdout.readline())["port"]))
        interval = (LENGTH + HEADERS) / (rate * MEGABIT)
        started, sent, took = time.time(), 0, array("d")
        first = last = 0.0
        while (now := time.time()) < started + seconds + 0.5:
            while started + sent * interval <= now and sent < seconds / interval:
                source.send(struct.pack("!d", time.time()).ljust(LENGTH))
                sent += 1
            while received := sink.receive():
                data, last, _ = received
                first = first or last
                took.append(last - struct.unpack_from("!d", data)[0])
            time.sleep(TICK)
        process.stdin.close()
        report = json.loads(process.stdout.readline())["forth"]
    arrived = (len(took) - 1) * (LENGTH + HEADERS) / (last - first) / MEGABIT
    return Blast(sent, took, arrived, report)


def check() -> None:
    """Print how true the relay is: to its delay, its rate, its queue and its loss."""
    for name, rate, options in (
        ("90 Mbit/s, which fits", 90, ()),
        ("130 Mbit/s, which does not", 130, ()),
        ("90 Mbit/s, 1 % lost", 90, ("--loss", "0.01")),
    ):
        came = blast(rate, 5, *options)
        took = " to ".join(f"{percentile(came.took, share):.1f}" for share in (1, 50, 99))
        print(
            f"{name}: {len(came.took)} of {came.sent} arrived, at {came.rate:.2f} Mbit/s, after {took} ms "
            f"(1st, 50th, 99th percentile); {came.report}"
        )


def main() -> None:
    """Relay, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", help="the server's port on 127.0.0.1, or check")
    parser.add_argument("--rate", type=float, default=100.0, help="Mbit/s")
    parser.add_argument("--round-trip", type=float, default=0.05, help="seconds")
    parser.add_argument("--queue", type=int, default=625_000, help="bytes")
    parser.add_argument("--loss", type=float, default=0.0, help="a share from 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    check() if arguments.server == "check" else relay(arguments)


if __name__ == "__main__":
    main()
