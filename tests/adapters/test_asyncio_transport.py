"""What is asyncio's own: transports and protocols, cancellation, loops that end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
from typing import Any

import pytest

import pknet_asyncio
from pknet._core.utp_packet import PacketType, parse_packet
from pknet.utp import UtpConfig
from pknet_asyncio.driver import Driver
from tests.adapters.harness import AsyncioAdapter, Stream, digest, echo, open_sockets, read_all, until
from tests.adapters.protocols import (
    BufferedProtocol,
    ClosingProtocol,
    Protocol,
    connect,
    joined,
    unhandled_exceptions,
)
from tests.adapters.silent_peer import silent_peer

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def adapter() -> AsyncioAdapter:
    return AsyncioAdapter()


async def test_a_protocol_that_raises_loses_its_stream_and_the_loop_is_told(adapter: AsyncioAdapter) -> None:
    unhandled = unhandled_exceptions()

    class Faulty(Protocol):
        def data_received(self, data: bytes) -> None:
            raise LookupError("a mistake")

    async with adapter.serve(echo) as server:
        protocol, other = Faulty(), Protocol()
        transport, other_transport = (
            await connect(server.address, protocol),
            await connect(server.address, other),
        )
        transport.write(b"!")
        # Not None: a protocol must not take it for the end of what its peer had to say.
        assert isinstance(await protocol.lost, LookupError)
        assert unhandled == ["a mistake"]
        other_transport.write(b"!")
        await until(lambda: other.received == b"!")
        other_transport.close()
        assert await other.lost is None


async def test_nothing_is_handed_on_while_reading_is_paused_not_even_the_end(adapter: AsyncioAdapter) -> None:
    async def answer(stream: Stream) -> None:
        await stream.write(b"x" * 1000)
        await stream.close()

    async with adapter.serve(answer) as server:
        protocol = Protocol()
        transport = await connect(server.address, protocol)
        transport.pause_reading()
        assert not transport.is_reading()
        await until(lambda: transport.stream.readable == 1000)
        transport.write_eof()
        await until(lambda: transport.stream.state == "CLOSED")
        assert protocol.told == ["made"]
        transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.told == ["made", "data", "eof", "lost"]


async def test_a_paused_transport_whose_connection_has_ended_can_be_closed(adapter: AsyncioAdapter) -> None:
    async def answer(stream: Stream) -> None:
        await stream.write(b"x" * 1000)
        await stream.close()

    async with adapter.serve(answer) as server:
        protocol = Protocol()
        transport = await connect(server.address, protocol)
        transport.pause_reading()
        transport.write_eof()
        await until(lambda: transport.stream.state == "CLOSED")
        transport.close()
        assert protocol.told == ["made"]
        assert await protocol.lost is None
        assert protocol.told == ["made", "lost"]


async def test_close_delivers_to_a_peer_that_has_more_to_say_than_is_read(adapter: AsyncioAdapter) -> None:
    data = os.urandom(8 << 20)
    received = asyncio.get_running_loop().create_future()

    async def answer_half(stream: Stream) -> None:
        kept = bytearray()
        while piece := await stream.read():
            kept += piece
            if len(kept) < 4 << 20:
                await stream.write(piece)
        received.set_result(bytes(kept))
        await stream.close()

    async with adapter.serve(answer_half) as server:
        _, writer = await pknet_asyncio.open_utp_connection(*server.address)
        writer.write(data)
        writer.close()
        await writer.wait_closed()
        assert digest(await received) == digest(data)


async def test_close_gives_up_a_peer_that_never_reads_and_tells_what_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pknet_asyncio.transport, "CLOSING_TIMEOUT", 0.1)
    async with joined() as (one, other):
        other.transport.pause_reading()
        # The buffers of both sides hold 1 MiB each.
        one.transport.write(bytes(4 << 20))
        one.transport.close()
        with pytest.raises(TimeoutError, match=r"[0-9]{7} bytes were not delivered"):
            raise await one.lost
        assert one.transport.get_write_buffer_size() == 0
        assert one.transport.undelivered > 2 << 20
        # The peer must not take what came for all.
        other.transport.resume_reading()
        assert isinstance(await other.lost, ConnectionResetError)


async def test_close_waits_for_a_peer_that_reads_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(ClosingProtocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.01, self.transport.resume_reading)

    monkeypatch.setattr(pknet_asyncio.transport, "CLOSING_TIMEOUT", 0.3)
    data = os.urandom(8 << 20)
    async with joined(make_other=Slow) as (one, other):
        one.transport.write(data)
        one.transport.close()
        assert await one.lost is None
        await other.lost
        assert digest(other.received) == digest(data)


async def test_a_write_after_the_end_is_a_mistake_and_one_after_close_is_dropped(
    adapter: AsyncioAdapter,
) -> None:
    async with adapter.serve(echo) as server:
        transport = await connect(server.address, protocol := Protocol())
        transport.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            transport.write(b"more")
        assert await protocol.lost is None
        transport = await connect(server.address, protocol := Protocol())
        transport.close()
        transport.write(b"more")
        assert transport.is_closing()
        assert await protocol.lost is None
        transport.close()
        transport.abort()


async def test_a_writer_is_paused_at_the_high_and_resumed_at_the_low_water_mark(
    adapter: AsyncioAdapter,
) -> None:
    async with adapter.serve(echo) as server:
        protocol = Protocol()
        config = UtpConfig(send_buffer=1 << 20)
        transport = await connect(server.address, protocol, config=config)
        transport.set_write_buffer_limits(high=3000, low=1000)
        assert transport.get_write_buffer_limits() == (1000, 3000)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)
        # The machine itself takes so much.
        transport.write(bytes(1 << 20))
        assert protocol.told == ["made"]
        transport.writelines([b"x" * 2000, b"y" * 1001])
        assert transport.get_write_buffer_size() == 3001
        assert protocol.told == ["made", "pause"]
        await until(lambda: len(protocol.received) == (1 << 20) + 3001)
        assert protocol.told.count("resume") == 1
        transport.abort()
        await protocol.lost


async def test_a_buffered_protocol_gets_what_comes_into_its_own_buffer(adapter: AsyncioAdapter) -> None:
    data = os.urandom(100_000)
    async with adapter.serve(echo) as server:
        transport = await connect(server.address, protocol := BufferedProtocol())
        transport.write(data)
        transport.write_eof()
        assert await protocol.lost is None
        assert protocol.received == data


async def test_data_and_a_reset_in_one_breath_are_taken_in_turn(adapter: AsyncioAdapter) -> None:
    class Echo(Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.append(self)

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    accepted: list[Echo] = []
    async with await pknet_asyncio.create_utp_server(Echo, "127.0.0.1") as server:
        for _ in range(20):
            transport = await connect(server.address, Protocol())
            await until(lambda: accepted)
            transport.write(b"x")
            # Both are on their way before the server's turn comes.
            transport.driver.drain()
            transport.abort()
            transport.driver.drain()
            assert isinstance(await accepted.pop().lost, ConnectionResetError)


async def test_a_handler_that_is_no_coroutine_function_may_go_on_later(adapter: AsyncioAdapter) -> None:
    writers: list[asyncio.StreamWriter] = []
    async with await pknet_asyncio.start_utp_server(
        lambda _, writer: writers.append(writer), "127.0.0.1"
    ) as server:
        reader, writer = await pknet_asyncio.open_utp_connection(*server.address)
        await until(lambda: writers)
        writers[0].write(b"later")
        writers.pop().close()
        assert await reader.read() == b"later"
        writer.close()
        await writer.wait_closed()


async def test_a_connection_outlives_its_handler(adapter: AsyncioAdapter) -> None:
    handling: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def forget(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.set_result(asyncio.current_task())

    async with await pknet_asyncio.start_utp_server(forget, "127.0.0.1") as server:
        _, writer = await pknet_asyncio.open_utp_connection(*server.address)
        await (await handling)
        await asyncio.sleep(0)
        gc.collect()
        (transport,) = server.connections
        assert not transport.is_closing()
        server.close_clients()
        writer.close()
        await writer.wait_closed()


async def test_a_handler_that_raises_resets_its_connection_and_the_loop_is_told() -> None:
    unhandled = unhandled_exceptions()

    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise LookupError("a mistake")

    async with await pknet_asyncio.start_utp_server(fail, "127.0.0.1") as server:
        reader, writer = await pknet_asyncio.open_utp_connection(*server.address)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    assert unhandled == ["a mistake"]


async def test_a_handler_that_is_cancelled_resets_its_connection() -> None:
    async def cancel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half of the ans")
        raise asyncio.CancelledError

    async with await pknet_asyncio.start_utp_server(cancel, "127.0.0.1") as server:
        reader, writer = await pknet_asyncio.open_utp_connection(*server.address)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_dial_that_is_cancelled_tells_the_peer_and_leaves_nothing(adapter: AsyncioAdapter) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        before = open_sockets()
        dialling = asyncio.ensure_future(adapter.connect(peer.getsockname()))
        packets = [parse_packet(await asyncio.to_thread(peer.recv, 2048))]
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        packets.append(parse_packet(await asyncio.to_thread(peer.recv, 2048)))
        assert [packet.type for packet in packets] == [PacketType.SYN, PacketType.RESET]
        assert open_sockets().items() <= before.items()


def test_a_loop_may_end_while_finished_connections_linger() -> None:
    async def talk() -> None:
        async with AsyncioAdapter().serve(echo) as server:
            stream = await AsyncioAdapter().connect(server.address)
            await stream.write(b"!")
            await stream.finish()
            assert await read_all(stream) == b"!"
            await stream.close()

    before = open_sockets()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(talk())
        gc.collect()
    assert [str(warning.message) for warning in warned] == []
    assert open_sockets().items() <= before.items()


def test_a_loop_may_end_in_the_middle_of_everything() -> None:
    async def talk() -> list[Any]:
        server = await pknet_asyncio.start_utp_server(lambda *streams: kept.append(streams), "127.0.0.1")
        kept.append(await pknet_asyncio.open_utp_connection(*server.address))
        kept[0][1].write(b"never read")
        return [server]

    kept: list[Any] = []
    before = open_sockets()
    # A program that ends so is told, about each transport; no more than that.
    with pytest.warns(ResourceWarning, match="10 bytes were not delivered") as warned:
        left = asyncio.run(talk())
        left.clear()
        kept.clear()
        gc.collect()
    assert len(warned) == 1
    assert open_sockets().items() <= before.items()


async def test_a_network_may_be_stopped_by_its_own_handler(adapter: AsyncioAdapter) -> None:
    stopped = asyncio.get_running_loop().create_future()

    async def stop(stream: Stream) -> None:
        await stream.write(b"good night")
        await server.stop()
        stopped.set_result(server.is_started)

    server = adapter.make_network(handler=stop)
    await server.start()
    async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
        stream = await adapter.open(client, server.node_id)
        assert await read_all(stream) == b"good night"
        await stream.close()
        assert await stopped is False


async def test_a_stop_that_is_cancelled_closes_all_the_same(adapter: AsyncioAdapter) -> None:
    async def never_read(stream: Stream) -> None:
        await asyncio.Event().wait()

    async with adapter.network(handler=never_read) as server:
        client = adapter.make_network(adapter.nodes_for(adapter.info_of(server)))
        await client.start()
        stream = await adapter.open(client, server.node_id)
        await stream.write_until_full()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.stop()
        assert not client.is_started
        assert client.connections == []


async def test_a_start_that_is_cancelled_leaves_nothing_open(adapter: AsyncioAdapter) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    nodes = adapter.nodes()
    nodes.this_node = never
    network = adapter.make_network(nodes)
    before = open_sockets()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await network.start()
    assert not network.is_started
    assert open_sockets().items() <= before.items()


async def test_a_connect_that_is_cancelled_gives_up_the_dial(adapter: AsyncioAdapter) -> None:
    async with silent_peer() as address, adapter.network() as network:
        stranger = adapter.make_network().node_id
        nodes = adapter.nodes_for(adapter.info_of(network).public())
        info = type(await nodes.get_node(network.node_id))(stranger, (address,))
        async with adapter.network(adapter.nodes_for(info)) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.connect(stranger)
            assert client.connections == []


async def test_a_driver_that_is_forgotten_closes_its_socket() -> None:
    from pknet.utp import UtpEndpoint
    from pknet_io.udp import UdpSocket

    udp_socket = UdpSocket.bind("127.0.0.1")
    driver = Driver(UtpEndpoint(os.urandom), udp_socket, lambda _: None)
    # As a loop does when it is closed.
    asyncio.get_running_loop().remove_reader(udp_socket.fileno())
    del driver
    gc.collect()
    assert udp_socket.fileno() == -1
