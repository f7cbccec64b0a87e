"""One uTP stream over loopback, two processes: pknet by both adapters beside utp-native (libutp), in turn in
one run.

pknet is measured with the kernel's receive buffer that it asks for, and with the usual default of 212 992
bytes; utp-native with buffers raised to 4 MiB, without which it falls to a thirtieth. Both move zeros and
hash nothing: what is timed is the transport. That every byte arrives is the tests' matter (tests/interop).
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.interop.peers import install
from tests.interop.peers.utp_native import UtpNative

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 400 << 20
RUNS = 5
USUAL_BUFFER = 212_992
ROOT = Path(__file__).parents[1]


def pknet(adapter: str, buffer: int | None = None) -> float:
    """Move SIZE bytes by pknet; return the receiver's MB/s. Raises RuntimeError if some are lost."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.pknet_stream", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    with start("receive", adapter, *([] if buffer is None else [buffer])) as receiver:
        assert receiver.stdout is not None
        port = json.loads(receiver.stdout.readline())["port"]
        with start("send", adapter, port, SIZE) as sender:
            assert sender.stdout is not None
            received = json.loads(receiver.stdout.readline())
            json.loads(sender.stdout.readline())
    if received["bytes"] != SIZE:
        raise RuntimeError(f"{received['bytes']} bytes were received, {SIZE} sent")
    return float(received["bytes"] / received["seconds"] / 1e6)


def utp_native() -> float:
    """Move SIZE bytes by utp-native; return MB/s as the receiver sees them."""
    with UtpNative.listen(plain=True) as receiver:
        host, port = receiver.address
        with UtpNative.connect(host, port, send=SIZE, plain=True):
            received = receiver.wait_for("received", timeout=300)
            return float(received["bytes"] / received["seconds"] / 1e6)


def run() -> dict[str, list[float]]:
    """Return the MB/s of each run; what is compared has its turn in each, so that a slow moment hits all."""
    compared: dict[str, Callable[[], float]] = {
        "pknet, asyncio": lambda: pknet("asyncio"),
        "pknet, blocking": lambda: pknet("blocking"),
        f"pknet, asyncio, buffer {USUAL_BUFFER}": lambda: pknet("asyncio", USUAL_BUFFER),
        f"pknet, blocking, buffer {USUAL_BUFFER}": lambda: pknet("blocking", USUAL_BUFFER),
    }
    missing = install.missing("utp-native")
    if missing is None:
        compared["utp-native (libutp)"] = utp_native
    else:
        print(f"Without utp-native: {missing}", file=sys.stderr)
    speeds: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(RUNS):
        for name, measure in compared.items():
            speeds[name].append(measure())
    return speeds


def main() -> None:
    """Print the medians, and how they compare with utp-native in the same run."""
    speeds = run()
    peer = speeds.get("utp-native (libutp)")
    table = Table("one stream over loopback", "MB/s, median", "lowest", "highest", "times utp-native")
    for name, measured in speeds.items():
        ratio = f"{statistics.median(measured) / statistics.median(peer):.1f}" if peer else "-"
        table.add_row(
            name, f"{statistics.median(measured):.0f}", f"{min(measured):.0f}", f"{max(measured):.0f}", ratio
        )
    console = Console()
    console.print(
        f"{RUNS} runs of {SIZE >> 20} MiB; {platform.processor() or platform.machine()}, {platform.system()}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
