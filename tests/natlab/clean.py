"""Remove network namespaces of labs: of one lab when its process ends, or of all whose process is dead.

    python -m tests.natlab.clean

Each lab runs this file by its path, as its janitor, so it imports nothing but the standard library.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAMES = Path("/run/netns")
_NAME = re.compile(r"pknat-(\d+)-\d+-\w+")


def namespace_name(lab_number: int, role: str) -> str:
    """Return a name that tells whose the namespace is: the process, its lab, and the role in that lab."""
    return f"pknat-{os.getpid()}-{lab_number}-{role}"


def leftovers() -> list[str]:
    """Return the names of the namespaces whose process no longer runs."""
    if not _NAMES.is_dir():
        return []
    owners = {path.name: match[1] for path in _NAMES.iterdir() if (match := _NAME.fullmatch(path.name))}
    return sorted(name for name, pid in owners.items() if not Path("/proc", pid).exists())


def remove(names: Iterable[str]) -> None:
    """End what still runs in these namespaces and delete them; those that do not exist are passed over."""
    for name in names:
        for pid in _ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "delete", name)


def _ip(*args: str) -> str:
    """Run ip(8) on a namespace, its last argument; that there is none, or no longer, is no error."""
    result = subprocess.run(["ip", *args], capture_output=True, text=True)
    if result.returncode != 0 and (_NAMES / args[-1]).exists():
        raise RuntimeError(result.stderr)
    return result.stdout


@contextmanager
def removed_at_the_end(names: Iterable[str]) -> Iterator[None]:
    """Remove these namespaces when the with block ends, and also when this process dies in it.

    A process of its own waits for that, the janitor. When this process dies, be it of SIGKILL, the kernel
    closes the pipe between them.
    """
    janitor = subprocess.Popen(
        [sys.executable, "-I", __file__, *names],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is not meant for it
    )
    try:
        yield
    finally:
        janitor.communicate(b"\n")
        if janitor.returncode != 0:
            raise RuntimeError("the janitor failed; `python -m tests.natlab.clean` tries again later")


def main() -> None:
    """Act as the janitor of the namespaces named as arguments; with none named, sweep what dead labs left."""
    if names := sys.argv[1:]:
        os.read(sys.stdin.fileno(), 1)
        remove(names)
    else:
        for name in leftovers():
            print(name)
            remove([name])


if __name__ == "__main__":
    main()
