"""One stream over a narrow path that loses packets: pknet's four controllers beside utp-native (libutp),
libtorrent and udx-native, in turn in one run.

    python -m benchmarks.narrow [--runs 5] [--seconds 15] [--loss 0 0.001 0.01] [--contender NAME ...]

Sender, receiver and the path (benchmarks.relay: 100 Mbit/s, 50 ms, a queue of one round trip) are a process
each. What a receiver has after so many seconds from its first byte counts, ramp and all; and how soon it had
the first 30 MB, or 10 MB where one in a hundred is lost. Each run is a JSON line on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.process import Process
from benchmarks.relay import MEGABIT
from tests.interop.peers import require

CONTROLLERS = ("ledbat", "ledbat++", "cubic", "bbr")
PEERS = {"utp-native (libutp)": "utp-native", "libtorrent": "libtorrent", "udx-native (BBR)": "udx-native"}
# Beyond what is measured: to start, and for a sender that a lost packet has brought to a halt.
PATIENCE = 45


@dataclass(frozen=True)
class Line:
    """What the relay is told."""

    rate: float
    round_trip: float
    queue: int
    loss: float
    seed: int

    def arguments(self) -> list[str]:
        """Return it for a command line."""
        return [f"--{name.replace('_', '-')}={value}" for name, value in asdict(self).items()]


@dataclass(frozen=True)
class Measured:
    """What one run gave: MB/s over all of it, and over the first megabytes; what the relay says, in ms."""

    contender: str
    loss: float
    run: int
    seconds: float
    megabytes_per_second: float
    first_megabytes: int
    first_megabytes_per_second: float | None
    queue_median: float
    queue_95th: float
    dropped: int
    lost: int
    late_99th: float


def commands(contender: str, size: int) -> tuple[list[str], list[str]]:
    """Return how the receiver is started, and the sender, whose last argument is the port to send to."""
    python = [sys.executable, "-m"]
    if contender in CONTROLLERS:
        driver = [*python, "benchmarks.pknet_bulk"]
        return [*driver, "receive"], [*driver, "send", contender]
    peer = PEERS[contender]
    if peer == "libtorrent":
        driver = [*python, "benchmarks.peers.torrent"]
        return [*driver, "receive", str(size), "0"], [*driver, "send", str(size), "0"]
    if peer == "udx-native":
        driver = ["node", "benchmarks/peers/udx.cjs"]
        return [*driver, "receive"], [*driver, "send"]
    driver = ["node", "tests/interop/peers/utp_native.cjs"]
    return [*driver, "listen", "--plain", "--progress=50"], [
        *driver,
        *("connect", "--plain", f"--send={size}", "--port"),
    ]


def measure(contender: str, path: Line, run: int, seconds: float) -> Measured:
    """Send for so many seconds."""
    receiver_command, sender_command = commands(contender, round((seconds + 1) * path.rate * MEGABIT))
    limit = seconds + PATIENCE
    first_megabytes = 30 if path.loss < 0.01 else 10
    first = None
    before = {"bytes": 0, "seconds": 0.0}
    with contextlib.ExitStack() as stack:

        def start(command: list[str]) -> Process:
            return stack.enter_context(contextlib.closing(Process(command, limit)))

        receiver = start(receiver_command)
        server = str(next(receiver.news("listening"))["port"])
        relay = start([sys.executable, "-m", "benchmarks.relay", server, *path.arguments()])
        start([*sender_command, str(next(relay.news("listening"))["port"])])
        for progress in receiver.news("progress"):
            missing = first_megabytes * 1e6 - before["bytes"]
            if first is None and (came := progress["bytes"] - before["bytes"]) >= missing:
                took = (progress["seconds"] - before["seconds"]) * missing / came
                first = first_megabytes / (before["seconds"] + took)
            if progress["seconds"] >= seconds:
                break
            before = progress
        relay.finish()
        forth = next(relay.news("relayed"))["forth"]
    if forth["missed"]:
        raise RuntimeError(f"the relay was too slow for {forth['missed']} datagrams")
    return Measured(
        contender=contender,
        loss=path.loss,
        run=run,
        seconds=round(progress["seconds"], 2),
        megabytes_per_second=round(progress["bytes"] / progress["seconds"] / 1e6, 3),
        first_megabytes=first_megabytes,
        first_megabytes_per_second=first and round(first, 3),
        **{name: forth[name] for name in ("queue_median", "queue_95th", "dropped", "lost", "late_99th")},
    )


def usable(wanted: list[str]) -> list[str]:
    """Return those contenders that are installed, and say why the others are missing."""
    found = []
    for contender in wanted:
        missing = require.missing(PEERS[contender]) if contender in PEERS else None
        if missing is None:
            found.append(contender)
        else:
            print(f"Without {contender}: {missing}", file=sys.stderr)
    return found


def table(loss: float, runs: list[Measured]) -> Table:
    """Return the medians of all contenders at one loss."""
    marks = f"MB/s, first {runs[0].first_megabytes} MB"
    made = Table(
        f"{loss:.1%} lost", "MB/s", "lowest", "highest", marks, "queue, 95th", "dropped", "late, 99th"
    )
    for contender in dict.fromkeys(measured.contender for measured in runs):
        own = [measured for measured in runs if measured.contender == contender]
        speeds = [measured.megabytes_per_second for measured in own]
        firsts = [measured.first_megabytes_per_second or 0.0 for measured in own]
        made.add_row(
            contender,
            f"{statistics.median(speeds):.2f}",
            f"{min(speeds):.2f}",
            f"{max(speeds):.2f}",
            f"{statistics.median(firsts):.2f}" if all(firsts) else "-",
            # The worst of the runs: this is a promise.
            f"{max(measured.queue_95th for measured in own):.0f} ms",
            f"{statistics.median(measured.dropped for measured in own):.0f}",
            f"{max(measured.late_99th for measured in own):.1f} ms",
        )
    return made


def main() -> None:
    """Measure in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="from the receiver's first byte")
    parser.add_argument(
        "--loss", type=float, nargs="+", default=[0.0, 0.001, 0.01], help="shares from 0 to 1"
    )
    parser.add_argument(
        "--contender", nargs="+", choices=[*CONTROLLERS, *PEERS], default=[*CONTROLLERS, *PEERS]
    )
    parser.add_argument("--rate", type=float, default=100.0, help="Mbit/s")
    parser.add_argument("--round-trip", type=float, default=0.05, help="seconds")
    parser.add_argument("--queue", type=int, default=625_000, help="bytes")
    arguments = parser.parse_args()
    contenders = usable(arguments.contender)
    console = Console(width=120)
    console.print(
        f"{arguments.rate:g} Mbit/s, {arguments.round_trip * 1e3:g} ms, {arguments.queue} bytes of queue; "
        f"{arguments.runs} runs of {arguments.seconds:g} s, medians"
    )
    for loss in arguments.loss:
        runs = []
        for run in range(arguments.runs):
            path = Line(arguments.rate, arguments.round_trip, arguments.queue, loss, seed=run)
            for contender in contenders:
                runs.append(measure(contender, path, run, arguments.seconds))
                print(json.dumps(asdict(runs[-1])), file=sys.stderr, flush=True)
        console.print(table(loss, runs))


if __name__ == "__main__":
    main()
