"""Running the command `pknet` as a user does: programs of their own, that are told to end in the end."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def pknet(*arguments: str) -> list[str]:
    """Return the command line of `pknet`."""
    return [sys.executable, "-m", "pknet_cli", *arguments]


def run(*arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run `pknet` to its end."""
    return subprocess.run(pknet(*arguments), capture_output=True, text=True, timeout=timeout, check=False)


@contextmanager
def running(*arguments: str) -> Iterator["Program"]:
    """Run `pknet` while the block runs; then it is asked to end, and must do so with status 0."""
    program = Program(pknet(*arguments))
    try:
        yield program
    except BaseException:
        program.process.kill()
        raise
    finally:
        program.process.terminate()
        _, program.error = program.process.communicate(timeout=30)
    assert program.process.returncode == 0, program.error


class Program:
    """A running program and what it prints."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.error = ""

    def line(self) -> str:
        """Return the next line of standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: int) -> tuple[int, str, str]:
        """Send a signal; return status, standard output and standard error."""
        self.process.send_signal(number)
        output, error = self.process.communicate(timeout=30)
        return self.process.returncode, output, error


def from_json(text: str) -> Any:
    """Read what a command prints with --json."""
    return json.loads(text)
