"""The uTP core alone, beside libutp's: two endpoints in memory, no socket, no wait.

    python -m benchmarks.core [--runs 7] [--megabytes 1024]

Printed are nanoseconds of processor time for each 1382 bytes of payload, a datagram of 1402, both ends and
all ACKs together, at several windows. Both cores do the same, in turn in one run: the program fills the
window, all of it is under way at once, the receiver takes it whole and its program reads it, and only then
the receiver answers. Counting begins once the window was full, for LEDBAT takes many round trips until then:
libutp's window grows by 3000 bytes in each. What compares the two is the median of the runs' ratios, each of
two measured one after the other.

Beside them stands what it costs to copy as much three times by memcpy, a window at a time, as both do: from
the program to a queue, to datagrams, to the reader.

libutp has it easier here than where packets leave as others arrive: for each packet that it sends it looks at
all that are under way, and here that is half a window on average. And C drives it, while Python drives pknet,
which costs some 6 us for each window.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import libutp_core
from pknet.utp import ConnectionAccepted, UtpConfig, UtpConnection, UtpEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet import Transmit

RUNS = 7
MEGABYTES = 1024
WINDOWS = (64 << 10, 256 << 10, 1 << 20)
NEAR, FAR = ("192.0.2.1", 1), ("192.0.2.2", 1)
PAYLOAD = 1382
DELAY = 0.00025
PATIENCE = 100_000
PKNET, LIBUTP, MEMCPY = "pknet", "libutp", "3 x memcpy"


class Pair:
    """Two endpoints in memory, and a connection from the one to the other."""

    def __init__(self, window: int) -> None:
        config = UtpConfig(receive_buffer=window, send_buffer=window)
        self.sender, self.receiver = UtpEndpoint(os.urandom, config), UtpEndpoint(os.urandom, config)
        self.block, self.buffer = bytes(1 << 16), bytearray(1 << 16)
        self.now = 1.0
        self.received = 0
        self.connection = self.sender.connect(FAR, self.now)
        self.accepted: UtpConnection | None = None

    def turn(self) -> int:
        """Carry all that the window allows, and the answer; return how many bytes have come."""
        sender, receiver, before = self.sender, self.receiver, self.received
        for take, target, address in ((self.fill, receiver, NEAR), (receiver.transmits, sender, FAR)):
            transmits = take()
            self.now = now = self.now + DELAY
            for transmit in transmits:
                if transmit.segment_size is None:
                    target.receive_datagram(transmit.data, address, None, now)
                else:
                    target.receive_segments(transmit.data, transmit.segment_size, address, None, now)
            # As over a socket, which has what it was given by then.
            del transmits
            for event in target.events():
                if isinstance(event, ConnectionAccepted):
                    self.accepted = event.connection
            accepted = self.accepted
            while accepted is not None and accepted.readable:
                self.received += accepted.read_into(self.buffer, now)
        for machine in (sender, receiver):
            deadline = machine.next_timeout()
            if deadline is not None and deadline <= now:
                machine.handle_timeout(now)
        return self.received - before

    def fill(self) -> list[Transmit]:
        """Write as much as is taken, and take all that may leave."""
        connection, sender = self.connection, self.sender
        while connection.state == "CONNECTED" and connection.send(self.block, self.now) == len(self.block):
            pass
        transmits = sender.transmits()
        # It paces what it sends, so that a large window leaves in several goes.
        while connection.next_timer == "pace" and (due := sender.next_timeout()) is not None:
            self.now = due
            sender.handle_timeout(due)
            transmits += sender.transmits()
        return transmits


def transfer(window: int, size: int) -> float:
    """Move so many bytes by windows of so many; return nanoseconds for each full packet's worth.

    Raises RuntimeError if the window does not become full.
    """
    pair = Pair(window)
    for _ in range(PATIENCE):
        if pair.turn() + 2 * PAYLOAD > window:
            break
    else:
        raise RuntimeError("the window has not become full")
    before, started = pair.received, time.process_time()
    while pair.received - before < size:
        pair.turn()
    return (time.process_time() - started) / (pair.received - before) * PAYLOAD * 1e9


def run(runs: int, size: int) -> dict[int, dict[str, list[float]]]:
    """Return for each window, in bytes, the nanoseconds of each run of each that can be measured here."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "libutp_core"
        measures: dict[str, Callable[[int, int], float]] = {
            PKNET: transfer,
            LIBUTP: partial(libutp_core.transfer, program),
            MEMCPY: partial(libutp_core.copy, program),
        }
        for name, missing in (
            (LIBUTP, libutp_core.missing()),
            (MEMCPY, libutp_core.missing_compiler()),
        ):
            if missing is not None:
                print(f"Without {name}: {missing}", file=sys.stderr)
                del measures[name]
        if MEMCPY in measures:
            libutp_core.build(program)
        times: dict[int, dict[str, list[float]]] = {
            window: {name: [] for name in measures} for window in WINDOWS
        }
        for _ in range(runs):
            for window in WINDOWS:
                for name, measure in measures.items():
                    times[window][name].append(measure(window, size))
    return times


def compare(runs: int = RUNS, size: int = MEGABYTES << 20) -> None:
    """Measure, and print the medians and how they compare with pknet's."""
    table = Table("the core alone", "window", "ns, median", "lowest", "highest", "times pknet's")
    for window, measured in run(runs, size).items():
        for name, times in measured.items():
            ratio = statistics.median(
                other / ours for other, ours in zip(times, measured[PKNET], strict=True)
            )
            table.add_row(
                name,
                f"{window >> 10} KiB",
                *(f"{value:.0f}" for value in (statistics.median(times), min(times), max(times))),
                f"{ratio:.2f}",
            )
        table.add_section()
    Console().print(table)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    options = parser.parse_args()
    compare(options.runs, options.megabytes << 20)


if __name__ == "__main__":
    main()
