"""A server of plain uTP."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, TypeVar

from pknet.utp import ConnectionAccepted, UtpConfig, UtpEndpoint, UtpEvent
from pknet_asyncio.arguments import TlsArguments
from pknet_asyncio.connections import dispatch, make_transport
from pknet_asyncio.dialling import dial, open_connection
from pknet_asyncio.driver import Driver
from pknet_asyncio.reader import READER_LIMIT, reader_and_writer
from pknet_asyncio.socket_view import SocketView
from pknet_asyncio.tls import programs_transport

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Any, Self

    from pknet.utp import UtpConnection
    from pknet_asyncio.transport import StreamTransport
    from pknet_io.addresses import Address
    from pknet_io.udp import UdpSocket

    ProtocolFactory = Callable[[], asyncio.BaseProtocol]

__all__ = ["UtpServer"]

P = TypeVar("P", bound=asyncio.BaseProtocol)


class UtpServer(asyncio.AbstractServer):
    """A uTP server: accepts connections on its socket until it is closed, as asyncio.Server does.

    `async with` closes it and waits for its connections; where the body fails, or is cancelled, they are
    aborted instead.
    After `wait_closed` the socket goes on answering for connections that have just ended, for two seconds or,
    where packets were lost, up to peer_timeout: their peers may not have heard the last acknowledgement. As
    long the port is in use.
    """

    def __init__(
        self, protocol_factory: ProtocolFactory, udp_socket: UdpSocket, config: UtpConfig | None
    ) -> None:
        self._protocol_factory = protocol_factory
        self._endpoint = UtpEndpoint(os.urandom, config)
        self._endpoint.accepting = False
        self._driver = Driver(self._endpoint, udp_socket, self._on_event)
        self._address = udp_socket.address
        self._is_serving = False
        self._is_served_forever = False
        self._is_closed = False
        self._over = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that the server is bound to, or was."""
        return self._address

    @property
    def sockets(self) -> tuple[SocketView, ...]:
        """The socket that is listened on, as asyncio.Server tells it; none once closed."""
        return () if self._is_closed else (SocketView(self._driver.socket),)

    @property
    def connections(self) -> list[asyncio.Transport]:
        """The transports of the connections that are open now."""
        return [programs_transport(transport) for transport in self._driver.transports if transport.is_open]

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that the server belongs to."""
        return self._driver.loop

    def is_serving(self) -> bool:
        """Return whether new connections are accepted."""
        return self._is_serving

    async def start_serving(self) -> None:
        """Accept connections from now on; before that they are refused. Raises RuntimeError if closed."""
        if self._is_closed:
            raise RuntimeError("the server is closed")
        self._is_serving = True
        self._endpoint.accepting = self._endpoint.config.accept

    async def serve_forever(self) -> None:
        """Accept connections and wait until the server is closed; close it if this is cancelled."""
        if self._is_served_forever:
            raise RuntimeError("the server is being awaited on serve_forever already")
        await self.start_serving()
        self._is_served_forever = True
        try:
            await self.wait_closed()
        finally:
            self._is_served_forever = False
            self.close()

    async def create_connection(
        self,
        protocol_factory: Callable[[], P],
        host: str,
        port: int,
        *,
        ssl: SSLContext | bool | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, P]:
        """Open a connection from the server's own port, and return its (transport, protocol).

        It counts among the server's connections. Arguments and errors are those of `create_utp_connection`;
        raises RuntimeError if the server is closed.
        """
        tls = TlsArguments(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        tls.check()
        return await open_connection(protocol_factory, host, port, self._address, self._dial, tls)

    async def open_connection(
        self, host: str, port: int, *, limit: int = READER_LIMIT, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection from the server's own port, and return its (reader, writer).

        `limit`: the reader's buffer in bytes. What else may be given, and what is raised, is as for
        `create_connection`.
        """
        return await reader_and_writer(
            limit, lambda make_protocol: self.create_connection(make_protocol, host, port, **options)
        )

    def close(self) -> None:
        """Accept no more connections; those that are open go on."""
        self._is_closed = True
        self._is_serving = self._endpoint.accepting = False
        self._close_if_done()

    def close_clients(self) -> None:
        """Close each open connection, once what was written to it is delivered."""
        for transport in self.connections:
            # CPython 3.11's TLS transport is of no use after a second call.
            if not transport.is_closing():
                transport.close()

    def abort_clients(self) -> None:
        """Close each open connection at once."""
        for transport in list(self._driver.transports):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its connections are over."""
        await self._over.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()
        try:
            if error != (None, None, None):
                self.abort_clients()
            await self.wait_closed()
        except BaseException:
            # Cancelled while it waited.
            self.abort_clients()
            raise

    def __repr__(self) -> str:
        return f"<UtpServer sockets={self.sockets!r}>"

    async def _dial(self, remote: Address) -> StreamTransport:
        if self._is_closed:
            raise RuntimeError("the server is closed")
        return await dial(self._driver, self._endpoint, remote, self._on_lost)

    def _on_event(self, event: UtpEvent) -> None:
        if isinstance(event, ConnectionAccepted):
            self._accept(event.connection)
        dispatch(event)

    def _accept(self, connection: UtpConnection) -> None:
        if not self._is_serving:
            # Its SYN came before `close`.
            connection.abort(self._driver.now)
            return
        try:
            protocol = self._protocol_factory()
        except BaseException:
            # The driver tells the loop.
            connection.abort(self._driver.now)
            raise
        make_transport(self._driver, connection, protocol, self._on_lost)

    def _on_lost(self, _: StreamTransport) -> None:
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._is_closed and not self._driver.transports:
            self._driver.close_when(lambda: not len(self._endpoint))
            self._over.set()
