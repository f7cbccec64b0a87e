"""A file descriptor for what has none: it shows `select` when there is something to do."""

from __future__ import annotations

import contextlib
import socket as sockets

__all__ = ["Descriptor"]

# The least that systems give; what fills it lies in the kernel for as long as there is no room.
BUFFER = 1 << 12


class Descriptor:
    """One end of a socket pair: readable while a byte lies in it, not writable while its buffer is full."""

    def __init__(self) -> None:
        self._shown, self._hidden = sockets.socketpair()
        self._shown.setblocking(False)
        self._hidden.setblocking(False)
        self._shown.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, BUFFER)
        self._hidden.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, BUFFER)
        self._is_readable = False
        self._is_writable = True

    def fileno(self) -> int:
        """Return the number of the descriptor."""
        return self._shown.fileno()

    def show(self, *, readable: bool, writable: bool) -> None:
        """Change what `select` finds."""
        if readable and not self._is_readable:
            self._hidden.send(b"\0")
        elif self._is_readable and not readable:
            _empty(self._shown)
        if writable and not self._is_writable:
            _empty(self._hidden)
        elif self._is_writable and not writable:
            _fill(self._shown)
        self._is_readable, self._is_writable = readable, writable

    def close(self) -> None:
        """Give both ends back to the system."""
        self._shown.close()
        self._hidden.close()


def _empty(sock: sockets.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while sock.recv(BUFFER):
            pass


def _fill(sock: sockets.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while sock.send(bytes(BUFFER)):
            pass
