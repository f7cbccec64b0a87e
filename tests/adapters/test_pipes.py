"""Streams joined to TCP connections, in both adapters: to a local service, and from a local port."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pknet.network import Identity, NodeInfo
from tests.adapters.harness import digest, read_all, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.adapters.harness import Adapter, Address

    Service = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

pytestmark = pytest.mark.timeout(30)


@contextlib.asynccontextmanager
async def tcp_service(service: Service) -> AsyncIterator[Address]:
    """Run a local TCP service."""
    server = await asyncio.start_server(service, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


async def tcp_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, and end when it ends."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def exposed(adapter: Adapter, service: Service, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Run a node that exposes a TCP service, and one that knows of it."""
    async with tcp_service(service) as address:
        async with adapter.network(service=address, **options) as server:
            async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
                yield server, client


async def test_a_stream_reaches_the_local_service(adapter: Adapter) -> None:
    data = os.urandom(3 << 20)
    async with exposed(adapter, tcp_echo) as (server, client):
        stream = await adapter.open(client, server.node_id)
        answer = asyncio.ensure_future(read_all(stream))
        await stream.write(data)
        await stream.finish()
        assert digest(await answer) == digest(data)
        await stream.close()
        await until(lambda: not server.pipes)


async def test_a_service_that_answers_after_the_end_of_the_question_is_heard(adapter: Adapter) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(b"you asked: " + question)
        writer.close()
        await writer.wait_closed()

    async with exposed(adapter, answer) as (server, client):
        stream = await adapter.open(client, server.node_id)
        await stream.write(b"what?")
        await stream.finish()
        assert await read_all(stream) == b"you asked: what?"
        await stream.close()


async def test_a_service_that_ends_first_still_hears_the_rest(adapter: Adapter) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def end_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        heard.set_result(await reader.read())
        writer.close()
        await writer.wait_closed()

    async with exposed(adapter, end_then_listen) as (server, client):
        stream = await adapter.open(client, server.node_id)
        assert await stream.read() == b""
        await stream.write(b"I was not done")
        await stream.close()
        assert await heard == b"I was not done"


async def test_pipes_are_listed_and_one_can_be_closed(adapter: Adapter) -> None:
    async with exposed(adapter, tcp_echo) as (server, client):
        kept, closed = [await adapter.open(client, server.node_id) for _ in range(2)]
        await closed.write(b"goodbye")
        assert await closed.read() == b"goodbye"
        (first,) = [record for record in server.pipes if record.bytes_from_node]
        assert first.node_id == client.node_id
        assert first.tcp_address == server.options.service
        assert (first.bytes_from_node, first.bytes_to_node) == (7, 7)
        await adapter.call(first.close)
        with pytest.raises(ConnectionResetError):
            await closed.read()
        await kept.write(b"still here")
        assert await kept.read() == b"still here"
        await until(lambda: len(server.pipes) == 1)
        assert first not in server.pipes
        await kept.close()
        await until(lambda: not server.pipes)


async def test_a_service_that_breaks_off_is_not_taken_for_one_that_ends(adapter: Adapter) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half of the ans")
        await writer.drain()
        await reader.readexactly(1)
        reset(writer)

    async with exposed(adapter, break_off) as (server, client):
        stream = await adapter.open(client, server.node_id)
        assert await stream.read() == b"half of the ans"
        await stream.write(b"!")
        with pytest.raises(ConnectionResetError):
            await stream.read()
        await until(lambda: not server.pipes)


async def test_a_node_that_breaks_off_is_not_taken_by_the_service_for_one_that_ends(
    adapter: Adapter,
) -> None:
    told = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:
            told.set_result(None)
        else:
            told.set_exception(AssertionError("a reset looked like an end"))
        writer.close()

    async with exposed(adapter, listen) as (server, client):
        stream = await adapter.open(client, server.node_id)
        await stream.write(b"half of the quest")
        await until(lambda: server.pipes and server.pipes[0].bytes_from_node)
        await stream.abort()
        await told
        await until(lambda: not server.pipes)


async def test_a_service_that_does_not_read_makes_the_node_wait(adapter: Adapter) -> None:
    read = asyncio.Event()
    heard = asyncio.get_running_loop().create_future()

    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read.wait()
        heard.set_result(len(await reader.read()))
        writer.close()

    async with exposed(adapter, dawdle) as (server, client):
        stream = await adapter.open(client, server.node_id)
        taken = await stream.write_until_full()
        # Besides pknet's buffers there are those of two TCP sockets.
        assert taken < 16 << 20
        read.set()
        await stream.close()
        assert await heard == taken


