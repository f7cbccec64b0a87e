"""Plain uTP for asyncio, as `asyncio.open_connection` and `asyncio.start_server` are for TCP."""

from __future__ import annotations

import asyncio
import inspect
import os
from typing import TYPE_CHECKING, Self

from pknet.utp import ConnectionAccepted, UtpConfig, UtpEndpoint, UtpEvent
from pknet_asyncio.driver import Driver
from pknet_asyncio.reader import StreamReader
from pknet_asyncio.transport import StreamTransport
from pknet_io.names import any_address_like, resolve
from pknet_io.udp import UdpSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from pknet.utp import UtpConnection

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]

__all__ = ["UtpServer", "open_utp_connection", "start_utp_server"]

READER_LIMIT = 1 << 16


async def open_utp_connection(
    host: str,
    port: int,
    *,
    local_address: tuple[str, int] | None = None,
    config: UtpConfig | None = None,
    limit: int = READER_LIMIT,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a uTP connection and return its (reader, writer), as asyncio.open_connection does for TCP.

    `local_address`: what to bind to; any free port by default. `limit`: the reader's buffer in bytes. Raises
    TimeoutError if nobody answers, ConnectionRefusedError if the connection is refused, OSError if the name
    can't be resolved or the address can't be bound.
    """
    loop = asyncio.get_running_loop()
    remote = (await loop.run_in_executor(None, resolve, host, port))[0]
    udp_socket = UdpSocket.bind(*(local_address or any_address_like(remote)))
    endpoint = UtpEndpoint(os.urandom, config)
    endpoint.accepting = False
    driver = Driver(endpoint, udp_socket, _dispatch)
    reader = StreamReader(limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = StreamTransport(
        driver,
        endpoint.connect(remote, driver.now),
        protocol,
        lambda _: driver.close_when(lambda: not len(endpoint)),
    )
    driver.drain()
    try:
        await transport.opened
    except BaseException:
        # The peer may have answered already: it is told.
        transport.abort()
        driver.close()
        raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def start_utp_server(
    handler: Handler,
    host: str = "0.0.0.0",
    port: int = 0,
    *,
    sock: socket.socket | None = None,
    config: UtpConfig | None = None,
    limit: int = READER_LIMIT,
) -> UtpServer:
    """Start a uTP server that calls `handler(reader, writer)` for each connection, as start_server for TCP.

    `sock`: a bound UDP socket to use instead of (host, port); the server owns it from then on. Raises OSError
    if the address can't be bound.
    """
    if sock is not None:
        udp_socket = UdpSocket(sock)
    else:
        addresses = await asyncio.get_running_loop().run_in_executor(None, resolve, host, port)
        udp_socket = UdpSocket.bind(*addresses[0])
    return UtpServer(udp_socket, handler, config, limit)


class UtpServer:
    """A uTP server: accepts connections on its socket until it is closed.

    After `wait_closed` the socket goes on answering for connections that have just ended, for about two
    seconds: their peers may not have heard the last acknowledgement. As long the port is in use.
    """

    def __init__(self, udp_socket: UdpSocket, handler: Handler, config: UtpConfig | None, limit: int) -> None:
        self._handler = handler
        self._limit = limit
        self._endpoint = UtpEndpoint(os.urandom, config)
        self._driver = Driver(self._endpoint, udp_socket, self._on_event)
        self._transports: dict[StreamTransport, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_serving = True
        self._closed = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that the server is bound to."""
        return self._driver.socket.address

    @property
    def connections(self) -> list[StreamTransport]:
        """The transports of the connections that are open now."""
        return list(self._transports)

    def is_serving(self) -> bool:
        """Return whether new connections are accepted."""
        return self._is_serving

    def close(self) -> None:
        """Accept no more connections; those that are open go on."""
        self._is_serving = self._endpoint.accepting = False
        self._close_if_done()

    def close_clients(self) -> None:
        """Close each open connection, once what was written to it is delivered."""
        for transport in list(self._transports):
            transport.close()

    def abort_clients(self) -> None:
        """Close each open connection at once."""
        for transport in list(self._transports):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its connections are over."""
        await self._closed.wait()

    async def serve_forever(self) -> None:
        """Wait until the server is closed; close it if this is cancelled."""
        try:
            await self.wait_closed()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        """Return the server."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the server and wait for its connections."""
        self.close()
        await self.wait_closed()

    def _on_event(self, event: UtpEvent) -> None:
        if isinstance(event, ConnectionAccepted):
            self._accept(event.connection)
        _dispatch(event)

    def _accept(self, connection: UtpConnection) -> None:
        if not self._is_serving:
            # Its SYN came before `close`.
            connection.abort(self._driver.now)
            return
        reader = StreamReader(self._limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = StreamTransport(self._driver, connection, protocol, self._on_lost)
        writer = asyncio.StreamWriter(transport, protocol, reader, self._driver.loop)
        # The writer too: the connection lives on if the handler returns without having closed it.
        self._transports[transport] = writer
        task = self._driver.loop.create_task(self._handle(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._handled(done, transport))

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        result = self._handler(reader, writer)
        if inspect.isawaitable(result):
            await result

    def _handled(self, task: asyncio.Task[None], transport: StreamTransport) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            # Nobody goes on: the peer must not take what it got for all there was.
            if not transport.is_closing():
                transport.abort()
        elif (error := task.exception()) is not None:
            self._driver.loop.call_exception_handler(
                {
                    "message": "Unhandled exception in the handler of a uTP connection",
                    "exception": error,
                    "transport": transport,
                }
            )
            transport.abort()

    def _on_lost(self, transport: StreamTransport) -> None:
        self._transports.pop(transport, None)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._is_serving and not self._transports:
            self._driver.close_when(lambda: not len(self._endpoint))
            self._closed.set()


def _dispatch(event: UtpEvent) -> None:
    """Hand an event to the transport of its connection."""
    if event.connection.context is not None:
        event.connection.context.handle_event(event)
