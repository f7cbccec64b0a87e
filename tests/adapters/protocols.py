"""Protocols for asyncio that note what they are told, and connections between two of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pknet_asyncio
from pknet.utp import UtpConfig
from tests.adapters.harness import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# Buffers that don't grow: they have to fill in some tests.
FIXED = UtpConfig(receive_buffer=1 << 20, send_buffer=1 << 20)


class Protocol(asyncio.Protocol):
    """Notes what it is told, and what comes; leaves its side open when the other ends."""

    stays_open = True

    def __init__(self) -> None:
        self.told: list[str] = []
        self.received = bytearray()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append("data")
        self.received += data

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stays_open

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append("lost")
        self.lost.set_result(error)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class ClosingProtocol(Protocol):
    """Does the same, and has its side closed when the other ends."""

    stays_open = False


class BufferedProtocol(asyncio.BufferedProtocol):
    """Has what comes put into a small buffer of its own."""

    def __init__(self, size: int = 700) -> None:
        self.buffer = bytearray(size)
        self.received = bytearray()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


async def connect(address: tuple[str, int], protocol: Any, **options: Any) -> Any:
    """Open a connection of a protocol and return its transport."""
    transport, _ = await pknet_asyncio.create_utp_connection(lambda: protocol, *address, **options)
    return transport


@contextlib.asynccontextmanager
async def joined(
    make_one: Callable[[], Any] = Protocol, make_other: Callable[[], Any] = Protocol
) -> AsyncIterator[tuple[Any, Any]]:
    """Give the protocols of the initiator and of the acceptor of a connection."""
    accepted: list[Any] = []

    def accept() -> Any:
        accepted.append(make_other())
        return accepted[-1]

    async with await pknet_asyncio.create_utp_server(accept, "127.0.0.1", config=FIXED) as server:
        one = make_one()
        transport = await connect(server.address, one, config=FIXED)
        await until(lambda: accepted)
        try:
            yield one, accepted[0]
        finally:
            transport.abort()
            server.abort_clients()


def unhandled_exceptions() -> list[str]:
    """Return what the loop is told from now on."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(str(context["exception"]))
    )
    return told
