"""What both adapters do to the TCP side of a pipe."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Any

if sys.platform != "win32":
    import fcntl
    import termios

__all__ = ["CONNECT_TIMEOUT", "reset_when_closed", "send_at_once", "unsent"]

# Seconds that a local TCP service may take to answer.
CONNECT_TIMEOUT = 10.0

_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def send_at_once(tcp: socket.socket) -> None:
    """Hold back no small piece of data, as asyncio does for its own connections."""
    with contextlib.suppress(OSError):
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset_when_closed(tcp: Any) -> None:
    """Have a socket's close tell its peer that the connection broke: a plain close looks like a good end."""
    with contextlib.suppress(OSError):
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def unsent(tcp: Any) -> int:
    """Return how many bytes the kernel holds that the peer's has not acknowledged: a reset would drop them.

    0 where the system does not tell (Windows).
    """
    if sys.platform == "win32":
        return 0
    try:
        answer = fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except (OSError, ValueError):
        return 0
    count: int = struct.unpack("i", answer)[0]
    return count
