"""Handles for the addresses of this machine that datagrams come to, so that answers leave from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pknet_io import control

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pknet_io.constants import Family
    from pknet_io.control import Control
    from pknet_io.udp import UdpSocket

__all__ = ["LocalAddress", "LocalAddresses"]

# A stranger can make one socket see many addresses only where a whole prefix is routed to this machine.
_MAX_ADDRESSES = 1024


class LocalAddress:
    """A socket, and the address of this machine that a datagram came to: the `local` of pknet's machines.

    A socket has one object for each address, so two handles are equal only if they are the same.
    """

    __slots__ = ("host", "socket")

    def __init__(self, socket: UdpSocket, host: str) -> None:
        self.socket = socket
        self.host = host

    def __repr__(self) -> str:
        return f"LocalAddress({self.host!r}, fileno={self.socket.fileno()})"


class LocalAddresses:
    """The handles of one socket, found by the bytes of a PKTINFO message.

    Once there are too many, new addresses share the handle of the socket itself, and the system chooses where
    an answer leaves from.
    """

    def __init__(self, own: LocalAddress, family: Family) -> None:
        self.own = own
        self.by_message: dict[bytes, LocalAddress] = {}
        """The handles, by PKTINFO message."""
        self.sources: dict[Hashable, tuple[Control, ...]] = {}
        """The control messages that make a datagram leave from the address of a handle."""
        self._family = family
        self._by_host: dict[str, LocalAddress] = {}

    def learn(self, data: bytes) -> LocalAddress:
        """Return the handle of the address in a PKTINFO message that is not in `by_message` yet."""
        host = control.destination(self._family, data)
        local = self.own if host is None else self._by_host.get(host)
        if local is None:
            assert host is not None
            if len(self._by_host) >= _MAX_ADDRESSES:
                return self.own
            local = self._by_host[host] = LocalAddress(self.own.socket, host)
            self.sources[local] = (control.source(self._family, host),)
        # One address has several messages: by each interface, and for a broadcast.
        if len(self.by_message) >= 2 * _MAX_ADDRESSES:
            self.by_message.clear()
        self.by_message[data] = local
        return local
