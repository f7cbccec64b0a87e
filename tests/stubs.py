"""Compare the hand-written stubs with the compiled modules: `make types` runs mypy's stubtest over them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALLOWED = Path(__file__).with_name("stubtest_allowed.txt")


def main() -> None:
    """Run stubtest for each compiled module that has a stub."""
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "pknet").rglob("*.pyi")
    )
    command = [
        sys.executable,
        "-m",
        "mypy.stubtest",
        "--allowlist",
        str(ALLOWED),
        "--ignore-missing-stub",
        "--ignore-disjoint-bases",
        *modules,
    ]
    sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
