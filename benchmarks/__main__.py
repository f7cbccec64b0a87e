"""All benchmarks: `make bench`."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import core, scale


def main() -> None:
    """Run each benchmark, which prints what it measured."""
    core.compare()
    scale.main()
    subprocess.run([sys.executable, "-m", "benchmarks.streams"], check=True)


if __name__ == "__main__":
    main()
