"""aiohttp, which knows nothing of uTP, serves and asks over it as it is."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from pknet_asyncio import create_utp_connection, create_utp_server
from tests.adapters.certificates import tls_contexts
from tests.adapters.harness import digest, until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pknet_asyncio import UtpServer

pytestmark = [pytest.mark.peer, pytest.mark.timeout(60)]

MUCH = os.urandom(5 << 20)


class UtpConnector(aiohttp.BaseConnector):
    """Opens the connections of an aiohttp session by uTP."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.tls = tls
        self.dials = 0

    async def _create_connection(self, request: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:
        self.dials += 1
        async with asyncio.timeout(timeout.sock_connect):
            try:
                _, protocol = await create_utp_connection(
                    self._factory,
                    request.url.host,
                    request.url.port,
                    ssl=self.tls if request.is_ssl() else None,
                )
            except OSError as error:
                raise aiohttp.ClientConnectorError(request.connection_key, error) from error
        return protocol


async def whole(request: web.Request) -> web.Response:
    """Answer with what came, all at once."""
    return web.Response(body=await request.read())


async def piecewise(request: web.Request) -> web.StreamResponse:
    """Answer with what comes, as it comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


async def shout(request: web.Request) -> web.WebSocketResponse:
    """Answer each message by a louder one."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await websocket.send_str(message.data.upper())
        else:
            await websocket.send_bytes(message.data)
    return websocket


async def peer_of(request: web.Request) -> web.Response:
    """Tell who asks, and how many bytes came by the same connection until now."""
    assert request.transport is not None
    connection = request.transport.get_extra_info("utp_connection")
    return web.json_response({"remote": request.remote, "received": connection.bytes_received})


@contextlib.asynccontextmanager
async def serving(folder: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[UtpServer]:
    application = web.Application(client_max_size=1 << 30)
    application.add_routes(
        [
            web.post("/whole", whole),
            web.post("/piecewise", piecewise),
            web.get("/shout", shout),
            web.get("/peer", peer_of),
            web.static("/files", folder),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    async with await create_utp_server(runner.server, "127.0.0.1", ssl=tls) as server:
        try:
            yield server
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def session_with(folder: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, UtpServer]]:
    """Serve, and give a session for it."""
    async with serving(folder) as server:
        async with aiohttp.ClientSession(
            "http://{}:{}".format(*server.address), connector=UtpConnector()
        ) as session:
            yield session, server


async def test_5_mib_are_posted_and_come_back(tmp_path: Path) -> None:
    async with session_with(tmp_path) as (session, _):
        async with session.post("/whole", data=io.BytesIO(MUCH)) as response:
            assert response.status == 200
            assert response.content_length == len(MUCH)
            assert digest(await response.read()) == digest(MUCH)


async def test_pieces_go_and_come_back_while_they_are_made(tmp_path: Path) -> None:
    turn = asyncio.Semaphore()

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(50):
            # Not before the one before has come back.
            await turn.acquire()
            yield b"%d," % number

    async with session_with(tmp_path) as (session, _):
        async with session.post("/piecewise", data=pieces()) as response:
            assert response.headers["Transfer-Encoding"] == "chunked"
            received = b""
            async for piece in response.content.iter_any():
                received += piece
                if piece.endswith(b","):
                    turn.release()
        assert received == b"".join(b"%d," % number for number in range(50))


async def test_requests_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    async with session_with(tmp_path) as (session, server):
        answers = []
        for _ in range(10):
            async with session.get("/peer") as response:
                answers.append(await response.json())
        assert {answer["remote"] for answer in answers} == {"127.0.0.1"}
        assert answers == sorted(answers, key=lambda answer: answer["received"])
        assert session.connector.dials == len(server.connections) == 1


async def test_requests_beside_each_other_have_connections_of_their_own(tmp_path: Path) -> None:
    async def ask(session: aiohttp.ClientSession, number: int) -> bytes:
        async with session.post("/whole", data=b"%d" % number * 10_000) as response:
            return await response.read()

    async with session_with(tmp_path) as (session, _):
        answers = await asyncio.gather(*(ask(session, number) for number in range(30)))
        assert answers == [b"%d" % number * 10_000 for number in range(30)]


async def test_a_web_socket_talks_and_ends(tmp_path: Path) -> None:
    async with session_with(tmp_path) as (session, _):
        async with session.ws_connect("/shout", max_msg_size=0) as websocket:
            await websocket.send_str("hello")
            assert await websocket.receive_str() == "HELLO"
            await websocket.send_bytes(MUCH[: 1 << 20])
            assert digest(await websocket.receive_bytes()) == digest(MUCH[: 1 << 20])
        assert websocket.close_code == aiohttp.WSCloseCode.OK


async def test_a_file_is_served(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(MUCH)
    async with session_with(tmp_path) as (session, _):
        async with session.get("/files/file") as response:
            assert digest(await response.read()) == digest(MUCH)
        async with session.get("/files/file", headers={"Range": "bytes=1000-1999"}) as response:
            assert await response.read() == MUCH[1000:2000]


async def test_a_client_that_leaves_in_the_middle_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(MUCH)
    async with session_with(tmp_path) as (session, server):
        async with session.get("/files/file") as response:
            assert await response.content.readexactly(1000) == MUCH[:1000]
        await until(lambda: not server.connections)
        async with session.get("/peer") as response:
            assert response.status == 200


async def test_https(tmp_path: Path) -> None:
    server_context, client_context = tls_contexts(tmp_path)
    (tmp_path / "file").write_bytes(MUCH)
    async with serving(tmp_path, server_context) as server:
        connector = UtpConnector(client_context)
        async with aiohttp.ClientSession(
            "https://{}:{}".format(*server.address), connector=connector
        ) as session:
            async with session.post("/whole", data=io.BytesIO(MUCH)) as response:
                assert digest(await response.read()) == digest(MUCH)
            async with session.get("/files/file") as response:
                assert digest(await response.read()) == digest(MUCH)
            async with session.ws_connect("/shout") as websocket:
                await websocket.send_str("hello")
                assert await websocket.receive_str() == "HELLO"
            assert connector.dials == 1


async def test_a_server_that_refuses_and_one_that_is_not_there_are_errors_of_aiohttp() -> None:
    timeout = aiohttp.ClientTimeout(sock_connect=0.2)
    async with aiohttp.ClientSession(connector=UtpConnector(), timeout=timeout) as session:
        async with await create_utp_server(asyncio.Protocol, "127.0.0.1", start_serving=False) as server:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://{}:{}/".format(*server.address))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await session.get("http://{}:{}/".format(*deaf.getsockname()))
