"""What the command says to a person; results go to standard output by `click.echo`."""

from __future__ import annotations

from rich.console import Console

__all__ = ["console", "say"]

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print a line for a person, to standard error."""
    console.print(text, markup=False, soft_wrap=True)
