"""Plain uTP for asyncio, as `loop.create_connection` and `loop.create_server` are for TCP."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar, overload

from pknet_asyncio.arguments import TlsArguments, check_address, look_up_all
from pknet_asyncio.dialling import Dialler, dial_shared, open_connection
from pknet_asyncio.server import UtpServer
from pknet_asyncio.tls import TlsProtocol
from pknet_io.arguments import check_config
from pknet_io.udp import UdpSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from ssl import SSLContext

    from pknet.utp import UtpConfig
    from pknet_asyncio.transport import StreamTransport

    ProtocolFactory = Callable[[], asyncio.BaseProtocol]

__all__ = ["create_utp_connection", "create_utp_server"]

P = TypeVar("P", bound=asyncio.BaseProtocol)


@overload
async def create_utp_connection(
    protocol_factory: Callable[[], P],
    host: str,
    port: int,
    *,
    local_addr: tuple[str, int] | None = None,
    sock: socket.socket | None = None,
    config: UtpConfig | None = None,
    ssl: None = None,
) -> tuple[StreamTransport, P]: ...


@overload
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
) -> tuple[asyncio.Transport, P]: ...


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
    `local_addr`: what to bind to; by default the dials of a loop that are given the same `config` object, or
    none, share a free port. `sock`: a UDP socket to use instead, that belongs to the connection from then on.
    `ssl` and what follows are as there, for TLS over uTP. Raises TimeoutError if nobody answers,
    ConnectionRefusedError if the connection is refused or the host says that nobody has the port, OSError if
    the name can't be resolved, the address can't be bound or the port is 0, and what the TLS handshake
    raises.
    """
    if sock is not None and local_addr is not None:
        raise ValueError("sock and local_addr exclude each other")
    tls = TlsArguments(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    tls.check()
    check_config(config)
    if sock is not None:
        udp_socket = UdpSocket(sock)
    elif local_addr is not None:
        udp_socket = UdpSocket.bind(*local_addr)
    else:
        return await open_connection(protocol_factory, host, port, None, partial(dial_shared, config), tls)
    dialler = Dialler(udp_socket, config)
    try:
        return await open_connection(protocol_factory, host, port, dialler.address, dialler.dial, tls)
    finally:
        dialler.release()


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

    `host`: every IPv4 interface by default; of a name with several addresses the first alone, unlike there.
    `sock`: a bound UDP socket to use instead of (host, port); the server owns it from then on. `ssl` and what
    follows are as there, for TLS over uTP. Raises OSError if the address can't be bound, ValueError if `sock`
    is not.
    """
    if isinstance(ssl, bool):
        raise TypeError("a server needs an SSLContext of its own")
    TlsArguments(ssl, None, ssl_handshake_timeout, ssl_shutdown_timeout).check()
    check_config(config)

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
        udp_socket = UdpSocket.of_server(sock)
    else:
        check_address(host or "", port)
        addresses = await look_up_all(host or "0.0.0.0", port)
        udp_socket = UdpSocket.bind(*addresses[0])
    server = UtpServer(make_protocol, udp_socket, config)
    if start_serving:
        await server.start_serving()
    return server
