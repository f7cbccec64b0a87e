"""Stopping a network, at any moment, in both adapters."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pknet_asyncio
import pknet_blocking
from pknet.errors import PknetError
from pknet.network import Identity, NodeInfo, RendezvousInfo
from tests.adapters.harness import (
    digest,
    echo,
    open_sockets,
    pknet_threads,
    read_all,
    read_until_broken,
    until,
)
from tests.adapters.test_pipes import tcp_echo, tcp_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.adapters.harness import Adapter, Stream

pytestmark = pytest.mark.timeout(30)


async def test_stopping_twice_is_harmless(adapter: Adapter) -> None:
    network = adapter.make_network()
    await adapter.call(network.stop)
    await adapter.call(network.start)
    assert network.is_started
    await adapter.call(network.stop)
    assert not network.is_started
    await adapter.call(network.stop)


async def test_stopping_twice_at_once_is_harmless(adapter: Adapter) -> None:
    network = adapter.make_network()
    await adapter.call(network.start)
    await asyncio.gather(*(adapter.call(network.stop) for _ in range(5)))
    assert not network.is_started


async def test_stop_during_start_ends_the_start_and_leaves_nothing_open(adapter: Adapter) -> None:
    nodes = adapter.nodes()
    look_up = nodes.this_node
    asked, stopped = threading.Event(), threading.Event()

    async def answer_late() -> object:
        asked.set()
        await asyncio.to_thread(stopped.wait)
        return await look_up()

    def answer_late_too() -> object:
        asked.set()
        stopped.wait()
        return look_up()

    nodes.this_node = answer_late if adapter.name == "asyncio" else answer_late_too
    network = adapter.make_network(nodes)
    starting = asyncio.ensure_future(adapter.call(network.start))
    await until(asked.is_set)
    stopping = asyncio.ensure_future(adapter.call(network.stop))
    if adapter.name == "asyncio":
        # It does not wait for the look-up.
        await stopping
    else:
        await until(lambda: network._stops)
    stopped.set()
    with pytest.raises(PknetError, match="stopped while it was starting"):
        await starting
    await stopping
    assert not network.is_started
    # And it can be started all the same.
    nodes.this_node = look_up
    await adapter.call(network.start)
    await adapter.call(network.stop)


async def test_what_was_written_is_delivered_before_the_network_stops(adapter: Adapter) -> None:
    data = os.urandom(4 << 20)
    received = asyncio.get_running_loop().create_future()

    async def take(stream: Stream) -> None:
        received.set_result(await read_all(stream))
        await stream.close()

    async with adapter.network(handler=take) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(data)
        assert digest(await received) == digest(data)


async def test_what_could_not_be_delivered_is_reported(adapter: Adapter) -> None:
    async def never_read(stream: Stream) -> None:
        await asyncio.Event().wait()

    server = adapter.make_network(handler=never_read, stop_timeout=0.2)
    await adapter.call(server.start)
    client = adapter.make_network(adapter.nodes_for(adapter.info_of(server)), stop_timeout=0.2)
    await adapter.call(client.start)
    stream = await adapter.open(client, server.node_id)
    await stream.write_until_full()
    with pytest.raises(adapter.module.UndeliveredError, match=f"bytes to {server.node_id}") as caught:
        await adapter.call(client.stop)
    ((node_id, count),) = caught.value.streams
    assert node_id == server.node_id
    assert count > 0
    assert not client.is_started
    await end_handlers(adapter, server)


async def end_handlers(adapter: Adapter, server: object) -> None:
    """Stop a network whose handlers wait for nothing that pknet could end."""
    handlers = [task for task in asyncio.all_tasks() if "never_" in repr(task)]
    for task in handlers:
        task.cancel()
    await adapter.call(server.stop)  # type: ignore[attr-defined]


async def test_a_peer_that_vanished_does_not_hold_the_stop_for_longer_than_allowed(
    adapter: Adapter,
) -> None:
    async with adapter.network(handler=echo) as server:
        client = adapter.make_network(adapter.nodes_for(adapter.info_of(server)), stop_timeout=0.3)
        await adapter.call(client.start)
        stream = await adapter.open(client, server.node_id)
        # Nothing comes in there any more.
        driver = server._driver
        hearing = driver.machine.receive_datagram, driver._receive_segments
        driver.machine.receive_datagram = driver._receive_segments = lambda *_: None
        await stream.write(b"is anybody there?")
        with pytest.raises(adapter.module.UndeliveredError):
            await adapter.call(client.stop)
        driver.machine.receive_datagram, driver._receive_segments = hearing
        # The server was told; but it was deaf.
        for record in server.connections:
            await adapter.call(record.context.abort)


async def test_an_error_in_the_body_is_not_hidden_by_what_was_not_delivered(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    async def never_read(stream: Stream) -> None:
        await asyncio.Event().wait()

    server = adapter.make_network(handler=never_read, stop_timeout=0.2)
    await adapter.call(server.start)
    client = adapter.make_network(adapter.nodes_for(adapter.info_of(server)), stop_timeout=0.2)
    exception = LookupError("in the body")
    if adapter.name == "asyncio":
        await client.__aenter__()
        await (await adapter.open(client, server.node_id)).write_until_full()
        await client.__aexit__(type(exception), exception, None)
    else:
        await adapter.call(client.__enter__)
        await (await adapter.open(client, server.node_id)).write_until_full()
        await adapter.call(client.__exit__, type(exception), exception, None)
    assert "not delivered" in caplog.text
    await end_handlers(adapter, server)


async def test_the_peers_streams_end_when_a_network_stops(adapter: Adapter) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def wait_for_the_end(stream: Stream) -> None:
        ended.set_result(await stream.read())
        await stream.close()

    async with adapter.network(handler=wait_for_the_end) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
        assert await ended == b""
        with pytest.raises(OSError):
            await stream.write(b"too late")
        await until(lambda: not server.connections)


async def test_a_handler_that_waits_for_its_stream_is_woken(adapter: Adapter) -> None:
    waits = asyncio.Event()
    woken = asyncio.Event()

    async def wait(stream: Stream) -> None:
        waits.set()
        try:
            await stream.read()
        finally:
            woken.set()

    async with adapter.network(handler=wait) as server:
        client = adapter.make_network(adapter.nodes_for(adapter.info_of(server)))
        await adapter.call(client.start)
        stream = await adapter.open(client, server.node_id)
        await waits.wait()
    assert woken.is_set()
    # It had not finished, and might have had more to say.
    with pytest.raises(ConnectionError):
        await stream.read()
    await adapter.call(client.stop)


async def test_a_dial_under_way_is_ended(adapter: Adapter) -> None:
    stranger = Identity(adapter.nodes().private_key()).node_id
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        network = adapter.make_network(adapter.nodes_for(NodeInfo(stranger, (deaf.getsockname(),))))
        await adapter.call(network.start)
        dialling = asyncio.ensure_future(adapter.call(network.connect, stranger))
        await asyncio.to_thread(deaf.recv, 2048)
        await adapter.call(network.stop)
        with pytest.raises(adapter.module.ConnectError, match="stopped"):
            await dialling
        with pytest.raises(PknetError, match="not started"):
            await adapter.call(network.connect, stranger)


async def test_who_waits_to_be_registered_is_told(adapter: Adapter) -> None:
    stranger = Identity(adapter.nodes().private_key()).node_id
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        nodes = adapter.nodes(rendezvous=[RendezvousInfo(stranger, (deaf.getsockname(),))])
        network = adapter.make_network(nodes)
        await adapter.call(network.start)
        waiting = asyncio.ensure_future(adapter.call(network.wait_registered))
        await asyncio.to_thread(deaf.recv, 2048)
        await adapter.call(network.stop)
        with pytest.raises(PknetError, match="stopped"):
            await waiting


async def test_what_the_service_gave_to_a_pipe_is_delivered_before_the_network_stops(
    adapter: Adapter,
) -> None:
    size = 700_000
    data = os.urandom(size)

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with tcp_service(give) as address:
        server = adapter.make_network(service=address)
        await adapter.call(server.start)
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            await until(lambda: server.pipes and server.pipes[0].bytes_to_node == size)
            await adapter.call(server.stop)
            assert server.pipes == []
            # The service had not finished.
            assert digest(await read_until_broken(stream)) == digest(data)


async def test_pipes_and_forwarders_end_with_their_network(adapter: Adapter) -> None:
    async with tcp_service(tcp_echo) as address:
        async with adapter.network(service=address) as server:
            client = adapter.make_network(adapter.nodes_for(adapter.info_of(server)))
            await adapter.call(client.start)
            forwarder = await adapter.call(client.forward, server.node_id)
            reader, writer = await asyncio.open_connection(*forwarder.address)
            writer.write(b"!")
            assert await reader.readexactly(1) == b"!"
            await adapter.call(client.stop)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            assert client.pipes == []
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*forwarder.address)
            writer.close()
            await until(lambda: not server.pipes)


async def test_nothing_is_left_of_a_network_that_did_everything(adapter: Adapter) -> None:
    before = open_sockets(), {thread.name for thread in pknet_threads()}
    async with tcp_service(tcp_echo) as address, adapter.rendezvous() as rendezvous:
        nodes = adapter.nodes(rendezvous=[rendezvous])
        async with adapter.network(nodes, service=address) as server:
            await adapter.call(server.wait_registered, 10)
            secret = server.make_ticket(()).secret
            info = NodeInfo(server.node_id, (), (rendezvous,), secret)
            async with adapter.network(adapter.nodes_for(info)) as client:
                forwarder = await adapter.call(client.forward, server.node_id)
                reader, writer = await asyncio.open_connection(*forwarder.address)
                stream = await adapter.open(client, server.node_id)
                writer.write(b"!")
                await stream.write(b"?")
                assert await reader.readexactly(1) == b"!"
                assert await stream.read() == b"?"
            writer.close()
    await until(lambda: (open_sockets(), {thread.name for thread in pknet_threads()}) == before)
    assert server.connections == client.connections == server.pipes == client.pipes == []


def test_a_start_that_fails_ends_the_streams_that_had_come_in_asyncio() -> None:
    class Nodes(pknet_asyncio.RendezvousNodes):
        async def this_node(self) -> NodeInfo:
            await asked.wait()
            raise RuntimeError("the database is away")

    asked = asyncio.Event()

    async def scenario() -> None:
        ended = asyncio.get_running_loop().create_future()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            try:
                await reader.read()
            finally:
                ended.set_result(None)

        options = pknet_asyncio.NetworkOptions(host="127.0.0.1", port=0, admit=lambda _: True)
        one = pknet_asyncio.Network(Nodes(), options, handler=handler)
        starting = asyncio.create_task(one.start())
        await until(lambda: bool(one.local_addresses))
        nodes = pknet_asyncio.RendezvousNodes(nodes=[NodeInfo(one.node_id, (one.address,))])
        async with pknet_asyncio.Network(
            nodes, pknet_asyncio.NetworkOptions(host="127.0.0.1", port=0)
        ) as two:
            reader, _ = await two.connect(one.node_id)
            with pytest.raises(RuntimeError, match="database"):
                await starting
            await asyncio.wait_for(ended, 10)
            with pytest.raises(ConnectionError):
                await reader.read()

    asyncio.run(scenario())


def test_a_start_that_fails_ends_the_streams_that_had_come_in_blocking() -> None:
    class Nodes(pknet_blocking.RendezvousNodes):
        def this_node(self) -> NodeInfo:
            assert asked.wait(10)
            raise RuntimeError("the database is away")

    asked, ended = threading.Event(), threading.Event()

    def handler(stream: pknet_blocking.Stream) -> None:
        asked.set()
        try:
            stream.recv(100)
        except OSError:
            ended.set()

    options = pknet_blocking.NetworkOptions(host="127.0.0.1", port=0, admit=lambda _: True)
    one = pknet_blocking.Network(Nodes(), options, handler=handler)
    failures = []

    def start() -> None:
        try:
            one.start()
        except RuntimeError as error:
            failures.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    while not one.local_addresses:
        pass
    nodes = pknet_blocking.RendezvousNodes(nodes=[NodeInfo(one.node_id, (one.address,))])
    with pknet_blocking.Network(nodes, pknet_blocking.NetworkOptions(host="127.0.0.1", port=0)) as two:
        with two.connect(one.node_id) as stream:
            starting.join(10)
            assert failures
            assert ended.wait(10)
            with pytest.raises(ConnectionError):
                stream.recv(100)


async def test_what_a_node_was_told_has_arrived_reaches_the_service_before_the_network_stops(
    adapter: Adapter,
) -> None:
    may_read = asyncio.Event()
    async with upload(adapter, may_read) as (server, stream, uploaded):
        given = await stream.write_until_full()
        arrived = given - undelivered(stream)
        assert 0 < arrived < given
        stopping = asyncio.create_task(adapter.call(server.stop))
        await until(lambda: not server.is_started or server.pipes[0].bytes_from_node)
        may_read.set()
        await stopping
        received, error = await uploaded
        # What is left out is a record of TLS that had not come whole, and what TLS adds to all of them.
        assert received > arrived - (1 << 14) - given // 500
        assert isinstance(error, ConnectionResetError)
        await stream.abort()


async def test_an_upload_that_was_whole_ends_well_for_the_service_when_the_network_stops(
    adapter: Adapter,
) -> None:
    may_read = asyncio.Event()
    async with upload(adapter, may_read) as (server, stream, uploaded):
        await stream.write(bytes(100_000))
        await stream.finish()
        await until(lambda: server.pipes and not undelivered(stream))
        stopping = asyncio.create_task(adapter.call(server.stop))
        may_read.set()
        await stopping
        assert await uploaded == (100_000, None)


@contextlib.asynccontextmanager
async def upload(adapter: Adapter, may_read: asyncio.Event) -> AsyncIterator[tuple[Any, Stream, Any]]:
    """Open a stream to a network whose service reads when it may; give also how much and how it ended."""
    loop = asyncio.get_running_loop()

    async def serve() -> tuple[int, OSError | None]:
        tcp, _ = await loop.sock_accept(listener)
        received = 0
        with tcp:
            try:
                await may_read.wait()
                while data := await loop.sock_recv(tcp, 1 << 16):
                    received += len(data)
            except OSError as error:
                return received, error
        return received, None

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        uploaded = asyncio.create_task(serve())
        server = adapter.make_network(service=listener.getsockname())
        await adapter.call(server.start)
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            yield server, await adapter.open(client, server.node_id), uploaded


async def test_a_download_that_is_cut_by_stop_is_no_good_end(adapter: Adapter) -> None:
    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()

    async with tcp_service(give) as address:
        server = adapter.make_network(service=address)
        await adapter.call(server.start)
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            received = asyncio.create_task(read_until_broken(stream))
            await until(lambda: server.pipes and server.pipes[0].bytes_to_node > 1 << 20)
            (record,) = server.pipes
            await adapter.call(server.stop)
            # All that was taken from the service has come.
            assert len(await received) == record.bytes_to_node


async def test_what_a_handler_wrote_before_stop_ended_it_comes_and_is_no_good_end(adapter: Adapter) -> None:
    taken = 0

    async def give(stream: Stream) -> None:
        nonlocal taken
        try:
            while True:
                await stream.write(bytes(1000))
                taken += 1000
        finally:
            await stream.close_soon()

    server = adapter.make_network(handler=give)
    await adapter.call(server.start)
    async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
        stream = await adapter.open(client, server.node_id)
        received = asyncio.create_task(read_until_broken(stream))
        await until(lambda: taken > 1 << 20)
        await adapter.call(server.stop)
        assert len(await received) >= taken


async def test_a_handler_that_had_finished_its_side_is_a_good_end(adapter: Adapter) -> None:
    has_finished = asyncio.Event()

    async def give(stream: Stream) -> None:
        await stream.write(b"all there is")
        await stream.finish()
        has_finished.set()
        await stream.read()

    server = adapter.make_network(handler=give)
    await adapter.call(server.start)
    async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
        stream = await adapter.open(client, server.node_id)
        assert await stream.read() == b"all there is"
        await has_finished.wait()
        await adapter.call(server.stop)
        assert await stream.read() == b""


def undelivered(stream: Stream) -> int:
    """Return how many bytes a program was not told have arrived."""
    raw = stream.raw
    count: int = raw.transport.undelivered if isinstance(raw, asyncio.StreamWriter) else raw.undelivered
    return count


async def test_an_error_in_the_body_is_no_good_end_for_what_was_being_sent(adapter: Adapter) -> None:
    received = asyncio.get_running_loop().create_future()

    async def take(stream: Stream) -> None:
        received.set_result(await read_until_broken(stream))

    async with adapter.network(handler=take) as server:
        client = adapter.make_network(adapter.nodes_for(adapter.info_of(server)))
        exception = LookupError("in the midst of it")
        enter, leave = (
            (client.__aenter__, client.__aexit__)
            if adapter.name == "asyncio"
            else (client.__enter__, client.__exit__)
        )
        await adapter.call(enter)
        stream = await adapter.open(client, server.node_id)
        await stream.write(b"the first half")
        await adapter.call(leave, LookupError, exception, None)
        assert await received == b"the first half"
