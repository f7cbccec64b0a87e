"""All benchmarks: `make bench`."""

from __future__ import annotations

import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import core, scale


def main() -> None:
    """Run each benchmark and print what it measured."""
    table = Table("the core alone, window", "ns per data packet, median", "lowest", "highest")
    for window, times in core.run().items():
        table.add_row(
            f"{window >> 10} KiB", f"{statistics.median(times):.0f}", f"{times[0]:.0f}", f"{times[-1]:.0f}"
        )
    Console().print(table)
    scale.main()
    subprocess.run([sys.executable, "-m", "benchmarks.streams"], check=True)


if __name__ == "__main__":
    main()
