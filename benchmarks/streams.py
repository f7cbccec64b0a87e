"""One stream over loopback, between two processes: pknet by its adapters beside utp-native (libutp),
libtorrent and the kernel's TCP, in turn in one run.

    python -m benchmarks.streams [--runs 5] [--megabytes 512]

Datagrams have at most 1402 bytes, congestion control is LEDBAT. What comes is kept, and hashed once what is
timed is over; libtorrent alone hashes as it goes. The kernel's receive buffer is the usual one, for whoever
is not root on Linux as it comes, or raised to 4 MiB.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import statistics
import sys
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.process import Process
from benchmarks.stream import CYCLE, RAISED_BUFFER, SEED, USUAL_BUFFER
from tests.interop.peers import require
from tests.interop.peers.utp_native import seeded_stream

WAYS = {
    "pknet, asyncio": "asyncio",
    "pknet, asyncio streams": "streams",
    "pknet, blocking": "blocking",
    "kernel TCP": "tcp",
}
UTP_NATIVE, LIBTORRENT = "utp-native (libutp)", "libtorrent"
PEERS = {UTP_NATIVE: "utp-native", LIBTORRENT: "libtorrent"}
BUFFERS = {"usual": USUAL_BUFFER, "raised": RAISED_BUFFER}
LIMIT = 300.0


@dataclass(frozen=True)
class Measured:
    """What one run gave, over both ends together; `cpu_seconds` is for each GB."""

    contender: str
    buffer: str
    megabytes_per_second: float
    cpu_seconds: float


def commands(contender: str, buffer: str, size: int) -> tuple[list[str], list[str], str]:
    """Return how the receiver and the sender are started, and what the sender says when it is done.

    The sender's last argument is the port to send to.
    """
    python = [sys.executable, "-m"]
    if contender in WAYS:
        driver, way = [*python, "benchmarks.stream"], WAYS[contender]
        return [*driver, "receive", way, str(size), buffer], [*driver, "send", way, str(size)], "sent"
    if contender == LIBTORRENT:
        driver = [*python, "benchmarks.peers.torrent"]
        settings = [str(size), str(BUFFERS[buffer])]
        return [*driver, "receive", *settings], [*driver, "send", *settings], "sent"
    driver = ["node", "tests/interop/peers/utp_native.cjs"]
    options = [f"--buffer={BUFFERS[buffer]}", f"--seed={SEED}"]
    return (
        [*driver, "listen", *options, f"--keep={size}"],
        [*driver, "connect", *options, f"--cycle={CYCLE}", f"--send={size}", "--port"],
        "closed",
    )


def measure(contender: str, buffer: str, size: int, digest: str) -> Measured:
    """Move so many bytes once. Raises RuntimeError if what comes is not what was sent."""
    receiver_command, sender_command, done = commands(contender, buffer, size)
    with contextlib.ExitStack() as stack:

        def start(command: list[str]) -> Process:
            return stack.enter_context(contextlib.closing(Process(command, LIMIT)))

        receiver = start(receiver_command)
        sender = start([*sender_command, str(next(receiver.news("listening"))["port"])])
        if contender == LIBTORRENT:
            received = next(news for news in receiver.news("progress") if news["bytes"] >= size)
            sender.finish()
        else:
            received = next(receiver.news("received"))
            if received["sha256"] != digest:
                raise RuntimeError(f"{contender}: {received['bytes']} bytes came, not as they were sent")
        sent = next(sender.news(done))
    return Measured(
        contender,
        buffer,
        round(size / received["seconds"] / 1e6, 1),
        round((received["cpuSeconds"] + sent["cpuSeconds"]) / size * 1e9, 2),
    )


def run(runs: int, size: int) -> dict[tuple[str, str], list[Measured]]:
    """Measure all; each has its turn in each round, so that a slow moment hits all."""
    digest = hashlib.sha256(seeded_stream(SEED, CYCLE) * (size // CYCLE)).hexdigest()
    compared = [(contender, buffer) for contender in [*WAYS, *PEERS] for buffer in BUFFERS]
    for contender, package in PEERS.items():
        missing = require.missing(package)
        if missing is not None:
            print(f"Without {contender}: {missing}", file=sys.stderr)
            compared = [pair for pair in compared if pair[0] != contender]
    measured: dict[tuple[str, str], list[Measured]] = {pair: [] for pair in compared}
    for _ in range(runs):
        for contender, buffer in compared:
            result = measure(contender, buffer, size, digest)
            print(json.dumps(asdict(result)), file=sys.stderr, flush=True)
            measured[contender, buffer].append(result)
    return measured


def main() -> None:
    """Print the medians, and how they compare with the fastest of the peers in the same run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512, help="in multiples of 16 MiB")
    arguments = parser.parse_args()
    measured = run(arguments.runs, arguments.megabytes // 16 * CYCLE)
    speed = {
        pair: statistics.median(result.megabytes_per_second for result in results)
        for pair, results in measured.items()
    }
    fastest = max((speed[pair] for pair in speed if pair[0] in PEERS), default=None)
    table = Table(title=f"one stream over loopback, {arguments.runs} runs of {arguments.megabytes} MiB")
    for column in ("", "buffer", "MB/s, median", "lowest", "highest", "times the fastest peer", "CPU s/GB"):
        table.add_column(column)
    for pair, results in measured.items():
        speeds = [result.megabytes_per_second for result in results]
        table.add_row(
            *pair,
            f"{speed[pair]:.0f}",
            f"{min(speeds):.0f}",
            f"{max(speeds):.0f}",
            f"{speed[pair] / fastest:.1f}" if fastest else "-",
            f"{statistics.median(result.cpu_seconds for result in results):.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
