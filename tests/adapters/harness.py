"""Both adapters behind the same verbs, so that each test body is run for both.

The bodies are coroutines. What belongs to the blocking adapter runs in threads; what a body gives it to call
(handlers, look-ups) is run back in the body's loop. As both adapters have the same names, `call` is most of
what is needed: `await adapter.call(network.start)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import pknet_asyncio
import pknet_blocking
from pknet.network import RendezvousInfo
from pknet_io.network import NetworkOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pknet.network import NodeInfo
    from pknet.utp import UtpConfig

__all__ = [
    "ADAPTERS",
    "Adapter",
    "Address",
    "AsyncioAdapter",
    "Server",
    "Stream",
    "digest",
    "echo",
    "open_sockets",
    "pknet_threads",
    "read_all",
    "serve_nobody",
    "until",
    "wait_until",
]

Address = tuple[str, int]
PIECE = 1 << 16
LOOPBACK = "127.0.0.1"


class Stream(Protocol):
    """A stream of either adapter."""

    raw: Any
    """What the adapter itself gives: a StreamWriter, or a Stream."""
    node_id: Any
    remote: Any

    async def read(self, limit: int = PIECE) -> bytes:
        """Return some bytes, none at the end."""

    async def write(self, data: bytes) -> None:
        """Send all of it, waiting for room."""

    async def write_until_full(self) -> int:
        """Send zeros until there has been no room for half a second; return how many were taken."""

    async def finish(self) -> None:
        """End this direction."""

    async def close(self) -> None:
        """Close, and wait until all is over; raise what went wrong."""

    async def close_soon(self) -> None:
        """Close, and don't wait."""

    async def abort(self) -> None:
        """End it at once."""

    def stats(self) -> Any:
        """The figures of the uTP connection beneath."""


class Server(Protocol):
    """A uTP server of either adapter."""

    address: Address

    def connections(self) -> list[Any]:
        """The record of open connections."""

    async def close(self) -> None:
        """Accept no more."""

    async def wait_closed(self) -> None:
        """Wait for its connections."""


async def read_all(stream: Stream) -> bytes:
    """Read to the end."""
    pieces = []
    while piece := await stream.read():
        pieces.append(piece)
    return b"".join(pieces)


async def read_until_broken(stream: Stream) -> bytes:
    """Return all that comes before the stream breaks; it must not end in peace."""
    data = bytearray()
    with pytest.raises(ConnectionError):
        while part := await stream.read():
            data += part
    return bytes(data)


async def echo(stream: Stream) -> None:
    """Send back what comes, and end when it ends."""
    while piece := await stream.read():
        await stream.write(piece)
    await stream.close()


async def serve_nobody(stream: Stream) -> None:
    """Leave the stream open and do nothing with it."""


def digest(data: bytes) -> str:
    """Name data, so that a failing comparison stays readable."""
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()}"


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; pytest's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 (what is waited for is no event of ours)
        await asyncio.sleep(0.002)


def wait_until(condition: Callable[[], object]) -> None:
    """Do the same where nothing else runs in this thread."""
    while not condition():
        time.sleep(0.002)


