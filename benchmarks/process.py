"""Processes that tell their news in lines of JSON, and how to tell some."""

from __future__ import annotations

import json
import resource
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


def say(event: str, **news: object) -> None:
    """Print one line of news."""
    print(json.dumps({"event": event, **news}), flush=True)


class CpuTime:
    """How much processor time this process has used since then, in seconds."""

    def __init__(self) -> None:
        self._since = self._used()

    def used(self) -> float:
        """Return it."""
        return self._used() - self._since

    def _used(self) -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime


class Process:
    """A process that tells its news in JSON lines."""

    def __init__(self, command: list[str], limit: float) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._timer = threading.Timer(limit, self._process.kill)
        self._timer.start()

    def news(self, event: str) -> Iterator[dict[str, Any]]:
        """Yield each event of that name. Raises RuntimeError at an error, or if the process ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if told["event"] == event:
                yield told
            elif told["event"] == "error":
                raise RuntimeError(line)
        raise RuntimeError(f"{self._process.args!r} ended, or took too long, before it told {event!r}")

    def finish(self) -> None:
        """Tell it to come to its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        """End the process and wait for it."""
        self._timer.cancel()
        self._process.terminate()
        with self._process:
            pass
