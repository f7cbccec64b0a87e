"""Plain uTP for asyncio, as `loop.create_connection` and `loop.create_server` are for TCP."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pknet.utp import ConnectionAccepted, UtpConfig, UtpEndpoint, UtpEvent
from pknet_asyncio.driver import Driver
from pknet_asyncio.race import first_to_succeed
from pknet_asyncio.socket_view import SocketView
from pknet_asyncio.tls import TlsProtocol
from pknet_asyncio.transport import StreamTransport
from pknet_io.local import LocalAddress
from pknet_io.names import ATTEMPT_DELAY, any_address_like, of_family, resolve
from pknet_io.udp import UdpSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from ssl import SSLContext

    from pknet.utp import UtpConnection
    from pknet_io.addresses import Address

    ProtocolFactory = Callable[[], asyncio.BaseProtocol]

__all__ = ["UtpServer", "create_utp_connection", "create_utp_server"]

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def create_utp_connection(
    protocol_factory: Callable[[], P],
    host: str,
    port: int,
    *,
    local_addr: tuple[str, int] | None = None,
    sock: socket.socket | None = None,
    config: UtpConfig | None = None,
    ssl: SSLContext | bool | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> tuple[asyncio.Transport, P]:
    """Open a uTP connection and return its (transport, protocol), as loop.create_connection does for TCP.

    All addresses of the host are tried, the next a quarter of a second after the one before (RFC 8305).
    `local_addr`: what to bind to; any free port by default. `sock`: a UDP socket to use instead, that belongs
    to the connection from then on. `ssl` and what follows are as there, for TLS over uTP. Raises TimeoutError
    if nobody answers, ConnectionRefusedError if the connection is refused, OSError if the name can't be
    resolved or the address can't be bound, and what the TLS handshake raises.
    """
    if sock is not None and local_addr is not None:
        raise ValueError("sock and local_addr exclude each other")
    _check_tls(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    loop = asyncio.get_running_loop()
    own = local_addr if sock is None else sock.getsockname()
    remotes = of_family(host, await loop.run_in_executor(None, resolve, host, port), own)
    if sock is not None:
        transport = await _dial(remotes[0], UdpSocket(sock), config)
    else:
        transport = await first_to_succeed(
            [partial(_bind_and_dial, remote, local_addr, config) for remote in remotes],
            ATTEMPT_DELAY,
            _give_up,
        )
    try:
        protocol = protocol_factory()
        if not ssl:
            transport.begin(protocol)
            return transport, protocol
        tls = TlsProtocol(
            protocol,
            None if isinstance(ssl, bool) else ssl,
            server_side=False,
            server_hostname=host if server_hostname is None else server_hostname,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )
        transport.begin(tls)
        await tls.secured
    except BaseException:
        _give_up(transport)
        raise
    return tls.inside, protocol


async def create_utp_server(
    protocol_factory: ProtocolFactory,
    host: str | None = None,
    port: int = 0,
    *,
    sock: socket.socket | None = None,
    config: UtpConfig | None = None,
    ssl: SSLContext | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
) -> UtpServer:
    """Start a uTP server that makes a protocol for each connection, as loop.create_server does for TCP.

    `host`: every IPv4 interface by default. `sock`: a bound UDP socket to use instead of (host, port); the
    server owns it from then on. `ssl` and what follows are as there, for TLS over uTP. Raises OSError if the
    address can't be bound.
    """
    if isinstance(ssl, bool):
        raise TypeError("a server needs an SSLContext of its own")
    _check_tls(ssl, None, ssl_handshake_timeout, ssl_shutdown_timeout)

    def make_protocol() -> asyncio.BaseProtocol:
        protocol = protocol_factory()
        if ssl is None:
            return protocol
        return TlsProtocol(
            protocol,
            ssl,
            server_side=True,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )

    if sock is not None:
        udp_socket = UdpSocket(sock)
    else:
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(None, resolve, host or "0.0.0.0", port)
        udp_socket = UdpSocket.bind(*addresses[0])
    server = UtpServer(make_protocol, udp_socket, config)
    if start_serving:
        await server.start_serving()
    return server


class UtpServer(asyncio.AbstractServer):
    """A uTP server: accepts connections on its socket until it is closed, as asyncio.Server does.

    After `wait_closed` the socket goes on answering for connections that have just ended, for about two
    seconds: their peers may not have heard the last acknowledgement. As long the port is in use.
    """

    def __init__(
        self, protocol_factory: ProtocolFactory, udp_socket: UdpSocket, config: UtpConfig | None
    ) -> None:
        self._protocol_factory = protocol_factory
        self._endpoint = UtpEndpoint(os.urandom, config)
        self._endpoint.accepting = False
        self._driver = Driver(self._endpoint, udp_socket, self._on_event)
        self._transports: set[StreamTransport] = set()
        self._is_serving = False
        self._is_served_forever = False
        self._is_closed = False
        self._over = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that the server is bound to."""
        return self._driver.socket.address

    @property
    def sockets(self) -> tuple[SocketView, ...]:
        """The socket that is listened on, as asyncio.Server tells it; none once closed."""
        return () if self._is_closed else (SocketView(self._driver.socket),)

    @property
    def connections(self) -> list[asyncio.Transport]:
        """The transports of the connections that are open now."""
        return [_programs_transport(transport) for transport in self._transports]

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
        for transport in list(self._transports):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its connections are over."""
        await self._over.wait()

    def _on_event(self, event: UtpEvent) -> None:
        if isinstance(event, ConnectionAccepted):
            self._accept(event.connection)
        _dispatch(event)

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
        self._transports.add(_make_transport(self._driver, connection, protocol, self._on_lost))

    def _on_lost(self, transport: StreamTransport) -> None:
        self._transports.discard(transport)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._is_closed and not self._transports:
            self._driver.close_when(lambda: not len(self._endpoint))
            self._over.set()


async def _bind_and_dial(
    remote: Address, local_addr: Address | None, config: UtpConfig | None
) -> StreamTransport:
    return await _dial(remote, UdpSocket.bind(*(local_addr or any_address_like(remote))), config)


async def _dial(remote: Address, udp_socket: UdpSocket, config: UtpConfig | None) -> StreamTransport:
    """Open a connection that has the socket to itself; return its transport, which has no protocol yet."""
    endpoint = UtpEndpoint(os.urandom, config)
    endpoint.accepting = False
    driver = Driver(endpoint, udp_socket, _dispatch)
    connection = endpoint.connect(remote, driver.now)
    transport = _make_transport(
        driver, connection, None, lambda _: driver.close_when(lambda: not len(endpoint))
    )
    driver.drain()
    try:
        await transport.opened
    except BaseException:
        _give_up(transport)
        raise
    return transport


def _give_up(transport: StreamTransport) -> None:
    """End what `_dial` began, at once; the peer may have answered already, and is told."""
    transport.abort()
    transport.driver.close()


def _dispatch(event: UtpEvent) -> None:
    """Hand an event to the transport of its connection."""
    if event.connection.context is not None:
        event.connection.context.handle_event(event)


def _make_transport(
    driver: Driver,
    connection: UtpConnection,
    protocol: asyncio.BaseProtocol | None,
    on_lost: Callable[[StreamTransport], None],
) -> StreamTransport:
    host, port = driver.socket.address
    if isinstance(connection.local, LocalAddress):
        # A server may be bound to all addresses; its peers see one.
        host = connection.local.host
    extra: dict[str, Any] = {
        "sockname": (host, port),
        "socket": SocketView(driver.socket, connection.remote),  # type: ignore[arg-type]
        "utp_connection": connection,
    }
    return StreamTransport(driver, connection, protocol, on_lost, extra)


def _programs_transport(transport: StreamTransport) -> asyncio.Transport:
    """Return the transport that the program's protocol has: with TLS, the one inside."""
    protocol = transport.get_protocol()
    return protocol.inside if isinstance(protocol, TlsProtocol) else transport


def _check_tls(
    ssl: SSLContext | bool | None,
    server_hostname: str | None,
    ssl_handshake_timeout: float | None,
    ssl_shutdown_timeout: float | None,
) -> None:
    given = [server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout]
    if not ssl and given != [None, None, None]:
        raise ValueError("server_hostname and the timeouts of TLS are only meaningful with ssl")
