"""A thousand connections of one endpoint, all moving data, beside a single one: two processes, loopback.

    python -m benchmarks.many [--runs 5] [--megabytes 1024] [--buffer 4]

Both ends are the core and a UdpSocket in the plainest loop there is, so that what many connections cost is
the core's cost and the sockets'. Each connection's bytes are kept, and compared once what is timed is over.
The kernel's buffers are of `--buffer` MiB, if it gives them: a thousand connections share them, so that of 4
MiB each has room for three packets. For more than net.core.rmem_max allows, root is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import statistics
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.process import CpuTime, Process, say
from pknet.utp import (
    ConnectionAccepted,
    ConnectionOpened,
    DataReceived,
    EofReceived,
    SendBufferDrained,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
    UtpEvent,
)
from pknet_io import UdpSocket
from tests.interop.peers.utp_native import seeded_stream

COUNTS = 1, 1000
RECEIVES = 32
PIECE = 1 << 16
LIMIT = 300.0
CONFIG = UtpConfig(max_connections_of_source=1 << 16)


class Loop:
    """An endpoint on a socket, and what drives it."""

    def __init__(self, buffer: int) -> None:
        self.socket = UdpSocket.bind("127.0.0.1", receive_buffer=buffer, send_buffer=buffer)
        self.endpoint = UtpEndpoint(os.urandom, CONFIG)
        self.now = time.monotonic()

    def on_event(self, event: UtpEvent) -> None:
        """Act on what happens."""
        raise NotImplementedError

    def turn(self) -> None:
        """Wait until something comes or is due, take it, and answer."""
        endpoint, socket = self.endpoint, self.socket
        deadline = endpoint.next_timeout()
        select.select([socket], [], [], None if deadline is None else max(deadline - time.monotonic(), 0))
        self.now = now = time.monotonic()
        for _ in range(RECEIVES):
            received = socket.receive()
            if received is None:
                break
            if received.segment_size is None:
                endpoint.receive_datagram(received.data, received.remote, None, now)
            else:
                endpoint.receive_segments(received.data, received.segment_size, received.remote, None, now)
        if deadline is not None and deadline <= now:
            endpoint.handle_timeout(now)
        self.answer()

    def answer(self) -> None:
        """Hand on what has happened, and send what is to be sent."""
        for event in self.endpoint.events():
            self.on_event(event)
        for transmit in self.endpoint.transmits():
            while not self.socket.send(transmit):
                select.select([], [self.socket], [])


class Receiver(Loop):
    """Keeps what each connection brings."""

    def __init__(self, buffer: int, connections: int, size: int) -> None:
        super().__init__(buffer)
        self.connections = connections
        self.size = size
        # Not zeros: those would be no memory yet.
        self.kept = memoryview(bytearray(b"\1") * (connections * size))
        self.places: dict[UtpConnection, memoryview] = {}
        self.finished = 0
        self.began = 0.0
        self.cpu = CpuTime()

    def on_event(self, event: UtpEvent) -> None:
        """Read what there is."""
        connection = event.connection
        match event:
            case ConnectionAccepted():
                start = len(self.places) * self.size
                self.places[connection] = self.kept[start : start + self.size]
            case DataReceived():
                if not self.began:
                    self.began, self.cpu = self.now, CpuTime()
                place = self.places[connection]
                while connection.readable:
                    place = place[connection.read_into(place, self.now) :]
                self.places[connection] = place
            case EofReceived():
                connection.finish(self.now)
                self.finished += 1

    def receive(self) -> None:
        """Take it all, and say what came."""
        say("listening", port=self.socket.address[1])
        while self.finished < self.connections:
            self.turn()
        seconds, cpu_seconds = self.now - self.began, self.cpu.used()
        content = content_of(self.size)
        whole = sum(
            self.kept[start : start + self.size] == content for start in range(0, len(self.kept), self.size)
        )
        say("received", seconds=seconds, cpuSeconds=cpu_seconds, whole=whole)
        # For the last acknowledgements, and then for the end of the process.
        while True:
            self.turn()


class Sender(Loop):
    """Sends the same on each connection."""

    def __init__(self, buffer: int, connections: int, size: int, port: int) -> None:
        super().__init__(buffer)
        self.content = memoryview(content_of(size))
        self.places: dict[UtpConnection, int] = {}
        self.opened = 0
        for number in range(connections):
            self.places[self.endpoint.connect(("127.0.0.1", port), self.now)] = 0
            self.answer()
            while self.opened <= number:
                self.turn()

    def on_event(self, event: UtpEvent) -> None:
        """Send more."""
        match event:
            case ConnectionOpened():
                self.opened += 1
            case SendBufferDrained():
                self.write(event.connection)

    def write(self, connection: UtpConnection) -> None:
        """Give a connection as much as it takes, and its end after the last."""
        place = self.places[connection]
        while place < len(self.content):
            piece = self.content[place : place + PIECE]
            taken = connection.send(piece, self.now)
            place += taken
            if taken < len(piece):
                break
        else:
            connection.finish(self.now)
        self.places[connection] = place

    def send(self) -> None:
        """Send it all, and say what it has cost."""
        cpu = CpuTime()
        for connection in self.places:
            self.write(connection)
            self.answer()
        while any(connection.unacknowledged for connection in self.places):
            self.turn()
        packets = sum(connection.packets_sent for connection in self.places)
        again = sum(connection.packets_retransmitted for connection in self.places)
        say("sent", cpuSeconds=cpu.used(), packets=packets, retransmitted=again)


@dataclass(frozen=True)
class Measured:
    """What one run gave, both ends together."""

    megabytes_per_second: float
    cpu_seconds_per_gb: float
    retransmitted: float


def content_of(size: int) -> bytes:
    """Return what each connection carries."""
    return seeded_stream("many", size)


def measure(connections: int, size: int, buffer: int) -> Measured:
    """Move so many bytes in all, shared evenly. Raises RuntimeError if a stream comes otherwise than sent."""
    command = [sys.executable, "-m", "benchmarks.many"]
    given = str(buffer), str(connections), str(size // connections)
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Process:
            return stack.enter_context(contextlib.closing(Process([*command, *arguments], LIMIT)))

        receiver = start("receive", *given)
        sender = start("send", *given, str(next(receiver.news("listening"))["port"]))
        received, sent = next(receiver.news("received")), next(sender.news("sent"))
    if received["whole"] != connections:
        raise RuntimeError(f"{connections - received['whole']} streams came otherwise than they were sent")
    return Measured(
        size / received["seconds"] / 1e6,
        (received["cpuSeconds"] + sent["cpuSeconds"]) / size * 1e9,
        sent["retransmitted"] / sent["packets"],
    )


def main() -> None:
    """Play one side, or measure and print the medians."""
    if sys.argv[1:2] == ["receive"]:
        Receiver(*map(int, sys.argv[2:])).receive()
        return
    if sys.argv[1:2] == ["send"]:
        Sender(*map(int, sys.argv[2:])).send()
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--buffer", type=int, default=4, help="MiB, each of the kernel's two")
    options = parser.parse_args()
    measured: dict[int, list[Measured]] = {count: [] for count in COUNTS}
    for _ in range(options.runs):
        for count in COUNTS:
            measured[count].append(measure(count, options.megabytes << 20, options.buffer << 20))
    table = Table("connections", "MB/s", "lowest", "highest", "CPU s/GB", "sent again")
    for count, results in measured.items():
        speeds = [result.megabytes_per_second for result in results]
        table.add_row(
            str(count),
            *(f"{speed:.0f}" for speed in (statistics.median(speeds), min(speeds), max(speeds))),
            f"{statistics.median(result.cpu_seconds_per_gb for result in results):.2f}",
            f"{statistics.median(result.retransmitted for result in results):.1%}",
        )
    Console().print(table)
    one, many = (
        statistics.median(result.megabytes_per_second for result in results) for results in measured.values()
    )
    print(f"{COUNTS[1]} connections: {many / one:.0%} of one")


if __name__ == "__main__":
    main()
