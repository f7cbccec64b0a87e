"""A lock on a key file, which ends with the process that holds it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked"]

# Windows lets nobody read what is locked, so a byte that no key file has.
_BEYOND = 1 << 30


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have a key to this process alone while the block runs.

    Two nodes with one key are one node to their rendezvous nodes, and streams for either go to the other.
    """
    with path.open("rb") as file:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            raise click.ClickException(
                f"{path} is in use by another process; give this one a key of its own by --key"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        file.seek(_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