async def test_a_node_that_does_not_read_makes_the_service_wait(adapter: Adapter) -> None:
    written = 0
    full = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        with contextlib.suppress(TimeoutError):
            while True:
                writer.write(bytes(1 << 16))
                written += 1 << 16
                async with asyncio.timeout(0.5):
                    await writer.drain()
        full.set()
        writer.close()

    async with exposed(adapter, pour) as (server, client):
        stream = await adapter.open(client, server.node_id)
        await full.wait()
        assert written < 16 << 20
        assert len(await read_all(stream)) == written
        await stream.close()


async def test_a_service_that_is_not_there_resets_the_stream(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
    async with adapter.network(service=address) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            with pytest.raises(ConnectionResetError):
                await stream.read()
            await until(lambda: not server.pipes)
    why = os.strerror(errno.ECONNREFUSED)
    assert f"the local service 127.0.0.1 port {address[1]} does not answer: {why}\n" in caplog.text


async def test_who_forwards_is_told_when_the_service_behind_the_node_is_not_there(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
    async with adapter.network(service=address) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            forwarder = await adapter.call(client.forward, server.node_id)
            reader, writer = await asyncio.open_connection(*forwarder.address)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            await until(lambda: not client.pipes)
    told = f"node {server.node_id} broke a forwarded connection before it sent anything"
    assert caplog.text.count(told) == 1


async def test_a_connection_that_its_own_program_breaks_is_not_laid_to_the_node(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    async with exposed(adapter, tcp_echo) as (server, client):
        forwarder = await adapter.call(client.forward, server.node_id)
        _, writer = await asyncio.open_connection(*forwarder.address)
        await until(lambda: server.pipes)
        reset(writer)
        await until(lambda: not client.pipes and not server.pipes)
    assert "broke a forwarded connection" not in caplog.text


async def test_a_local_port_leads_to_a_service_behind_a_node(adapter: Adapter) -> None:
    data = os.urandom(2 << 20)
    async with exposed(adapter, tcp_echo) as (server, client):
        forwarder = await adapter.call(client.forward, server.node_id)
        reader, writer = await asyncio.open_connection(*forwarder.address)
        answer = asyncio.ensure_future(reader.read())
        writer.write(data)
        writer.write_eof()
        assert digest(await answer) == digest(data)
        writer.close()
        await writer.wait_closed()
        await until(lambda: not client.pipes and not server.pipes)
        assert forwarder.failures == 0
        await adapter.call(forwarder.close)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*forwarder.address)
        await adapter.call(forwarder.close)


async def test_many_connections_are_forwarded_at_once(adapter: Adapter) -> None:
    async with exposed(adapter, tcp_echo) as (server, client):
        forwarder = await adapter.call(client.forward, server.node_id)

        async def ask(number: int) -> bytes:
            reader, writer = await asyncio.open_connection(*forwarder.address)
            writer.write(b"%d" % number * 1000)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        answers = await asyncio.gather(*map(ask, range(30)))
        await until(lambda: not client.pipes and not server.pipes)
    assert answers == [b"%d" % number * 1000 for number in range(30)]


async def test_connections_that_are_open_go_on_when_the_forwarder_is_closed(adapter: Adapter) -> None:
    async with exposed(adapter, tcp_echo) as (server, client):
        forwarder = await adapter.call(client.forward, server.node_id)
        reader, writer = await asyncio.open_connection(*forwarder.address)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        (record,) = client.pipes
        assert record.node_id == server.node_id
        assert record.tcp_address == writer.get_extra_info("sockname")
        await adapter.call(forwarder.close)
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"
        writer.close()
        await writer.wait_closed()


async def test_a_connection_to_a_node_that_is_not_there_is_reset(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Identity(adapter.nodes().private_key()).node_id
    async with adapter.network() as other:
        # There is somebody at this address, but somebody else.
        info = NodeInfo(stranger, (other.address,))
        async with adapter.network(adapter.nodes_for(info)) as client:
            forwarder = await adapter.call(client.forward, stranger)
            reader, writer = await asyncio.open_connection(*forwarder.address)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            assert forwarder.failures == 1
    assert "a forwarded connection was closed" in caplog.text


async def test_a_port_in_use_can_not_be_forwarded(adapter: Adapter) -> None:
    async with adapter.network() as network:
        with socket.create_server(("127.0.0.1", 0)) as other:
            with pytest.raises(OSError, match="in use"):
                await adapter.call(network.forward, network.node_id, port=other.getsockname()[1])


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a TCP connection off."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