class Adapter:
    """What both have in common."""

    name: str
    module: Any

    def __init__(self) -> None:
        self.logger = logging.getLogger(f"tests.{self.name}")

    async def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call what in one adapter is a coroutine function, or a plain one, and in the other waits."""
        raise NotImplementedError

    async def connect(self, address: Address, config: UtpConfig | None = None) -> Stream:
        """Open a plain uTP connection."""
        raise NotImplementedError

    def serve(
        self, handler: Any, host: str = LOOPBACK, config: UtpConfig | None = None
    ) -> contextlib.AbstractAsyncContextManager[Server]:
        """Run a plain uTP server, whose `handler(stream)` is a coroutine function."""
        raise NotImplementedError

    def stream(self, given: Any) -> Stream:
        """Return what the adapter's own `connect` gave as a stream of the harness."""
        raise NotImplementedError

    def handler(self, handler: Any) -> Any:
        """Return `handler(stream)`, a coroutine function, as the adapter calls it."""
        raise NotImplementedError

    def signalling_pair(self) -> contextlib.AbstractAsyncContextManager[tuple[Any, Any]]:
        """Return the arguments for two ends of a program's own byte stream."""
        raise NotImplementedError

    def signalling_nodes(self, nodes: Any, connect: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return the same nodes, of which `connect_to_node` is the coroutine function `connect`."""
        raise NotImplementedError

    def nodes(self, *args: Any, **named: Any) -> Any:
        """Return the ready nodes object."""
        named.setdefault("logger", self.logger)
        return self.module.RendezvousNodes(*args, **named)

    def make_network(self, nodes: Any = None, handler: Any = None, **options: Any) -> Any:
        """Make a network on loopback."""
        options = {"host": LOOPBACK, "port": 0, **options}
        return self.module.Network(
            self.nodes() if nodes is None else nodes,
            NetworkOptions(**options),
            handler=None if handler is None else self.handler(handler),
        )

    @contextlib.asynccontextmanager
    async def network(self, nodes: Any = None, handler: Any = None, **options: Any) -> AsyncIterator[Any]:
        """Run a network on loopback."""
        network = self.make_network(nodes, handler, **options)
        await self.call(network.start)
        try:
            yield network
        finally:
            await self.call(network.stop)

    @contextlib.asynccontextmanager
    async def rendezvous(self) -> AsyncIterator[RendezvousInfo]:
        """Run a rendezvous node."""
        async with self.network(introduces=True, alternate_port=0) as network:
            yield RendezvousInfo(network.node_id, (network.address,))

    def nodes_for(self, *infos: NodeInfo, **named: Any) -> Any:
        """Return nodes that know of others."""
        return self.nodes(nodes=infos, **named)

    def info_of(self, network: Any) -> NodeInfo:
        """Return what the bearer of a ticket knows of a network without rendezvous nodes."""
        return network.make_ticket(()).to_node_info()

    async def open(self, network: Any, node_id: Any, **named: Any) -> Stream:
        """Open a stream to a node."""
        return self.stream(await self.call(network.connect, node_id, **named))

    def close(self) -> None:
        """Give back what the harness itself holds."""


class AsyncioStream:
    """A (reader, writer)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.raw = writer
        self.node_id = writer.get_extra_info("node_id")
        self.remote = writer.get_extra_info("peername")

    async def read(self, limit: int = PIECE) -> bytes:
        return await self.reader.read(limit)

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            self.writer.write(data[start : start + PIECE])
            await self.writer.drain()

    async def write_until_full(self) -> int:
        taken = 0
        try:
            while True:
                self.writer.write(bytes(PIECE))
                taken += PIECE
                async with asyncio.timeout(0.5):
                    await self.writer.drain()
        except TimeoutError:
            return taken

    async def finish(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def close_soon(self) -> None:
        self.writer.close()

    async def abort(self) -> None:
        self.writer.transport.abort()

    def stats(self) -> Any:
        stats = self.writer.get_extra_info("utp_stats")
        assert stats == self.writer.transport.stats()  # type: ignore[attr-defined]
        return stats


class AsyncioServer:
    """A UtpServer."""

    def __init__(self, server: pknet_asyncio.UtpServer) -> None:
        self.server = server
        self.address = server.address

    def connections(self) -> list[Any]:
        return list(self.server.connections)

    async def close(self) -> None:
        self.server.close()

    async def wait_closed(self) -> None:
        await self.server.wait_closed()


class AsyncioAdapter(Adapter):
    """pknet_asyncio."""

    name = "asyncio"
    module = pknet_asyncio

    async def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        return await result if asyncio.iscoroutine(result) else result

    async def connect(self, address: Address, config: UtpConfig | None = None) -> Stream:
        return AsyncioStream(*await pknet_asyncio.open_utp_connection(*address, config=config))

    @contextlib.asynccontextmanager
    async def serve(
        self, handler: Any, host: str = LOOPBACK, config: UtpConfig | None = None
    ) -> AsyncIterator[Server]:
        server = await pknet_asyncio.start_utp_server(self.handler(handler), host, 0, config=config)
        try:
            yield AsyncioServer(server)
        finally:
            server.close()
            server.abort_clients()
            await server.wait_closed()

    def stream(self, given: Any) -> Stream:
        return AsyncioStream(*given)

    def handler(self, handler: Any) -> Any:
        return lambda reader, writer: handler(AsyncioStream(reader, writer))

    @contextlib.asynccontextmanager
    async def signalling_pair(self) -> AsyncIterator[tuple[Any, Any]]:
        one, other = socket.socketpair()
        ends = await asyncio.open_connection(sock=one), await asyncio.open_connection(sock=other)
        try:
            yield ends
        finally:
            for _, writer in ends:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def signalling_nodes(self, nodes: Any, connect: Callable[[Any], Awaitable[Any]]) -> Any:
        nodes.connect_to_node = connect
        return nodes


class BlockingStream:
    """A Stream."""

    def __init__(self, stream: pknet_blocking.Stream, adapter: BlockingAdapter) -> None:
        self.raw = stream
        self.node_id = stream.node_id
        self.remote = stream.getpeername()
        self._call = adapter.call

    async def read(self, limit: int = PIECE) -> bytes:
        data: bytes = await self._call(self.raw.recv, limit)
        return data

    async def write(self, data: bytes) -> None:
        await self._call(self.raw.sendall, data)

    async def write_until_full(self) -> int:
        def write() -> int:
            self.raw.settimeout(0.5)
            taken = 0
            try:
                while True:
                    taken += self.raw.send(bytes(PIECE))
            except TimeoutError:
                return taken
            finally:
                self.raw.settimeout(None)

        taken: int = await self._call(write)
        return taken

    async def finish(self) -> None:
        await self._call(self.raw.shutdown, socket.SHUT_WR)

    async def close(self) -> None:
        await self._call(self.raw.close)
        await self._call(self.raw.wait_closed)

    async def close_soon(self) -> None:
        await self._call(self.raw.close)

    async def abort(self) -> None:
        await self._call(self.raw.abort)

    def stats(self) -> Any:
        return self.raw.stats()


class BlockingServer:
    """A UtpListener."""

    def __init__(self, listener: pknet_blocking.UtpListener, adapter: BlockingAdapter) -> None:
        self.listener = listener
        self.address = listener.address
        self._call = adapter.call

    def connections(self) -> list[Any]:
        return list(self.listener.connections)

    async def close(self) -> None:
        await self._call(self.listener.close)

    async def wait_closed(self) -> None:
        await self._call(self.listener.wait_closed)


class BlockingAdapter(Adapter):
    """pknet_blocking."""

    name = "blocking"
    module = pknet_blocking

    def __init__(self) -> None:
        super().__init__()
        # More than any test waits in at once: a call that waits for its thread would wait for ever.
        self._threads = ThreadPoolExecutor(300, "test")
        # A stream that nobody holds would be closed; in asyncio its server or network holds it.
        self._streams: list[pknet_blocking.Stream] = []

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        self._streams.clear()
        self._threads.shutdown()

    async def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*arguments, **named))

    async def connect(self, address: Address, config: UtpConfig | None = None) -> Stream:
        return self.stream(await self.call(pknet_blocking.create_connection, address, config=config))

    @contextlib.asynccontextmanager
    async def serve(
        self, handler: Any, host: str = LOOPBACK, config: UtpConfig | None = None
    ) -> AsyncIterator[Server]:
        listener = pknet_blocking.create_server((host, 0), config=config)
        handle = self.handler(handler)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    stream, _ = listener.accept()
                    self._threads.submit(handle, stream)

        accepting = asyncio.ensure_future(self.call(accept))
        try:
            yield BlockingServer(listener, self)
        finally:
            await self.call(listener.close)
            await accepting
            for stream in listener.connections:
                await self.call(stream.abort)
            await self.call(listener.wait_closed)

    def stream(self, given: Any) -> Stream:
        self._streams.append(given)
        return BlockingStream(given, self)

    def handler(self, handler: Any) -> Any:
        loop = asyncio.get_running_loop()
        return lambda stream: asyncio.run_coroutine_threadsafe(handler(self.stream(stream)), loop).result()

    @contextlib.asynccontextmanager
    async def signalling_pair(self) -> AsyncIterator[tuple[Any, Any]]:
        one, other = socket.socketpair()
        with one, other:
            yield (one,), (other,)

    def signalling_nodes(self, nodes: Any, connect: Callable[[Any], Awaitable[Any]]) -> Any:
        loop = asyncio.get_running_loop()
        nodes.connect_to_node = lambda node_id: asyncio.run_coroutine_threadsafe(
            connect(node_id), loop
        ).result()[0]
        return nodes


ADAPTERS: dict[str, type[Adapter]] = {"asyncio": AsyncioAdapter, "blocking": BlockingAdapter}


def pknet_threads() -> list[threading.Thread]:
    """Return the threads of this process that belong to pknet."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("pknet")]


def open_sockets() -> dict[str, str]:
    """Return this process's sockets, by file descriptor; none where the system does not tell."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                target = os.readlink(f"/proc/self/fd/{number}")
                if target.startswith("socket:"):
                    found[number] = target
    return found
