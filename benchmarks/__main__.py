"""All benchmarks that take minutes and not hours: `make bench`."""

from __future__ import annotations

import subprocess
import sys

NAMES = "core", "scale", "raw", "streams", "many"


def main() -> None:
    """Run each benchmark in a process of its own; it prints what it measured."""
    for name in NAMES:
        print(f"python -m benchmarks.{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
