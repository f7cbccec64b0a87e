"""What is asked of the arguments of plain uTP, before anything is opened."""

from __future__ import annotations

import asyncio
import socket
from ssl import SSLContext
from typing import TYPE_CHECKING, NamedTuple

from pknet_io.addresses import to_sockaddr
from pknet_io.names import of_family, resolve

if TYPE_CHECKING:
    from pknet_io.addresses import Address

__all__ = ["TlsArguments", "check_address", "look_up", "look_up_all"]


class TlsArguments(NamedTuple):
    """The arguments that say whether there is TLS over uTP, and how."""

    ssl: SSLContext | bool | None
    server_hostname: str | None
    handshake_timeout: float | None
    shutdown_timeout: float | None

    def check(self) -> None:
        """Raise TypeError or ValueError if they make no sense."""
        if not isinstance(self.ssl, SSLContext | bool | None):
            raise TypeError(f"ssl: an SSLContext is needed, not {type(self.ssl).__name__!r}")
        if not self.ssl and self[1:] != (None, None, None):
            raise ValueError("server_hostname and the timeouts of TLS are only meaningful with ssl")


def check_address(host: object, port: object) -> None:
    """Raise TypeError if this is not the (host, port) of pknet: no service names, no numbers as text."""
    if not isinstance(host, str):
        raise TypeError(f"host: a str is needed, not {type(host).__name__!r}")
    if not isinstance(port, int):
        raise TypeError(f"port: an int is needed, not {type(port).__name__!r}")


async def look_up(host: str, port: int, own: Address | None) -> list[Address]:
    """Return the addresses to dial, of those that a socket bound to `own` can send to.

    Raises OSError if there is none, or if nobody can have that port, OverflowError if there is no such port.
    """
    check_address(host, port)
    return of_family(host, await look_up_all(host, port), own)


async def look_up_all(host: str, port: int) -> list[Address]:
    """Return a host's addresses; a thread is only needed for names."""
    if any(to_sockaddr((host, 0), family) is not None for family in (socket.AF_INET, socket.AF_INET6)):
        return resolve(host, port)
    return await asyncio.get_running_loop().run_in_executor(None, resolve, host, port)
