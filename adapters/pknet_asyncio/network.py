"""The network module for asyncio: a node with its socket, its streams and its pipes."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Self

from pknet.network import Channel, NodeId, NodeStream, SignallingData, SignallingEnded, SignallingWanted
from pknet.utp import ConnectionAccepted, ConnectionClosed, UtpEvent
from pknet_asyncio.driver import Driver
from pknet_asyncio.pipe import join
from pknet_asyncio.transport import StreamTransport
from pknet_io.network import (
    ConnectError,
    NetworkBase,
    NetworkOptions,
    PipeRecord,
    UndeliveredError,
    open_socket,
    resolve_info,
    resolve_rendezvous,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from pknet.network import RendezvousInfo
    from pknet_asyncio.nodes import AsyncNodes

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]

__all__ = ["Forwarder", "Network"]

READER_LIMIT = 1 << 18
SIGNALLING_CHUNK = 1 << 14


class Network(NetworkBase):
    """A node: opens streams to others by whatever path works, and takes theirs.

    `nodes`: who this node is and what is known of others. `handler(reader, writer)`: called for each incoming stream that
    is admitted; without it each is piped to `options.service`. Use it as `async with Network(nodes) as network`.
    """

    def __init__(
        self, nodes: AsyncNodes, options: NetworkOptions | None = None, *, handler: Handler | None = None
    ) -> None:
        super().__init__(nodes, options or NetworkOptions())
        self._handler = handler
        self._transports: set[StreamTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwarders: set[Forwarder] = set()
        self._signalling: dict[int, asyncio.Queue[bytes | None]] = {}
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Open the uTP server, then the NAT traversal service on the same socket.

        Raises OSError if the address can't be bound, and then nothing is left open. Harmless if started.
        """
        async with self._lock:
            if self._node is not None:
                return
            udp_socket = open_socket(self.options.host, self.options.port)
            try:
                node = self._make_node()
                self._socket = udp_socket
                self._driver = Driver(node, udp_socket, self._on_event)
                self._node = node
                info = await self.nodes.this_node()
                node.start(self.local_addresses, self._driver.now)
                for rendezvous in info.rendezvous:
                    resolved = await asyncio.to_thread(resolve_rendezvous, rendezvous)
                    node.register(resolved, self._driver.now)
                self._driver.drain()
            except BaseException:
                self._discard()
                udp_socket.close()
                raise
            self.logger.info("node %s listens on UDP %s port %d", self.node_id, *udp_socket.address)

    async def stop(self) -> None:
        """Stop the NAT traversal service, then the uTP server, and close every stream and pipe.

        What the program gave is still delivered, for at most `options.stop_timeout` seconds. Raises UndeliveredError if
        that was not long enough. Harmless if stopped.
        """
        async with self._lock:
            node = self._node
            if node is None:
                return
            for forwarder in list(self._forwarders):
                forwarder.close()
            node.stop(self._driver.now)
            for task in list(self._tasks):
                task.cancel()
            for transport in list(self._transports):
                transport.close()
            self._driver.drain()
            await self._wait_delivered()
            left = [
                (stream.peer, count)
                for stream in list(node.streams)
                if (count := self._undelivered_of(stream))
            ]
            for transport in list(self._transports):
                transport.abort()
            self._driver.drain()
            self._discard()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.pipes.clear()
            self.logger.info("node %s stopped", self.node_id)
            if left:
                raise UndeliveredError(left)

    async def __aenter__(self) -> Self:
        """Start the network."""
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop the network."""
        await self.stop()

    async def connect(self, node_id: NodeId) -> Streams:
        """Open a stream to a node, over whatever path works, and return its (reader, writer).

        The writer's `get_extra_info("node_id")` is the node's id, proven; "peername" is its address. Raises ConnectError
        if the node is not known or can't be reached.
        """
        info = await self.nodes.get_node(node_id)
        if info is None:
            raise ConnectError(f"nothing is known of node {node_id}")
        resolved = await asyncio.to_thread(resolve_info, info)
        node = self._running()
        stream = node.connect(resolved, self._driver.now)
        reader = asyncio.StreamReader(READER_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = self._add_transport(stream, protocol, {"node_id": node_id})
        self._driver.drain()
        try:
            await transport.opened
        except OSError as error:
            raise ConnectError(f"node {node_id}: {stream.failure or error}") from None
        except BaseException:
            transport.abort()
            raise
        return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())

    async def forward(self, node_id: NodeId, host: str = "127.0.0.1", port: int = 0) -> Forwarder:
        """Listen on a local TCP port and join each connection to a new stream to a node."""
        forwarder = Forwarder(self, node_id)
        await forwarder.listen(host, port)
        self._forwarders.add(forwarder)
        return forwarder

    async def open_signalling(self, node_id: NodeId, rendezvous: Iterable[RendezvousInfo]) -> Streams:
        """Open a signalling channel to a node through a rendezvous node. Raises ConnectError if none is known."""
        resolved = [await asyncio.to_thread(resolve_rendezvous, info) for info in rendezvous]
        if not resolved:
            raise ConnectError("no rendezvous node is known that could introduce it")
        channel = self._running().open_channel(resolved, node_id, self._driver.now)
        reader = asyncio.StreamReader(READER_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = StreamTransport(self._driver, channel, lambda: protocol, lambda _: None)
        self._driver.drain()
        await transport.opened
        return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())

    async def accept_signalling(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a signalling stream that another node's program opened to this one; return when it has served."""
        number = self._running().accept_signalling(self._driver.now)
        await self._carry_signalling(number, reader, writer)

    # Events of the node.

    def _on_event(self, event: Any) -> None:
        match event:
            case ConnectionAccepted(NodeStream() as stream):
                self._accept(stream)
                stream.context.handle_event(event)
            case SignallingWanted(number, node_id):
                self._signalling[number] = asyncio.Queue()
                self._run(self._signal(number, node_id))
            case SignallingData(number, data):
                if number in self._signalling:
                    self._signalling[number].put_nowait(data)
            case SignallingEnded(number):
                if number in self._signalling:
                    self._signalling[number].put_nowait(None)
            case UtpEvent():
                if event.connection.context is not None:
                    event.connection.context.handle_event(event)
            case _:
                self._handle_node_event(event)

    def _accept(self, stream: NodeStream) -> None:
        reader = asyncio.StreamReader(READER_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = self._add_transport(stream, protocol, {"node_id": stream.peer})
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        self._run(self._handle(stream, transport, reader, writer))

    async def _handle(
        self, stream: NodeStream, transport: StreamTransport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await transport.opened
        try:
            if self._handler is not None:
                result = self._handler(reader, writer)
                if inspect.isawaitable(result):
                    await result
            elif self.options.service is not None:
                await self._pipe_to_service(stream, (reader, writer), self.options.service)
            else:
                self.logger.warning("node %s opened a stream, but there is no handler and no service", stream.peer)
                transport.abort()
        except Exception:
            self.logger.exception("the handler of a stream from node %s failed", stream.peer)
            transport.abort()

    async def _pipe_to_service(self, stream: NodeStream, streams: Streams, service: tuple[str, int]) -> None:
        try:
            tcp = await asyncio.open_connection(*service)
        except OSError as error:
            self.logger.warning("the local service %s port %d does not answer: %s", *service, error)
            streams[1].transport.abort()
            return
        await self._join(stream.peer, streams, tcp, service)

    async def _join(self, node_id: NodeId | None, streams: Streams, tcp: Streams, address: tuple[str, int]) -> None:
        record = PipeRecord(node_id, address)
        self.pipes.add(record)
        try:
            await join(streams, tcp, record)
        finally:
            self.pipes.discard(record)

    async def _signal(self, number: int, node_id: NodeId) -> None:
        """Open the signalling stream that the node asked for, and carry its bytes."""
        node = self._running()
        try:
            reader, writer = await self.nodes.connect_to_node(node_id)
        except (OSError, ConnectError) as error:
            node.signalling_ended(number, str(error), self._driver.now)
            self._driver.drain()
            self._signalling.pop(number, None)
        else:
            node.signalling_opened(number, self._driver.now)
            self._driver.drain()
            await self._carry_signalling(number, reader, writer)

    async def _carry_signalling(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        node = self._running()
        queue = self._signalling.setdefault(number, asyncio.Queue())
        sender = asyncio.create_task(self._send_signalling(queue, writer))
        reason = ""
        try:
            while data := await reader.read(SIGNALLING_CHUNK):
                node.receive_signalling(number, data, self._driver.now)
                self._driver.drain()
        except OSError as error:
            reason = str(error)
        finally:
            sender.cancel()
            writer.close()
            self._signalling.pop(number, None)
        stream = getattr(writer.transport, "stream", None)
        if isinstance(stream, Channel) and stream.failure:
            reason = stream.failure
        node.signalling_ended(number, reason, self._driver.now)
        self._driver.drain()

    @staticmethod
    async def _send_signalling(queue: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter) -> None:
        while (data := await queue.get()) is not None:
            writer.write(data)
            await writer.drain()
        writer.close()

    # Housekeeping.

    def _add_transport(
        self, stream: NodeStream, protocol: asyncio.StreamReaderProtocol, extra: dict[str, Any]
    ) -> StreamTransport:
        transport = StreamTransport(self._driver, stream, lambda: protocol, self._on_lost, extra)
        self._transports.add(transport)
        return transport

    def _on_lost(self, transport: StreamTransport) -> None:
        self._transports.discard(transport)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_delivered(self) -> None:
        """Wait until every transport is over, within the bound that the options give."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.options.stop_timeout
        while self._transports and loop.time() < deadline:
            waiting = [transport.lost for transport in self._transports]
            await asyncio.wait(waiting, timeout=deadline - loop.time())

    def _undelivered_of(self, stream: NodeStream) -> int:
        backlog = 0 if stream.context is None else stream.context.get_write_buffer_size()
        return stream.unacknowledged + backlog

    def _discard(self) -> None:
        if self._driver is not None:
            self._driver.close()
        self._node = self._socket = self._driver = None


class Forwarder:
    """A local TCP port whose connections go to a node; get one from `Network.forward`."""

    def __init__(self, network: Network, node_id: NodeId) -> None:
        self.node_id = node_id
        self.failures = 0
        self._network = network
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that is listened on."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Listen no more; connections that are open go on."""
        if self._server is not None:
            self._server.close()
        self._network._forwarders.discard(self)  # noqa: SLF001 - the network's own record

    async def listen(self, host: str, port: int) -> None:
        """Open the port. Raises OSError if that fails."""
        self._server = await asyncio.start_server(self._serve, host, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        network = self._network
        try:
            streams = await network.connect(self.node_id)
        except ConnectError as error:
            self.failures += 1
            network.logger.warning("a forwarded connection was closed: %s", error)
            writer.transport.abort()
            return
        await network._join(self.node_id, streams, (reader, writer), writer.get_extra_info("peername")[:2])  # noqa: SLF001
