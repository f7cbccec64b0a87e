"""Socket options: asked for, read back, and done without where the system has none."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from pknet_io import constants

__all__ = [
    "get",
    "read_buffer",
    "request_buffer",
    "segments_runs",
    "set_for_stream",
    "turn_on",
    "use_ipv6_only",
]


def turn_on(sock: socket.socket, level: int, option: int | None) -> bool:
    """Set a boolean option; return whether the system has it and took it."""
    if option is None:
        return False
    try:
        sock.setsockopt(level, option, 1)
    except OSError:
        return False
    return True


def get(sock: socket.socket, level: int, option: int | None) -> int | None:
    """Return an option's value, or None if the system does not have it."""
    if option is None:
        return None
    try:
        return sock.getsockopt(level, option)
    except OSError:
        return None


def segments_runs(sock: socket.socket) -> bool:
    """Return whether the kernel knows UDP_SEGMENT.

    It has to be asked: a kernel that does not know the control message ignores it, and would send a whole run
    as one large datagram.
    """
    return hasattr(sock, "sendmsg") and get(sock, constants.SOL_UDP, constants.UDP_SEGMENT) is not None


def use_ipv6_only(sock: socket.socket) -> bool:
    """Keep IPv4 off an IPv6 socket; return False where it is bound already, to both."""
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except OSError:
        return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    return True


def request_buffer(sock: socket.socket, option: int, size: int) -> None:
    """Ask for a buffer of `size` bytes (SO_RCVBUF, SO_SNDBUF), and for less where the system refuses so much.

    Linux gives what its limit allows without a word, and all of it to whoever may set the limit (root, or
    CAP_NET_ADMIN); the BSDs and macOS refuse.
    """
    if option in constants.FORCED:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, constants.FORCED[option], size)
            return
    while size:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, size)
        except OSError:
            size //= 2
        else:
            return


def read_buffer(sock: socket.socket, option: int) -> int:
    """Return the bytes that a buffer holds, in datagrams of about an MTU."""
    size = sock.getsockopt(socket.SOL_SOCKET, option)
    # Linux doubles what was asked for, to make room for its own bookkeeping, and tells the doubled number.
    return size // 2 if constants.LINUX else size


def set_for_stream(sock: socket.socket, *args: Any) -> None:
    """Set an option on the UDP socket of a stream, as socket.setsockopt does; pass over one of TCP alone.

    TCP_NODELAY and SO_KEEPALIVE are set on whatever comes, and what they ask for is uTP's own doing:
    UtpConfig.nagle and UtpConfig.keepalive.
    """
    level, option, *_ = args
    if level != socket.IPPROTO_TCP and (level, option) != (socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        sock.setsockopt(*args)
