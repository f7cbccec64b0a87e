"""pknet built once more with sanitizers in its compiled modules, in a folder of its own under `build/`.

The modules of the ordinary build stay as they are. What is built is imported from PYTHONPATH, ahead of them.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMON_FLAGS = ("-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined")
# In place of Python's own, which have numbers wrap silently and leave assertions out.
CFLAGS = "-g1 -Og -fno-wrapv -UNDEBUG"
# Python frees little at its end, which is no leak. Who aborts has the place in the Python program shown too.
ASAN_OPTIONS = "detect_leaks=0:detect_stack_use_after_return=1:abort_on_error=1"
UBSAN_OPTIONS = "halt_on_error=1:print_stacktrace=1:abort_on_error=1"


def build(name: str, compiler: str, flags: Sequence[str], *, link_with_flags: bool) -> Path:
    """Build into `build/NAME` what has changed since it was last built; return the folder to import from."""
    base = ROOT / "build" / name
    command = " ".join((compiler, *COMMON_FLAGS, *flags))
    environment = os.environ | {
        "CC": command,
        "CFLAGS": CFLAGS,
        "LDSHARED": f"{command if link_with_flags else compiler} -shared",
        "PYTHONWARNINGS": "ignore",
    }
    subprocess.run(
        [
            *(sys.executable, "-c", "import setuptools; setuptools.setup()"),
            *("--quiet", "build", "--build-base", str(base), "--parallel", str(os.cpu_count())),
        ],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    (library,) = base.glob(f"lib.*{sysconfig.get_python_version().replace('.', '')}*")
    return library


def environment(library: Path, preload: Sequence[Path]) -> dict[str, str]:
    """Return the environment in which Python imports what was built, with the sanitizers' own libraries."""
    return os.environ | {
        "LD_PRELOAD": " ".join(map(str, preload)),
        "ASAN_OPTIONS": ASAN_OPTIONS,
        "UBSAN_OPTIONS": UBSAN_OPTIONS,
        # The folder that one is in has the ordinary build.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": str(library),
    }
