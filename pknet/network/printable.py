"""Words that come from a peer, made fit for a log or a terminal."""

from __future__ import annotations

from typing import Final

__all__ = ["printable"]

MAX_LENGTH: Final = 240


def printable(text: str) -> str:
    """Return a text with what is not printable escaped, and cut to 240 characters.

    Escape sequences of terminals and marks that turn the direction of writing are not printable.
    """
    safe = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[:MAX_LENGTH]
    )
    return safe if len(safe) <= MAX_LENGTH else safe[: MAX_LENGTH - 1] + "…"
