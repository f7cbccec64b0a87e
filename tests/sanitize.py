"""Run the core's tests under AddressSanitizer and UndefinedBehaviorSanitizer: `make sanitize`.

The compiled modules are built for it, in a folder of their own. Arguments are pytest's: what to run instead.
"""

import subprocess
import sys
from pathlib import Path

from tests import instrumented

# At the same time; each takes about as long as the other.
GROUPS = (
    ["tests/utp", "tests/core"],
    ["tests/stun", "tests/testing", "tests/fuzz"],
)
# Reports go to stderr, which pytest must not keep to itself, for the process ends with them.
OPTIONS = ["-q", "-m", "not bulk", "--capture=sys", "-p", "no:cacheprovider", "-o", "timeout=600"]

# What must not go well: one byte too many.
OVERRUN = "import ctypes; ctypes.memset(ctypes.create_string_buffer(64), 0, 65)"


def main() -> None:
    """Build, run the tests, and fail if one fails or a sanitizer finds something."""
    if sys.platform != "linux":
        sys.exit("the sanitizers are loaded as Linux does it")
    library = instrumented.build("sanitize", "gcc", ["-fsanitize=address,undefined"], link_with_flags=True)
    environment = instrumented.environment(library, [runtime("libasan.so"), runtime("libubsan.so")])
    # Python's own allocator cuts small objects from large blocks: nobody would see one of them overrun.
    environment["PYTHONMALLOC"] = "malloc"
    # Ahead of the folder that one is in, which has the ordinary build.
    options = [*OPTIONS, "-o", f"pythonpath={library} {instrumented.ROOT}"]
    check(library, environment)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *group], cwd=instrumented.ROOT, env=environment
        )
        for group in ([sys.argv[1:]] if sys.argv[1:] else GROUPS)
    ]
    statuses = [process.wait() for process in processes]
    if any(statuses):
        sys.exit("something is wrong: it stands above")


def runtime(name: str) -> Path:
    """Return where the compiler has the library of a sanitizer."""
    command = ["gcc", f"-print-file-name={name}"]
    path = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    if not path.is_absolute():
        sys.exit(f"gcc has no {name} (Debian: apt install gcc)")
    return path


def check(library: Path, environment: dict[str, str]) -> None:
    """Make sure that it is the modules built for it that are tested, and that an error would be noticed."""

    def run(program: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    imported = run("import pknet._core.utp_packet; print(pknet._core.utp_packet.__file__)").stdout.strip()
    if not Path(imported).is_relative_to(library) or b"__asan_report" not in Path(imported).read_bytes():
        sys.exit(f"{imported} is not what was built for the sanitizers")
    if "heap-buffer-overflow" not in run(OVERRUN).stderr:
        sys.exit("AddressSanitizer does not notice an overrun")


if __name__ == "__main__":
    main()
