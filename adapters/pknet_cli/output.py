"""What the command says to a person, and its log; results go to standard output by `click.echo`."""

from __future__ import annotations

import logging
from datetime import datetime

import click

__all__ = ["say", "start_log"]


def say(text: str) -> None:
    """Print a line for a person, to standard error."""
    click.echo(text, err=True)


def start_log(level: int) -> None:
    """Write what is logged from this level on to standard error, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _Formatter(logging.Formatter):
    """Gives times as ISO 8601 has them, with the offset from UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
