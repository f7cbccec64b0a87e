"""A UtpServer is used as an asyncio.Server is, and a dial takes what loop.create_connection takes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pknet_asyncio import UtpServer, create_utp_connection, create_utp_server
from tests.adapters.harness import until
from tests.adapters.protocols import ClosingProtocol, Protocol, connect

pytestmark = pytest.mark.timeout(30)


async def test_a_server_is_one_of_asyncio() -> None:
    async with await create_utp_server(Protocol, "127.0.0.1") as server:
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is asyncio.get_running_loop()
        assert server.is_serving()
        (sock,) = server.sockets
        assert sock.getsockname() == server.address
        assert sock.fileno() >= 0
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()
    assert not server.is_serving()
    assert server.sockets == ()


async def test_a_server_that_does_not_serve_yet_refuses() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1", start_serving=False) as server:
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await connect(server.address, Protocol())
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        transport = await connect(server.address, Protocol())
        transport.close()


async def test_serve_forever_starts_to_serve_and_ends_when_the_server_is_closed() -> None:
    server = await create_utp_server(ClosingProtocol, "127.0.0.1", start_serving=False)
    serving = asyncio.ensure_future(server.serve_forever())
    await until(server.is_serving)
    with pytest.raises(RuntimeError, match="already"):
        await server.serve_forever()
    assert server.is_serving()
    transport = await connect(server.address, protocol := Protocol())
    transport.close()
    await protocol.lost
    server.close()
    await serving


async def test_a_closed_server_serves_no_more() -> None:
    server = await create_utp_server(Protocol, "127.0.0.1")
    server.close()
    await server.wait_closed()
    with pytest.raises(RuntimeError, match="closed"):
        await server.start_serving()
    with pytest.raises(RuntimeError, match="closed"):
        await server.serve_forever()
    assert not server.is_serving()


async def test_serve_forever_closes_the_server_when_it_is_cancelled() -> None:
    server = await create_utp_server(Protocol, "127.0.0.1")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await server.serve_forever()
    assert not server.is_serving()
    await server.wait_closed()


async def test_a_server_closes_its_clients_when_it_is_told_to() -> None:
    async with await create_utp_server(Protocol, "127.0.0.1") as server:
        await connect(server.address, protocol := ClosingProtocol())
        await until(lambda: server.connections)
        server.connections[0].write(b"good bye")
        server.close_clients()
        assert await protocol.lost is None
        assert protocol.received == b"good bye"


async def test_a_server_breaks_with_its_clients_when_it_is_told_to() -> None:
    async with await create_utp_server(Protocol, "127.0.0.1") as server:
        await connect(server.address, protocol := Protocol())
        await until(lambda: server.connections)
        server.abort_clients()
        assert isinstance(await protocol.lost, ConnectionResetError)


async def test_an_error_in_the_body_is_seen_at_once_and_ends_the_connections() -> None:
    protocol = Protocol()
    with pytest.raises(LookupError, match="a mistake"):
        async with await create_utp_server(Protocol, "127.0.0.1") as server:
            await connect(server.address, protocol)
            raise LookupError("a mistake")
    assert isinstance(await protocol.lost, ConnectionResetError)


async def test_a_server_that_is_cancelled_ends_its_connections() -> None:
    served: asyncio.Future[UtpServer] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with await create_utp_server(Protocol, "127.0.0.1") as server:
            served.set_result(server)
            await server.serve_forever()

    serving = asyncio.ensure_future(serve())
    server = await served
    await connect(server.address, protocol := Protocol())
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert isinstance(await protocol.lost, ConnectionResetError)


async def test_a_server_is_left_when_its_connections_are_over_or_the_wait_for_them_is_cancelled() -> None:
    leaving = asyncio.Event()

    async def serve(server: UtpServer) -> None:
        async with server:
            leaving.set()

    for is_cancelled in (False, True):
        server = await create_utp_server(ClosingProtocol, "127.0.0.1")
        transport = await connect(server.address, protocol := Protocol())
        leaving.clear()
        serving = asyncio.ensure_future(serve(server))
        await leaving.wait()
        transport.write(b"still here")
        await until(lambda: server.connections[0].get_protocol().received == b"still here")
        assert not serving.done()
        if is_cancelled:
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert isinstance(await protocol.lost, ConnectionResetError)
        else:
            transport.close()
            await serving
            assert await protocol.lost is None


async def test_a_server_shows_its_socket_and_tells_its_address_when_it_is_closed_too() -> None:
    server = await create_utp_server(Protocol, "127.0.0.1")
    address = server.address
    assert repr(address) in repr(server)
    server.close()
    await server.wait_closed()
    assert server.address == address
    assert repr(server) == "<UtpServer sockets=()>"


async def test_a_socket_that_is_not_bound_serves_nobody_and_stays_the_callers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="has to be bound"):
            await create_utp_server(Protocol, sock=sock)
        assert sock.fileno() >= 0


async def test_a_server_without_a_host_listens_on_every_ipv4_interface() -> None:
    for host in (None, ""):
        async with await create_utp_server(Protocol, host) as server:
            assert server.address[0] == "0.0.0.0"


async def test_a_dial_leaves_from_the_address_that_it_is_given() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            address = free.getsockname()
        transport = await connect(server.address, Protocol(), local_addr=address)
        assert transport.get_extra_info("sockname") == address
        await until(lambda: server.connections)
        assert server.connections[0].get_extra_info("peername") == address
        transport.close()


async def test_a_dial_leaves_by_the_socket_that_it_is_given() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        transport = await connect(server.address, Protocol(), sock=sock)
        await until(lambda: server.connections)
        assert server.connections[0].get_extra_info("peername") == address
        transport.close()
    await until(lambda: sock.fileno() == -1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sock": True, "local_addr": ("127.0.0.1", 0)}, "exclude each other"),
        ({"server_hostname": "example.org"}, "only meaningful with ssl"),
        ({"ssl_handshake_timeout": 1.0}, "only meaningful with ssl"),
        ({"ssl_shutdown_timeout": 1.0}, "only meaningful with ssl"),
    ],
)
async def test_arguments_of_a_dial_that_make_no_sense_are_a_mistake(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await create_utp_connection(Protocol, "127.0.0.1", 9, **options)


async def test_a_server_has_no_default_certificate() -> None:
    ssl: Any = True
    with pytest.raises(TypeError, match="SSLContext"):
        await create_utp_server(Protocol, "127.0.0.1", ssl=ssl)
    with pytest.raises(ValueError, match="only meaningful with ssl"):
        await create_utp_server(Protocol, "127.0.0.1", ssl_handshake_timeout=1.0)


async def test_a_dial_goes_to_an_address_of_the_family_that_it_leaves_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **named: Any) -> list[Any]:
        if host != "both.example":
            return look_up(host, port, *args, **named)
        return look_up("2001:db8::1", port, *args, **named) + look_up("127.0.0.1", port, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        name = ("both.example", server.address[1])
        transport = await connect(name, Protocol(), local_addr=("127.0.0.1", 0))
        transport.close()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        transport = await connect(name, Protocol(), sock=sock)
        transport.close()
    with pytest.raises(OSError, match="has no address of the family"):
        await create_utp_connection(Protocol, "127.0.0.1", 9, local_addr=("::1", 0))
