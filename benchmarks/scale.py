"""Many connections of one endpoint, in memory: what an idle one costs, and what a thousand busy ones do.

The busy ones have a thousandth of a window each, so that what is under way at one time takes no more memory
than that of the one which they are compared with: else it would be the machine's caches that are measured.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pknet.utp import (
    ConnectionAccepted,
    DataReceived,
    SendBufferDrained,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
)

NEAR, FAR = ("192.0.2.1", 1), ("192.0.2.2", 1)
RUNS = 5
IDLE = 10_000
BUSY = 1_000
WINDOW = 16 << 10
BYTES = 100 << 20
STEP = 0.0005
BLOCK = bytes(1 << 16)


class Endpoints:
    """Two endpoints in memory, and connections from the one to the other."""

    def __init__(self, connections: int, window: int | None = None) -> None:
        config = UtpConfig(
            receive_buffer=window,
            send_buffer=window,
            keepalive=None,
            idle_timeout=None,
            max_connections_of_source=1 << 16,
        )
        self.near, self.far = UtpEndpoint(os.urandom, config), UtpEndpoint(os.urandom, config)
        self.now = 1.0
        self.received = 0
        self.left: dict[UtpConnection, int] = {}
        self.connections = []
        for _ in range(connections):
            self.connections.append(self.near.connect(FAR, self.now))
            self.exchange()

    def exchange(self) -> None:
        """Carry what each endpoint has for the other, and read what comes."""
        for source, target, address in ((self.near, self.far, NEAR), (self.far, self.near, FAR)):
            for transmit in source.transmits():
                if transmit.segment_size is None:
                    target.receive_datagram(transmit.data, address, None, self.now)
                else:
                    target.receive_segments(transmit.data, transmit.segment_size, address, None, self.now)
            for event in target.events():
                if isinstance(event, ConnectionAccepted | DataReceived):
                    while event.connection.readable:
                        self.received += len(event.connection.read(1 << 20, self.now))
                elif isinstance(event, SendBufferDrained):
                    self.write(event.connection)

    def write(self, connection: UtpConnection) -> None:
        """Give a connection more of what it has left to send."""
        while self.left[connection]:
            piece = BLOCK[: self.left[connection]]
            taken = connection.send(piece, self.now)
            self.left[connection] -= taken
            if taken < len(piece):
                break

    def move(self, connections: list[UtpConnection], size: int) -> float:
        """Have each connection move so many bytes; return nanoseconds per data packet, all costs included."""
        before = sum(connection.packets_sent for connection in connections)
        self.left = dict.fromkeys(connections, size)
        started, wanted = time.process_time(), self.received + size * len(connections)
        for connection in connections:
            self.write(connection)
        while self.received < wanted:
            self.now += STEP
            self.exchange()
            for machine in (self.near, self.far):
                due = machine.next_timeout()
                if due is not None and due <= self.now:
                    machine.handle_timeout(self.now)
        seconds = time.process_time() - started
        return seconds / (sum(connection.packets_sent for connection in connections) - before) * 1e9


def resident_bytes() -> int:
    """Return the memory of this process that is in use (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_of_idle() -> float:
    """Return the bytes of memory of one end of a connection over which nothing was sent."""
    gc.collect()
    before = resident_bytes()
    endpoints = Endpoints(IDLE)
    gc.collect()
    return (resident_bytes() - before) / (2 * len(endpoints.connections))


def main() -> None:
    """Measure, in turn, and print the medians."""
    table = Table("many connections of one endpoint, in memory", "median", "lowest", "highest")
    # What was given back once is found again by the next: only the first measure is one.
    table.add_row("bytes of an idle connection, one end", *[f"{memory_of_idle():.0f}"] * 3)
    few, idle = Endpoints(1), Endpoints(IDLE)
    one, busy = Endpoints(1, WINDOW * BUSY), Endpoints(BUSY, WINDOW)
    times: dict[str, list[float]] = {}
    for _ in range(RUNS):
        for name, measured in (
            ("ns per data packet, one connection", few.move(few.connections, BYTES)),
            (f"the same beside {IDLE} idle ones", idle.move(idle.connections[:1], BYTES)),
            (f"one connection, {WINDOW * BUSY >> 20} MiB of window", one.move(one.connections, BYTES)),
            (f"{BUSY} connections, {WINDOW >> 10} KiB each", busy.move(busy.connections, BYTES // BUSY)),
        ):
            times.setdefault(name, []).append(measured)
    for name, measured in times.items():
        table.add_row(
            name, f"{statistics.median(measured):.0f}", f"{min(measured):.0f}", f"{max(measured):.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
