"""Why a stream ended, as the exception that the program would get from a TCP socket; errors in words."""

from __future__ import annotations

import os
import socket

from pknet.utp import CloseReason

__all__ = ["connection_error", "system_words"]


def connection_error(reason: CloseReason, undelivered: int, *, at_eof: bool = False) -> OSError | None:
    """Return the exception for the end of a stream, None if nothing was lost.

    `undelivered`: bytes that the program gave and the peer has not acknowledged. `at_eof`: whether the peer
    had finished before; then a reset, or silence, took nothing from this side's program.
    """
    if at_eof and not undelivered and reason is not CloseReason.REFUSED:
        return None
    lost = f"; {undelivered} bytes were not delivered" if undelivered else ""
    message = f"{reason.value}{lost}"
    match reason:
        case CloseReason.FINISHED:
            return None
        case CloseReason.ABORTED:
            return ConnectionAbortedError(message) if undelivered else None
        case CloseReason.RESET:
            return ConnectionResetError(message)
        case CloseReason.REFUSED:
            return ConnectionRefusedError(message)
        case CloseReason.TIMED_OUT:
            return TimeoutError(message)


def system_words(error: OSError) -> str:
    """Return what the system calls an error, without its number or what the library put around it."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error) or "no answer in time"
    return os.strerror(error.errno)
