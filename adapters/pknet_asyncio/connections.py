"""Between the connections of a uTP endpoint and their transports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pknet_asyncio.socket_view import SocketView
from pknet_asyncio.transport import StreamTransport
from pknet_io.local import LocalAddress

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pknet.utp import UtpConnection, UtpEvent
    from pknet_asyncio.driver import Driver

__all__ = ["dispatch", "make_transport"]


def dispatch(event: UtpEvent) -> None:
    """Hand an event to the transport of its connection."""
    if event.connection.context is not None:
        event.connection.context.handle_event(event)


def make_transport(
    driver: Driver,
    connection: UtpConnection,
    protocol: asyncio.BaseProtocol | None,
    on_lost: Callable[[StreamTransport], None],
) -> StreamTransport:
    """Make the transport of a connection."""
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
