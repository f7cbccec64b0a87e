"""A uTP peer that takes a connection and is never heard of again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from pknet.utp import ConnectionAccepted, UtpEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def silent_peer() -> AsyncIterator[tuple[str, int]]:
    """Give the address of a peer that goes silent as soon as it has accepted."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)

        async def accept() -> None:
            endpoint = UtpEndpoint(os.urandom)
            while not any(isinstance(event, ConnectionAccepted) for event in endpoint.events()):
                data, remote = await loop.sock_recvfrom(sock, 2048)
                endpoint.receive_datagram(data, remote, None, loop.time())
                for transmit in endpoint.transmits():
                    await loop.sock_sendto(sock, transmit.data, transmit.remote)

        accepting = asyncio.ensure_future(accept())
        try:
            yield sock.getsockname()
        finally:
            accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await accepting
