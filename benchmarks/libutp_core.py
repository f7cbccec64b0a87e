"""libutp's core alone, as utp-native brings it compiled, and memcpy: built from libutp_core.c at each run."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from tests.interop.peers import install, require

SOURCE = Path(__file__).with_suffix(".c")
OBJECT = install.PEERS / "node_modules/utp-native/prebuilds/linux-x64/node.napi.node"
COMPILER = "cc"


def missing_compiler() -> str | None:
    """Return why nothing of this can be measured here, or None if it can."""
    return require.missing(COMPILER)


def missing() -> str | None:
    """Return why libutp cannot be measured here, or None if it can."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "the libutp of utp-native is loaded on Linux on x86-64 only"
    return missing_compiler() or require.missing("utp-native")


def build(program: Path) -> None:
    """Compile what measures."""
    # -rdynamic: the object asks the program that loads it for a symbol.
    subprocess.run([COMPILER, "-O2", "-rdynamic", "-o", program, SOURCE, "-ldl"], check=True)


def transfer(program: Path, window: int, size: int) -> float:
    """Move so many bytes by windows of so many; return nanoseconds for each full packet's worth."""
    return _measured(program, window, size, OBJECT)


def copy(program: Path, window: int, size: int) -> float:
    """Copy as many bytes three times; return nanoseconds for each full packet's worth."""
    return _measured(program, window, size)


def _measured(program: Path, *arguments: int | Path) -> float:
    printed = subprocess.run(
        [program, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return float(printed)
