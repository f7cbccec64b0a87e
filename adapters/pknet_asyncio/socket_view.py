"""The UDP socket under a transport, as programs made for TCP expect to find one."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from pknet_io.options import set_for_stream

if TYPE_CHECKING:
    from pknet_io import UdpSocket
    from pknet_io.addresses import Address

__all__ = ["SocketView"]


class SocketView:
    """What a program may ask of a transport's socket, and set on it; it can't send, receive or close.

    The socket may have other connections beside this one: what is set holds for them too. `peername`: the
    peer of this connection, which the UDP socket itself does not know.
    """

    def __init__(self, udp_socket: UdpSocket, peername: Address | None = None) -> None:
        self._sock = udp_socket.sock
        self._peername = peername

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AddressFamily(self._sock.family)

    @property
    def type(self) -> socket.SocketKind:
        """SOCK_DGRAM."""
        return socket.SocketKind(self._sock.type)

    @property
    def proto(self) -> int:
        """The protocol number, 0 for the one that goes with the type."""
        return self._sock.proto

    def fileno(self) -> int:
        """Return the file descriptor, -1 once closed."""
        return self._sock.fileno()

    def getsockname(self) -> Any:
        """Return what the socket is bound to."""
        return self._sock.getsockname()

    def getpeername(self) -> Address:
        """Return the (host, port) of the connection's peer; a server's socket has none and raises OSError."""
        if self._peername is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._peername

    def getsockopt(self, *args: Any) -> Any:
        """Return an option of the socket, as socket.getsockopt does."""
        return self._sock.getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        """Set an option of the socket, as socket.setsockopt does; one that only TCP has is passed over."""
        set_for_stream(self._sock, *args)

    def __repr__(self) -> str:
        return f"<SocketView of {self._sock!r}>"
