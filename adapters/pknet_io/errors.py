"""Why a stream ended, as the exception that the program would get from a TCP socket; errors in words."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from pknet.utp import CloseReason

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["connection_error", "system_words"]

_ERRNO = {
    CloseReason.ABORTED: errno.ECONNABORTED,
    CloseReason.RESET: errno.ECONNRESET,
    CloseReason.REFUSED: errno.ECONNREFUSED,
    CloseReason.TIMED_OUT: errno.ETIMEDOUT,
}


def connection_error(
    reason: CloseReason, undelivered: int, *, at_eof: bool = False, remote: Hashable | None = None
) -> OSError | None:
    """Return the exception for the end of a stream, None if nothing was lost.

    `undelivered`: bytes that the program gave and the peer has not acknowledged. `at_eof`: whether the peer
    had finished before; then a reset, or silence, took nothing from this side's program. `remote`: whom the
    message is to name, for a stream that never opened. The errno is TCP's.
    """
    if at_eof and not undelivered and reason is not CloseReason.REFUSED:
        return None
    if reason is CloseReason.FINISHED or (reason is CloseReason.ABORTED and not undelivered):
        return None
    whom = "" if remote is None else f": {remote}"
    lost = f"; {undelivered} bytes were not delivered" if undelivered else ""
    # OSError itself chooses the class: ConnectionRefusedError, TimeoutError …
    return OSError(_ERRNO[reason], f"{reason.value}{whom}{lost}")


def system_words(error: OSError) -> str:
    """Return what the system calls an error, without its number or what the library put around it."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error) or "no answer in time"
    return os.strerror(error.errno)
