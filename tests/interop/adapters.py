"""Both adapters of pknet behind one set of coroutines, so that one test body serves both."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import pknet_asyncio
import pknet_blocking

Address = tuple[str, int]
T = TypeVar("T")
PIECE = 1 << 16


class Stream(Protocol):
    """A uTP connection of pknet."""

    async def write(self, data: bytes) -> None:
        """Send all of it, waiting for room."""

    async def read(self) -> bytes:
        """Return some bytes; none at the end."""

    async def finish(self) -> None:
        """Send our end; the other direction stays open."""

    async def close(self) -> None:
        """Close both directions, and wait until all is delivered; raise if the connection was lost."""

    async def abort(self) -> None:
        """Close at once."""


class Listener(Protocol):
    """A uTP server of pknet."""

    address: Address

    async def accept(self) -> Stream:
        """Return the next incoming connection."""


class Adapter(Protocol):
    """An adapter of pknet."""

    async def connect(self, address: Address) -> Stream:
        """Open a connection."""

    def listen(self, host: str = "127.0.0.1") -> AbstractAsyncContextManager[Listener]:
        """Listen on a port of the adapter's choice."""


async def read_to_end(stream: Stream) -> bytes:
    """Return everything up to the end of the stream."""
    pieces = []
    while piece := await stream.read():
        pieces.append(piece)
    return b"".join(pieces)


class AsyncioStream:
    """The streams of pknet_asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.closed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            self._writer.write(data[start : start + PIECE])
            await self._writer.drain()

    async def read(self) -> bytes:
        return await self._reader.read(PIECE)

    async def finish(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self.closed.set()
        self._writer.close()
        await self._writer.wait_closed()

    async def abort(self) -> None:
        self.closed.set()
        self._writer.transport.abort()


class AsyncioListener:
    """The server of pknet_asyncio."""

    def __init__(self) -> None:
        self.address: Address = ("", 0)
        self._accepted: asyncio.Queue[AsyncioStream] = asyncio.Queue()

    async def accept(self) -> Stream:
        return await self._accepted.get()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = AsyncioStream(reader, writer)
        self._accepted.put_nowait(stream)
        await stream.closed.wait()


class AsyncioAdapter:
    """pknet_asyncio."""

    async def connect(self, address: Address) -> Stream:
        return AsyncioStream(*await pknet_asyncio.open_utp_connection(*address))

    @contextlib.asynccontextmanager
    async def listen(self, host: str = "127.0.0.1") -> AsyncIterator[Listener]:
        listener = AsyncioListener()
        server = await pknet_asyncio.start_utp_server(listener.handle, host, 0)
        listener.address = server.address
        try:
            yield listener
        finally:
            server.close()
            await server.wait_closed()


class BlockingStream:
    """A connection of pknet_blocking, each call of which runs in a thread of its own."""

    def __init__(self, connection: pknet_blocking.Stream, threads: ThreadPoolExecutor) -> None:
        self._connection, self._threads = connection, threads

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def write(self, data: bytes) -> None:
        await self._call(self._connection.sendall, data)

    async def read(self) -> bytes:
        return await self._call(self._connection.recv, PIECE)

    async def finish(self) -> None:
        await self._call(self._connection.shutdown, socket.SHUT_WR)

    async def close(self) -> None:
        await self._call(self._connection.close)
        await self._call(self._connection.wait_closed)

    async def abort(self) -> None:
        await self._call(self._connection.abort)


class BlockingListener:
    """The server of pknet_blocking."""

    def __init__(self, server: pknet_blocking.UtpListener, threads: ThreadPoolExecutor) -> None:
        self._server, self._threads = server, threads
        self.address: Address = server.address

    async def accept(self) -> Stream:
        loop = asyncio.get_running_loop()
        connection, _ = await loop.run_in_executor(self._threads, self._server.accept)
        return BlockingStream(connection, self._threads)


class BlockingAdapter:
    """pknet_blocking."""

    def __init__(self) -> None:
        # As many threads as any test needs at once: a call that waits for its thread would wait for ever.
        self._threads = ThreadPoolExecutor(max_workers=200)

    async def connect(self, address: Address) -> Stream:
        connection = await asyncio.get_running_loop().run_in_executor(
            self._threads, pknet_blocking.create_connection, address
        )
        return BlockingStream(connection, self._threads)

    @contextlib.asynccontextmanager
    async def listen(self, host: str = "127.0.0.1") -> AsyncIterator[Listener]:
        server = pknet_blocking.create_server((host, 0))
        try:
            yield BlockingListener(server, self._threads)
        finally:
            await asyncio.get_running_loop().run_in_executor(self._threads, server.close)


ADAPTERS: dict[str, Callable[[], Adapter]] = {"asyncio": AsyncioAdapter, "blocking": BlockingAdapter}
