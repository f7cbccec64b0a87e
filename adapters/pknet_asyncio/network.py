"""The network module for asyncio: a node with its socket, its streams and its pipes."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Self

from pknet.errors import PknetError
from pknet.network import (
    NodeId,
    NodeStream,
    Purpose,
    SignallingData,
    SignallingEnded,
    SignallingWanted,
)
from pknet.utp import ConnectionAccepted, UtpEvent
from pknet_asyncio.driver import Driver
from pknet_asyncio.forwarder import Forwarder
from pknet_asyncio.pipe import Pipe
from pknet_asyncio.reader import StreamReader
from pknet_asyncio.signalling import Signalling
from pknet_asyncio.transport import StreamTransport
from pknet_io.ending import PARTING_TIME
from pknet_io.errors import system_words
from pknet_io.network import (
    LOOK_UP_RETRY,
    UNPASSED_INTERVAL,
    ConnectError,
    NetworkBase,
    NetworkOptions,
    PipeRecord,
    UndeliveredError,
    open_socket,
    resolve_info,
    resolve_rendezvous,
    why_not_reached,
)
from pknet_io.tcp import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from pknet.machine import ByteStream
    from pknet.network import Node, NodeInfo, RendezvousInfo
    from pknet_asyncio.nodes import AsyncNodes

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]

__all__ = ["Network"]

READER_LIMIT = 1 << 18


class Network(NetworkBase):
    """A node: opens streams to others by whatever path works, and takes theirs.

    `nodes`: who this node is and what is known of others. `handler(reader, writer)`: called for each incoming
    stream that is admitted; without it each is piped to `options.service`. Use it as
    `async with Network(nodes) as network`.
    """

    def __init__(
        self, nodes: AsyncNodes, options: NetworkOptions | None = None, *, handler: Handler | None = None
    ) -> None:
        super().__init__(nodes, options or NetworkOptions())
        self._handler = handler
        self._lock = asyncio.Lock()
        self._looking_up: asyncio.Future[NodeInfo] | None = None
        self._stops = 0
        self._is_stopping = False
        self._signalling: Signalling | None = None
        self._rendezvous: tuple[RendezvousInfo, ...] = ()
        # The writers too: a stream lives on if its handler returns without having closed it.
        self._transports: dict[StreamTransport, asyncio.StreamWriter | None] = {}
        self._handlers: dict[StreamTransport, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwarders: set[Forwarder] = set()
        self._undelivered: list[tuple[NodeId | None, int]] = []

    async def start(self) -> None:
        """Open the uTP server, then the NAT traversal service on the same socket.

        Raises OSError if the address can't be bound, PknetError if it is stopped meanwhile; then nothing is
        left open. Harmless if started.
        """
        async with self._lock:
            if self._node is not None:
                return
            self._is_stopping = False
            self._undelivered = []
            udp_socket = open_socket(self.options.host, self.options.port)
            try:
                node = self._make_node()
                self._socket = udp_socket
                self._driver = Driver(node, udp_socket, self._on_event)
                self._signalling = Signalling(node, self._driver, self.nodes.connect_to_node, self.logger)
                self._node = node
                self._rendezvous = (await self._look_up_this_node()).rendezvous
                node.start(self.local_addresses, self._driver.now)
                self._driver.drain()
            except BaseException:
                # Streams may have come in already, while the program was asked about this node.
                if self._node is not None:
                    self._break_off(self._node)
                else:
                    self._discard()
                udp_socket.close()
                for task in self._tasks:
                    task.cancel()
                raise
            for rendezvous in self._rendezvous:
                self._run(self._register(node, rendezvous))
            self.logger.info("node %s listens on UDP %s port %d", self.node_id, *udp_socket.address)

    async def stop(self) -> None:
        """Stop the NAT traversal service, then the uTP server, and close every stream and pipe.

        What was given to them is still delivered, for at most `options.stop_timeout` seconds. Raises
        UndeliveredError if that was not long enough. Handlers that still run are cancelled, and what was cut
        off so is no good end to the peer. Harmless if stopped.
        """
        self._stops += 1
        if self._looking_up is not None:
            self._looking_up.cancel()
        async with self._lock:
            node = self._node
            if node is None:
                return
            deadline = self._driver.now + self.options.stop_timeout
            try:
                await self._begin_to_stop(node)
                await self._let_deliver(node, deadline)
            finally:
                left = self._break_off(node)
        # Without the lock: a handler may be waiting for it, to stop the network too.
        await self._wait_for_the_rest()
        self.logger.info("node %s stopped", self.node_id)
        if left:
            raise UndeliveredError(left)

    async def __aenter__(self) -> Self:
        """Start the network."""
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        """Stop the network; an exception on its way is not replaced by UndeliveredError.

        With an exception on its way, no stream that was not finished ends well.
        """
        try:
            if kind is not None:
                for transport in self._transports:
                    transport.cut()
            await self.stop()
        except UndeliveredError as error:
            if kind is None:
                raise
            self.logger.warning("%s", error)

    async def connect(self, node_id: NodeId, timeout: float | None = None) -> Streams:
        """Open a stream to a node, over whatever path works, and return its (reader, writer).

        The writer's `get_extra_info("node_id")` is the node's id, proven; "peername" is its address.
        `timeout`: seconds to reach the node, within what the network takes itself. Raises ConnectError if the
        node is not known or can't be reached, PknetError if the network is not started.
        """
        reader = StreamReader(READER_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = await self._dial(node_id, Purpose.STREAM, protocol, timeout)
        return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())

    async def reach(self, node_id: NodeId, timeout: float | None = None) -> tuple[str, int]:
        """Find a path to a node and keep it open until `stop`; return the node's address on it.

        The node's program sees nothing of this. Streams that are opened later take the same path at once.
        Raises as `connect` does.
        """
        transport = await self._dial(node_id, Purpose.ASSOCIATION, asyncio.Protocol(), timeout)
        address: tuple[str, int] = transport.get_extra_info("peername")
        return address

    async def forward(self, node_id: NodeId, host: str = "127.0.0.1", port: int = 0) -> Forwarder:
        """Listen on a local TCP port and join each connection to a new stream to a node.

        Raises OSError if the port can't be had, PknetError if the network is not started.
        """
        self._running()
        forwarder = Forwarder(node_id, self._forward, self._forwarders.discard)
        await forwarder.listen(host, port)
        if self._node is None or self._is_stopping:
            forwarder.close()
            raise PknetError("the network was stopped")
        self._forwarders.add(forwarder)
        return forwarder

    async def wait_registered(self, timeout: float | None = None) -> None:
        """Wait until each of this node's rendezvous nodes introduces others to it, and it knows its address.

        That is the public one. Raises TimeoutError, or PknetError if the network is not started or is stopped
        meanwhile.
        """
        self._running()
        async with asyncio.timeout(timeout):
            if not await self._driver.wait_for(lambda: self._is_reachable(self._rendezvous)):
                raise PknetError("the network was stopped")

    async def open_signalling(self, node_id: NodeId, rendezvous: Iterable[RendezvousInfo]) -> Streams:
        """Open a signalling channel to a node through the first rendezvous node that is connected, or can be.

        Raises ConnectError if there is none, PknetError if the network is not started.
        """
        resolved = await asyncio.to_thread(lambda: [resolve_rendezvous(info) for info in rendezvous])
        node = self._running()
        reader = StreamReader(READER_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            channel = node.open_channel(resolved, node_id, self._driver.now)
        except PknetError as error:
            raise ConnectError(str(error)) from None
        transport = self._add_transport(channel, protocol, None)
        writer = asyncio.StreamWriter(transport, protocol, reader, self._driver.loop)
        self._driver.drain()
        try:
            await transport.opened
        except OSError as error:
            raise ConnectError(channel.failure or str(error)) from None
        except BaseException:
            transport.abort()
            raise
        return reader, writer

    async def accept_signalling(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a signalling stream that another node's program opened to this one; return when it has served.

        The writer is closed then. Raises StateError if too many nodes are being introduced already,
        PknetError if the network is not started.
        """
        self._running()
        assert self._signalling is not None
        await self._signalling.accept(reader, writer)

    # Events of the node.

    def _on_event(self, event: Any) -> None:
        match event:
            case ConnectionAccepted(NodeStream() as stream):
                self._accept(stream)
                stream.context.handle_event(event)
            case SignallingWanted(number, node_id):
                assert self._signalling is not None
                self._signalling.expect(number)
                self._run(self._signalling.open(number, node_id))
            case SignallingData() | SignallingEnded():
                assert self._signalling is not None
                self._signalling.handle_event(event)
            case UtpEvent():
                if event.connection.context is not None:
                    event.connection.context.handle_event(event)
            case _:
                self._handle_node_event(event)

    def _accept(self, stream: NodeStream) -> None:
        if self._handler is None and self.options.service is not None:
            pipe = self._add_pipe(stream.peer, self.options.service)
            self._add_transport(stream, pipe.node_end, stream.peer)
            self._run(self._connect_to_service(pipe, self.options.service))
            return
        reader = StreamReader(READER_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = self._add_transport(stream, protocol, stream.peer)
        if self._handler is None:
            self.logger.warning("%s opened a stream, but there is no handler and no service", stream.peer)
            transport.abort()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, self._driver.loop)
        self._transports[transport] = writer
        self._handlers[transport] = self._run(self._handle(self._handler, reader, writer))

    async def _handle(
        self, handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            result = handler(reader, writer)
            if inspect.isawaitable(result):
                await result
        except Exception:
            node_id = writer.get_extra_info("node_id")
            self.logger.exception("the handler of a stream from %s failed", node_id or "an unknown node")
            writer.transport.abort()
        except BaseException:
            if not self._is_stopping:
                # Somebody else has cancelled it, and nobody goes on.
                writer.transport.abort()
            raise

    async def _connect_to_service(self, pipe: Pipe, service: tuple[str, int]) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._driver.loop.create_connection(lambda: pipe.tcp_end, *service)
        except OSError as error:
            why = system_words(error)
            self.logger.warning("the local service %s port %d does not answer: %s", *service, why)
            pipe.reset()

    def _forward(self, forwarder: Forwarder) -> asyncio.Protocol:
        """Take a TCP connection that is to go to a node; return its protocol."""
        pipe = self._add_pipe(forwarder.node_id, forwarder.address)
        self._run(self._connect_to_node(forwarder, pipe))
        return pipe.tcp_end

    async def _connect_to_node(self, forwarder: Forwarder, pipe: Pipe) -> None:
        try:
            await self._dial(forwarder.node_id, Purpose.STREAM, pipe.node_end)
        except (PknetError, OSError) as error:
            forwarder.failures += 1
            self.logger.warning("a forwarded connection was closed: %s", error)
            pipe.reset()
        except BaseException:
            pipe.reset()
            raise

    async def _register(self, node: Node, rendezvous: RendezvousInfo) -> None:
        """Look up a rendezvous node's addresses, and stay registered with it from then on."""
        resolved = await asyncio.to_thread(resolve_rendezvous, rendezvous)
        if rendezvous.addresses and not resolved.addresses:
            self.logger.warning("rendezvous node %s: no address is found yet", rendezvous.node_id)
        while rendezvous.addresses and not resolved.addresses:
            await asyncio.sleep(LOOK_UP_RETRY)
            resolved = await asyncio.to_thread(resolve_rendezvous, rendezvous)
        node.register(resolved, self._driver.now)
        self._driver.drain()

    async def _look_up_this_node(self) -> NodeInfo:
        """Ask the program what may be told of this node; `stop` doesn't wait for its answer."""
        stops = self._stops
        self._looking_up = asyncio.ensure_future(self.nodes.this_node())
        try:
            return await self._looking_up
        except asyncio.CancelledError:
            if self._stops != stops:
                raise PknetError("the network was stopped while it was starting") from None
            raise
        finally:
            self._looking_up = None

    async def _dial(
        self,
        node_id: NodeId,
        purpose: Purpose,
        protocol: asyncio.BaseProtocol,
        timeout: float | None = None,
    ) -> StreamTransport:
        """Open a stream to a node and return its transport, whose protocol has been told."""
        self._running()
        if node_id == self.node_id:
            raise ConnectError(f"node {node_id} is this node itself")
        try:
            async with asyncio.timeout(timeout) as limit:
                info = await self.nodes.get_node(node_id)
                if info is None:
                    raise ConnectError(f"nothing is known of node {node_id}")
                resolved, unknown = await asyncio.to_thread(resolve_info, info)
                stream = self._running().connect(resolved, self._driver.now, purpose)
                transport = self._add_transport(stream, protocol, node_id)
                self._driver.drain()
                try:
                    await transport.opened
                except OSError as error:
                    raise why_not_reached(node_id, stream.failure or error, unknown) from None
                except BaseException:
                    transport.abort()
                    raise
        except TimeoutError:
            if not limit.expired():
                raise
            raise ConnectError(f"node {node_id}: not reached within {timeout:g} seconds") from None
        return transport

    # Housekeeping.

    def _add_transport(
        self, stream: ByteStream, protocol: asyncio.BaseProtocol, node_id: NodeId | None
    ) -> StreamTransport:
        transport = StreamTransport(self._driver, stream, protocol, self._on_lost, {"node_id": node_id})
        self._transports[transport] = None
        return transport

    def _on_lost(self, transport: StreamTransport) -> None:
        self._transports.pop(transport, None)
        self._handlers.pop(transport, None)
        if self._is_stopping:
            self._note_undelivered(transport)

    def _note_undelivered(self, transport: StreamTransport) -> None:
        if transport.undelivered:
            self._undelivered.append((transport.get_extra_info("node_id"), transport.undelivered))

    def _add_pipe(self, node_id: NodeId | None, tcp_address: tuple[str, int]) -> Pipe:
        pipe = Pipe(PipeRecord(node_id, tcp_address), self._forget_pipe)
        self._pipes.add(pipe)
        return pipe

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._driver.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ran)
        return task

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.logger.error("a task of the network failed", exc_info=error)

    # Stopping.

    async def _begin_to_stop(self, node: Node) -> None:
        """Let nothing new in, and close all that is open."""
        self._is_stopping = True
        for forwarder in list(self._forwarders):
            forwarder.close()
        node.stop(self._driver.now)
        assert self._signalling is not None
        self._signalling.close()
        for pipe in list(self._pipes):
            pipe.stop()
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        for transport, handler in self._handlers.items():
            if handler in tasks:
                transport.cut()
        piped = {pipe.node_end.transport for pipe in self._pipes}
        handled = {transport for transport, handler in self._handlers.items() if handler in tasks}
        for transport in self._transports.keys() - piped - handled:
            transport.close()
        self._driver.drain()
        # A handler may want to say goodbye.
        if tasks:
            await asyncio.wait(tasks, timeout=min(PARTING_TIME, self.options.stop_timeout))
        for transport in handled:
            transport.close()
        self._driver.drain()

    async def _let_deliver(self, node: Node, deadline: float) -> None:
        """Wait until what was given to streams and pipes has arrived, and a little for the peers' ends."""
        driver = self._driver
        try:
            async with asyncio.timeout_at(deadline):
                await driver.wait_for(
                    lambda: not any(transport.undelivered for transport in self._transports)
                )
                while waiting := [pipe.over for pipe in self._pipes if pipe.unpassed]:
                    # A side that is to be reset afterwards does not tell when it has taken all.
                    await asyncio.wait(waiting, timeout=UNPASSED_INTERVAL)
            async with asyncio.timeout_at(min(driver.now + PARTING_TIME, deadline)):
                await driver.wait_for(lambda: not self._transports and self._has_parted(node))
        except TimeoutError:
            pass

    def _break_off(self, node: Node) -> list[tuple[NodeId | None, int]]:
        """End what has not ended by itself, close the sockets, and return what was not delivered."""
        for pipe in list(self._pipes):
            if pipe.unpassed:
                self.logger.warning(
                    "%d bytes were not passed on to %s port %d", pipe.unpassed, *pipe.record.tcp_address
                )
            pipe.reset()
        for transport in list(self._transports):
            transport.abort()
        self._abandon(node)
        self._driver.drain()
        self._discard()
        return self._undelivered

    async def _wait_for_the_rest(self) -> None:
        """Wait until handlers have taken note that they are cancelled, and the TCP connections are closed."""
        tasks = self._tasks - {asyncio.current_task()}
        rest = [*tasks, *(pipe.over for pipe in self._pipes)]
        if rest:
            await asyncio.wait(rest, timeout=self.options.stop_timeout)
        running = sum(not task.done() for task in tasks)
        if running:
            self.logger.warning("%d handlers go on although they were cancelled", running)

    def _discard(self) -> None:
        if self._driver is not None:
            self._driver.close()
        self._node = self._socket = self._driver = self._signalling = None
