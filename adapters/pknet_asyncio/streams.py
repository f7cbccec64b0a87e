"""Plain uTP for asyncio, as `asyncio.open_connection` and `asyncio.start_server` are for TCP."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypedDict

from pknet_asyncio.reader import READER_LIMIT, StreamReader, reader_and_writer
from pknet_asyncio.utp import create_utp_connection, create_utp_server

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from ssl import SSLContext
    from typing import Unpack

    from pknet.utp import UtpConfig
    from pknet_asyncio.server import UtpServer

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]

__all__ = ["open_utp_connection", "start_utp_server"]


class _TlsOptions(TypedDict, total=False):
    ssl_handshake_timeout: float | None
    ssl_shutdown_timeout: float | None


class _ConnectionOptions(_TlsOptions, total=False):
    """The keywords of `create_utp_connection`."""

    local_addr: tuple[str, int] | None
    sock: socket.socket | None
    config: UtpConfig | None
    ssl: SSLContext | bool | None
    server_hostname: str | None


class _ServerOptions(_TlsOptions, total=False):
    """The keywords of `create_utp_server`."""

    sock: socket.socket | None
    config: UtpConfig | None
    ssl: SSLContext | None
    start_serving: bool


async def open_utp_connection(
    host: str, port: int, *, limit: int = READER_LIMIT, **options: Unpack[_ConnectionOptions]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a uTP connection and return its (reader, writer), as asyncio.open_connection does for TCP.

    `limit`: the reader's buffer in bytes. What else may be given, and what is raised, is as for
    `create_utp_connection`.
    """
    return await reader_and_writer(
        limit, lambda make_protocol: create_utp_connection(make_protocol, host, port, **options)
    )


async def start_utp_server(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    limit: int = READER_LIMIT,
    **options: Unpack[_ServerOptions],
) -> UtpServer:
    """Start a uTP server that calls `handler(reader, writer)` for each connection, as start_server for TCP.

    `handler`: a function or a coroutine function; if it fails or is cancelled, its connection is reset.
    `limit`: the reader's buffer in bytes. What else may be given, and what is raised, is as for
    `create_utp_server`.
    """
    tasks: set[asyncio.Task[None]] = set()
    return await create_utp_server(lambda: _HandlerProtocol(handler, limit, tasks), host, port, **options)


class _HandlerProtocol(asyncio.StreamReaderProtocol):
    """Runs the handler of a server, in a task of its own, for one connection."""

    def __init__(self, handler: Handler, limit: int, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__(StreamReader(limit), self._begin)
        self._handler = handler
        self._tasks = tasks
        # The connection lives on if the handler returns without having closed it; before 3.13 the base class
        # sees to that.
        self._writer: asyncio.StreamWriter | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._writer = None

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        task = asyncio.get_running_loop().create_task(self._handle(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(done, writer.transport))

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        result = self._handler(reader, writer)
        if inspect.isawaitable(result):
            await result

    def _end(self, task: asyncio.Task[None], transport: asyncio.WriteTransport) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            # Nobody goes on: the peer must not take what it got for all there was.
            if not transport.is_closing():
                transport.abort()
        elif (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {
                    "message": "Unhandled exception in the handler of a uTP connection",
                    "exception": error,
                    "transport": transport,
                }
            )
            transport.abort()
