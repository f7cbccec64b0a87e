"""The network module for programs that block: a node with its socket, its streams and its pipes."""

from __future__ import annotations

import logging
import socket as sockets
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, cast

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
from pknet_blocking.connection import Connection, dispatch
from pknet_blocking.driver import Driver
from pknet_blocking.forwarder import Forwarder
from pknet_blocking.pipe import Pipe
from pknet_blocking.signalling import Signalling
from pknet_blocking.stream import Stream
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
from pknet_io.tcp import CONNECT_TIMEOUT, reset_when_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pknet.network import Node, RendezvousInfo
    from pknet_blocking.nodes import Nodes
    from pknet_blocking.signalling import ByteSocket

    Handler = Callable[[Stream], object]

__all__ = ["Network"]


class Network(NetworkBase):
    """A node: opens streams to others by whatever path works, and takes theirs.

    It is safe to use from several threads. `nodes`: who this node is and what is known of others.
    `handler(stream)`: called, in a thread of its own, for each incoming stream that is admitted, and is to
    close it; without it each is piped to `options.service`. Use it as `with Network(nodes) as network`.
    """

    def __init__(
        self, nodes: Nodes, options: NetworkOptions | None = None, *, handler: Handler | None = None
    ) -> None:
        super().__init__(nodes, options or NetworkOptions())
        self._handler = handler
        self._lifecycle = threading.Lock()
        self._stops = 0
        self._stopping = threading.Event()
        self._is_failing = False
        self._signalling: Signalling | None = None
        self._rendezvous: tuple[RendezvousInfo, ...] = ()
        # Guarded by the driver's lock, as the pipes are.
        self._connections: set[Connection] = set()
        self._forwarders: set[Forwarder] = set()
        self._undelivered: list[tuple[NodeId | None, int]] = []
        # Those whose handlers run.
        self._handled: dict[Connection, threading.Thread] = {}
        self._threads: set[threading.Thread] = set()
        # What may take time and comes up while the driver's lock is held: logging.
        self._chores: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def start(self) -> None:
        """Open the uTP server, then the NAT traversal service on the same socket.

        Raises OSError if the address can't be bound, PknetError if it is stopped meanwhile; then nothing is
        left open. Harmless if started.
        """
        with self._lifecycle:
            if self._node is not None:
                return
            self._stopping.clear()
            self._is_failing = False
            self._undelivered = []
            udp_socket = open_socket(self.options.host, self.options.port)
            try:
                node = self._make_node()
                self._socket = udp_socket
                self._chores = SimpleQueue()
                driver = self._driver = Driver(node, udp_socket, self._on_event)
                self._guard = driver.lock
                self._signalling = Signalling(node, driver, self.nodes.connect_to_node, self.logger)
                self._node = node
                self._spawn("chores", self._do_chores, self._chores)
                driver.start()
                self._look_up_this_node()
                with driver.lock:
                    node.start(self.local_addresses, driver.now)
                    driver.drain()
            except BaseException:
                # Streams may have come in already, while the program was asked about this node.
                if self._node is not None:
                    self._break_off(self._node, driver)
                else:
                    self._discard()
                udp_socket.close()
                raise
            for rendezvous in self._rendezvous:
                self._spawn("look-up", self._register, node, driver, rendezvous)
            self.logger.info("node %s listens on UDP %s port %d", self.node_id, *udp_socket.address)

    def stop(self) -> None:
        """Stop the NAT traversal service, then the uTP server, and close every stream and pipe.

        What was given to them is still delivered, for at most `options.stop_timeout` seconds. Raises
        UndeliveredError if that was not long enough. Handlers that wait for a stream are woken by an error,
        and what was cut off so is no good end to the peer. Harmless if stopped.
        """
        self._stops += 1
        with self._lifecycle:
            node, driver = self._node, self._driver
            if node is None:
                return
            deadline = time.monotonic() + self.options.stop_timeout
            self._begin_to_stop(node, driver)
            try:
                self._let_deliver(node, driver, deadline)
            finally:
                left = self._break_off(node, driver)
        # Without the lock: a handler may be waiting for it, to stop the network too.
        self._wait_for_the_rest(max(deadline, time.monotonic() + PARTING_TIME))
        self.logger.info("node %s stopped", self.node_id)
        if left:
            raise UndeliveredError(left)

    def __enter__(self) -> Self:
        """Start the network."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        """Stop the network; an exception on its way is not replaced by UndeliveredError.

        With an exception on its way, no stream that was not finished ends well.
        """
        try:
            self._is_failing = kind is not None
            self.stop()
        except UndeliveredError as error:
            if kind is None:
                raise
            self.logger.warning("%s", error)

    def connect(self, node_id: NodeId, timeout: float | None = None) -> Stream:
        """Open a stream to a node, over whatever path works, and return it.

        The stream's `node_id` is the node's id, proven. `timeout`: seconds to reach the node, within what the
        network takes itself, and then for every method of the stream. Raises ConnectError if the node is not
        known or can't be reached, PknetError if the network is not started.
        """
        stream = Stream(self._dial(node_id, Purpose.STREAM, timeout))
        stream.settimeout(timeout)
        return stream

    def reach(self, node_id: NodeId, timeout: float | None = None) -> tuple[str, int]:
        """Find a path to a node and keep it open until `stop`; return the node's address on it.

        The node's program sees nothing of this. Streams that are opened later take the same path at once.
        Raises as `connect` does.
        """
        return cast("tuple[str, int]", self._dial(node_id, Purpose.ASSOCIATION, timeout).stream.remote)

    def forward(self, node_id: NodeId, host: str = "127.0.0.1", port: int = 0) -> Forwarder:
        """Listen on a local TCP port and join each connection to a new stream to a node.

        Raises OSError if the port can't be had, PknetError if the network is not started.
        """
        _, driver = self._running_driver()
        forwarder = Forwarder(node_id, self._forward, self._forwarders.discard, driver)
        with driver.lock:
            if self._stopping.is_set():
                raise PknetError("the network was stopped")
            forwarder.listen(host, port)
            self._forwarders.add(forwarder)
        return forwarder

    def wait_registered(self, timeout: float | None = None) -> None:
        """Wait until each of this node's rendezvous nodes introduces others to it, and it knows its address.

        That is the public one. Raises TimeoutError, or PknetError if the network is not started or is stopped
        meanwhile.
        """
        _, driver = self._running_driver()
        if not driver.wait_for(lambda: self._is_reachable(self._rendezvous), timeout):
            if driver.is_closed:
                raise PknetError("the network was stopped")
            raise TimeoutError("timed out")

    def open_signalling(self, node_id: NodeId, rendezvous: Iterable[RendezvousInfo]) -> Stream:
        """Open a signalling channel to a node through the first rendezvous node that is connected, or can be.

        Raises ConnectError if there is none, PknetError if the network is not started.
        """
        resolved = [resolve_rendezvous(info) for info in rendezvous]
        node, driver = self._running_driver()
        with driver.lock:
            try:
                channel = node.open_channel(resolved, node_id, driver.now)
            except PknetError as error:
                raise ConnectError(str(error)) from None
            connection = Connection(driver, channel, self._on_lost)
            self._connections.add(connection)
            driver.drain()
        try:
            connection.wait_open(None)
        except OSError as error:
            raise ConnectError(channel.failure or str(error)) from None
        except BaseException:
            connection.abort()
            raise
        return Stream(connection)

    def accept_signalling(self, stream: ByteSocket) -> None:
        """Take a signalling stream that another node's program opened to this one; return when it has served.

        The stream is closed then. Raises StateError if too many nodes are being introduced already,
        PknetError if the network is not started.
        """
        self._running()
        assert self._signalling is not None
        self._signalling.accept(stream)

    # Events of the node; the driver's lock is held.

    def _on_event(self, event: Any) -> None:
        match event:
            case ConnectionAccepted(NodeStream() as stream):
                self._accept(stream, event)
            case SignallingWanted(number, node_id):
                assert self._signalling is not None
                self._signalling.expect(number)
                self._spawn("signalling", self._signalling.open, number, node_id)
            case SignallingData() | SignallingEnded():
                assert self._signalling is not None
                self._signalling.handle_event(event)
            case UtpEvent():
                dispatch(event)
            case _:
                self._handle_node_event(event)

    def _accept(self, node_stream: NodeStream, event: UtpEvent) -> None:
        if node_stream.context is not None:
            # A signal handler raised in the midst of this, and the event is told once more.
            return
        connection = Connection(self._driver, node_stream, self._on_lost)
        self._connections.add(connection)
        connection.handle_event(event)
        if self._handler is not None:
            self._spawn("handler", self._handle, self._handler, connection)
        elif self.options.service is not None:
            self._spawn("service", self._connect_to_service, self._driver, connection, self.options.service)
        else:
            self._log(
                logging.WARNING,
                "%s opened a stream, but there is no handler and no service",
                connection.node_id,
            )
            connection.abort()

    def _forward(self, forwarder: Forwarder, tcp: sockets.socket, address: tuple[str, int]) -> None:
        """Take a TCP connection that is to go to a node."""
        self._spawn("forward", self._connect_to_node, self._driver, forwarder, tcp, address)

    def _log(self, level: int, message: str, *arguments: object) -> None:
        self._chores.put(partial(self.logger.log, level, message, *arguments))

    # What the network's threads do.

    def _handle(self, handler: Handler, connection: Connection) -> None:
        self._handled[connection] = threading.current_thread()
        try:
            # Nothing here refers to the stream: it is the handler's.
            handler(Stream(connection))
        except BaseException as error:
            # SystemExit too, which ends a thread without a word.
            if self._stopping.is_set() and isinstance(error, OSError):
                # It was woken by `stop`.
                return
            self.logger.exception(
                "the handler of a stream from %s failed", connection.node_id or "an unknown node"
            )
            connection.abort()
        finally:
            self._handled.pop(connection, None)

    def _connect_to_service(self, driver: Driver, connection: Connection, service: tuple[str, int]) -> None:
        try:
            tcp = sockets.create_connection(service, CONNECT_TIMEOUT)
        except OSError as error:
            why = system_words(error)
            self.logger.warning("the local service %s port %d does not answer: %s", *service, why)
            connection.abort()
        else:
            self._join(driver, connection, tcp, service)

    def _connect_to_node(
        self, driver: Driver, forwarder: Forwarder, tcp: sockets.socket, address: tuple[str, int]
    ) -> None:
        try:
            connection = self._dial(forwarder.node_id, Purpose.STREAM, None)
        except BaseException as error:
            forwarder.failures += 1
            reset_when_closed(tcp)
            tcp.close()
            if not isinstance(error, PknetError | OSError):
                raise
            self.logger.warning("a forwarded connection was closed: %s", error)
        else:
            self._join(driver, connection, tcp, address)

    def _join(
        self, driver: Driver, connection: Connection, tcp: sockets.socket, tcp_address: tuple[str, int]
    ) -> None:
        """Join a stream to a TCP connection; it needs no thread from then on."""
        with driver.lock:
            pipe = Pipe(driver, connection, tcp, PipeRecord(connection.node_id, tcp_address), self._on_over)
            self._pipes.add(pipe)
            if self._stopping.is_set():
                pipe.reset()
            else:
                pipe.start()

    def _register(self, node: Node, driver: Driver, rendezvous: RendezvousInfo) -> None:
        """Look up a rendezvous node's addresses, and stay registered with it from then on."""
        resolved = resolve_rendezvous(rendezvous)
        if rendezvous.addresses and not resolved.addresses:
            self.logger.warning("rendezvous node %s: no address is found yet", rendezvous.node_id)
        while rendezvous.addresses and not resolved.addresses:
            if self._stopping.wait(LOOK_UP_RETRY):
                return
            resolved = resolve_rendezvous(rendezvous)
        with driver.lock:
            if not self._stopping.is_set():
                node.register(resolved, driver.now)
                driver.drain()

    @staticmethod
    def _do_chores(chores: SimpleQueue[Callable[[], None] | None]) -> None:
        while (chore := chores.get()) is not None:
            chore()

    def _look_up_this_node(self) -> None:
        """Ask the program what may be told of this node; `stop` has to wait for its answer."""
        stops = self._stops
        self._rendezvous = self.nodes.this_node().rendezvous
        if self._stops != stops:
            raise PknetError("the network was stopped while it was starting")

    def _dial(self, node_id: NodeId, purpose: Purpose, timeout: float | None) -> Connection:
        """Open a stream to a node."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._running()
        if node_id == self.node_id:
            raise ConnectError(f"node {node_id} is this node itself")
        info = self.nodes.get_node(node_id)
        if info is None:
            raise ConnectError(f"nothing is known of node {node_id}")
        resolved, unknown = resolve_info(info)
        node, driver = self._running_driver()
        with driver.lock:
            node_stream = node.connect(resolved, driver.now, purpose)
            connection = Connection(driver, node_stream, self._on_lost)
            self._connections.add(connection)
            driver.drain()
        try:
            connection.wait_open(None if deadline is None else max(deadline - time.monotonic(), 0))
        except OSError as error:
            if timeout is not None and not connection.is_over:
                connection.abort()
                raise ConnectError(f"node {node_id}: not reached within {timeout:g} seconds") from None
            raise why_not_reached(node_id, node_stream.failure or error, unknown) from None
        except BaseException:
            connection.abort()
            raise
        return connection

    # Housekeeping.

    def _running_driver(self) -> tuple[Node, Driver]:
        node, driver = self._node, self._driver
        if node is None or driver is None:
            raise PknetError("the network is not started")
        return node, driver

    def _on_lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._stopping.is_set():
            self._note_undelivered(connection.node_id, connection.undelivered)

    def _on_over(self, pipe: Pipe) -> None:
        self._forget_pipe(pipe)
        if self._stopping.is_set():
            self._note_undelivered(pipe.record.node_id, pipe.undelivered)

    def _note_undelivered(self, node_id: NodeId | None, count: int) -> None:
        if count:
            self._undelivered.append((node_id, count))

    def _spawn(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(
            target=self._work, args=(work, *arguments), name=f"pknet {name}", daemon=True
        )
        self._threads.add(thread)
        thread.start()

    def _work(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception:
            self.logger.exception("a thread of the network failed")
        finally:
            self._threads.discard(threading.current_thread())

    # Stopping.

    def _begin_to_stop(self, node: Node, driver: Driver) -> None:
        """Let nothing new in, and close all that is open."""
        with driver.lock:
            self._stopping.set()
            for forwarder in list(self._forwarders):
                forwarder.close()
            node.stop(driver.now)
            assert self._signalling is not None
            self._signalling.close()
            piped = {pipe.connection for pipe in self._pipes}
            for pipe in list(self._pipes):
                pipe.stop()
            for connection in self._connections - piped:
                handler = self._handled.get(connection)
                is_own = handler is None or handler is threading.current_thread()
                if is_own and not self._is_failing:
                    connection.close()
                else:
                    connection.cut()
            driver.drain()

    def _let_deliver(self, node: Node, driver: Driver, deadline: float) -> None:
        """Wait until what was given to streams and pipes has arrived, and a little for the peers' ends."""
        is_delivered = driver.wait_for(
            lambda: (
                not any(connection.undelivered for connection in self._connections)
                and not any(pipe.undelivered for pipe in self._pipes)
            ),
            deadline - time.monotonic(),
        )
        # A TCP connection that will be reset does not tell when it has taken all.
        while self._has_unpassed(driver) and time.monotonic() < deadline:
            time.sleep(UNPASSED_INTERVAL)
        if is_delivered:
            parting = min(time.monotonic() + PARTING_TIME, deadline)
            driver.wait_for(
                lambda: not self._connections and self._has_parted(node), parting - time.monotonic()
            )

    def _has_unpassed(self, driver: Driver) -> bool:
        with driver.lock:
            return any(pipe.unpassed for pipe in self._pipes)

    def _break_off(self, node: Node, driver: Driver) -> list[tuple[NodeId | None, int]]:
        """End what has not ended by itself, close the sockets, and return what was not delivered."""
        with driver.lock:
            for pipe in list(self._pipes):
                if pipe.unpassed:
                    self._log(
                        logging.WARNING,
                        "%d bytes were not passed on to %s port %d",
                        pipe.unpassed,
                        *pipe.record.tcp_address,
                    )
                pipe.reset()
            for connection in list(self._connections):
                connection.abort()
            self._abandon(node)
            driver.drain()
            left = self._undelivered
        self._discard()
        driver.join()
        return left

    def _wait_for_the_rest(self, deadline: float) -> None:
        """Wait until handlers have taken note that their streams are closed."""
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(deadline - time.monotonic(), 0))
        running = len(self._threads - {threading.current_thread()})
        if running:
            self.logger.warning("%d handlers go on although their streams are closed", running)

    def _discard(self) -> None:
        driver = self._driver
        self._node = self._socket = self._driver = self._signalling = None
        if driver is not None:
            driver.close()
        self._chores.put(None)
