"""Plain uTP in both adapters."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

import pknet_asyncio
import pknet_blocking
from pknet.utp import UtpConfig
from pknet_io import QlogDirectory, QlogEvent, UdpSocket, constants, read_qlog
from tests.adapters.harness import digest, echo, open_sockets, read_all, serve_nobody, until
from tests.adapters.silent_peer import silent_peer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.adapters.harness import Adapter, Stream

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_is_sent_comes_back(adapter: Adapter, host: str) -> None:
    async with adapter.serve(echo, host) as server:
        stream = await adapter.connect(server.address)
        assert stream.remote == server.address
        await stream.write(b"there and back")
        await stream.finish()
        assert await read_all(stream) == b"there and back"
        await stream.close()


async def test_a_server_may_speak_first(adapter: Adapter) -> None:
    async def greet(stream: Stream) -> None:
        await stream.write(b"220 ready\r\n")
        await stream.close()

    async with adapter.serve(greet) as server:
        stream = await adapter.connect(server.address)
        assert await read_all(stream) == b"220 ready\r\n"
        await stream.close()


async def test_8_mib_pass_each_way_at_once(adapter: Adapter) -> None:
    there, back = os.urandom(8 << 20), os.urandom(8 << 20)
    received = asyncio.get_running_loop().create_future()

    async def swap(stream: Stream) -> None:
        _, data = await asyncio.gather(send(stream, back), read_all(stream))
        received.set_result(data)
        await stream.close()

    async def send(stream: Stream, data: bytes) -> None:
        await stream.write(data)
        await stream.finish()

    async with adapter.serve(swap) as server:
        stream = await adapter.connect(server.address)
        _, data = await asyncio.gather(send(stream, there), read_all(stream))
        assert digest(data) == digest(back)
        assert digest(await received) == digest(there)
        await stream.close()


async def test_each_direction_ends_by_itself(adapter: Adapter) -> None:
    async def answer(stream: Stream) -> None:
        question = await read_all(stream)
        await stream.write(b"you asked: " + question)
        await stream.close()

    async with adapter.serve(answer) as server:
        stream = await adapter.connect(server.address)
        await stream.write(b"what?")
        await stream.finish()
        assert await read_all(stream) == b"you asked: what?"
        await stream.close()


async def test_close_delivers_what_was_written(adapter: Adapter) -> None:
    data = os.urandom(3 << 20)
    received = asyncio.get_running_loop().create_future()

    async def take(stream: Stream) -> None:
        received.set_result(await read_all(stream))
        await stream.close()

    async with adapter.serve(take) as server:
        stream = await adapter.connect(server.address)
        await stream.write(data)
        await stream.close()
        assert digest(await received) == digest(data)


async def test_abort_tells_the_peer(adapter: Adapter) -> None:
    told = asyncio.get_running_loop().create_future()

    async def take(stream: Stream) -> None:
        try:
            await read_all(stream)
        except ConnectionResetError as error:
            told.set_result(error.errno)
        else:
            told.set_exception(AssertionError("an abort looked like an end"))

    async with adapter.serve(take) as server:
        stream = await adapter.connect(server.address)
        await stream.write(b"x")
        await until(server.connections)
        await stream.abort()
        assert await told == errno.ECONNRESET


async def test_nobody_answers(adapter: Adapter) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError, match="does not answer"):
            await adapter.connect(deaf.getsockname(), UtpConfig(connect_timeout=0.3))


def port_of_nobody(host: str) -> tuple[str, int]:
    """Return an address whose port was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[:2]  # type: ignore[no-any-return]


@pytest.mark.skipif(not constants.LINUX, reason="needs a system that tells whose port it was")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_that_nobody_has_is_refused(adapter: Adapter, host: str) -> None:
    address = port_of_nobody(host)
    before = open_sockets()
    with pytest.raises(ConnectionRefusedError, match=f"refused.*{host}.*{address[1]}") as caught:
        await adapter.connect(address, UtpConfig(connect_timeout=1e6))
    assert caught.value.errno == errno.ECONNREFUSED
    await until(lambda: open_sockets() == before)


@pytest.mark.skipif(not constants.LINUX, reason="needs a system that tells whose port it was")
async def test_no_word_of_a_port_ends_a_connection_that_is_open(adapter: Adapter) -> None:
    async with silent_peer() as address:
        stream = await adapter.connect(address, UtpConfig(peer_timeout=0.5))
    # The port is free: each packet is answered by ICMP, and still it is time that tells.
    await stream.write(b"into the void")
    with pytest.raises(TimeoutError) as caught:
        await stream.read()
    assert caught.value.errno == errno.ETIMEDOUT
    await stream.abort()


async def test_port_0_is_not_dialled(adapter: Adapter) -> None:
    with pytest.raises(OSError, match="port 0") as caught:
        await adapter.connect(("127.0.0.1", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_server_takes_no_socket_that_is_not_bound() -> None:
    for create in (pknet_blocking.create_server, serve_with):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="bound"):
                if asyncio.iscoroutine(made := create(sock=sock)):
                    await made


@pytest.mark.parametrize("arguments", [{"config": object()}, {"backlog": None}])
async def test_a_server_that_is_given_nonsense_opens_nothing(
    adapter: Adapter, arguments: dict[str, Any]
) -> None:
    before = open_sockets()
    with pytest.raises(TypeError):
        if adapter.name == "blocking":
            pknet_blocking.create_server(("127.0.0.1", 0), **arguments)
        else:
            await pknet_asyncio.create_utp_server(asyncio.Protocol, "127.0.0.1", **arguments)
    # What is left open warns when it is collected.
    gc.collect()
    assert open_sockets().items() <= before.items()


def test_a_blocking_dial_that_is_given_nonsense_opens_nothing() -> None:
    before = open_sockets()
    with pytest.raises(TypeError, match="config: a UtpConfig is needed, not 'dict'"):
        pknet_blocking.create_connection(("127.0.0.1", 9), config={})  # type: ignore[arg-type]
    gc.collect()
    assert open_sockets().items() <= before.items()


async def serve_with(sock: socket.socket) -> Any:
    """Make a server of asyncio on a socket."""
    return await pknet_asyncio.create_utp_server(asyncio.Protocol, sock=sock)


async def test_a_server_that_takes_nobody_refuses(adapter: Adapter) -> None:
    async with adapter.serve(echo, config=UtpConfig(accept=False)) as server:
        with pytest.raises(ConnectionRefusedError):
            await adapter.connect(server.address)


async def test_a_closed_server_refuses_but_its_connections_go_on(adapter: Adapter) -> None:
    async with adapter.serve(echo) as server:
        stream = await adapter.connect(server.address)
        await stream.write(b"before")
        assert await stream.read() == b"before"
        await server.close()
        with pytest.raises(ConnectionRefusedError):
            await adapter.connect(server.address)
        await stream.write(b"after")
        assert await stream.read() == b"after"
        await stream.close()
        await server.wait_closed()


async def test_a_closed_server_without_connections_is_over_at_once(adapter: Adapter) -> None:
    async with adapter.serve(echo) as server:
        await server.close()
        await server.wait_closed()
        await server.close()


async def test_a_server_keeps_a_record_of_its_connections(adapter: Adapter) -> None:
    async with adapter.serve(echo) as server:
        assert server.connections() == []
        streams = [await adapter.connect(server.address) for _ in range(3)]
        for stream in streams:
            await stream.write(b"!")
            await stream.read()
        assert len(server.connections()) == 3
        for stream in streams:
            await stream.close()
        await until(lambda: not server.connections())


async def test_who_dials_a_server_that_has_all_it_may_have_waits_and_gets_in_when_one_ends(
    adapter: Adapter,
) -> None:
    async with adapter.serve(serve_nobody, config=UtpConfig(max_connections=2)) as server:
        first, second = [await adapter.connect(server.address) for _ in range(2)]
        await until(lambda: len(server.connections()) == 2)
        with pytest.raises(TimeoutError, match="does not answer"):
            await adapter.connect(server.address, UtpConfig(connect_timeout=0.3))
        eager = UtpConfig(initial_timeout=0.1, min_timeout=0.1)
        dialling = asyncio.ensure_future(adapter.connect(server.address, eager))
        await first.abort()
        third = await dialling
        await until(lambda: len(server.connections()) == 2)
        await second.abort()
        await third.abort()


async def test_100_connections_at_once(adapter: Adapter) -> None:
    async with adapter.serve(echo) as server:

        async def ask(number: int) -> bytes:
            stream = await adapter.connect(server.address)
            await stream.write(b"%d" % number * 1000)
            await stream.finish()
            answer = await read_all(stream)
            await stream.close()
            return answer

        answers = await asyncio.gather(*map(ask, range(100)))
    assert answers == [b"%d" % number * 1000 for number in range(100)]


async def test_a_reader_that_stops_makes_the_writer_wait(adapter: Adapter) -> None:
    read = asyncio.Event()
    received = asyncio.get_running_loop().create_future()

    async def dawdle(stream: Stream) -> None:
        await read.wait()
        received.set_result(len(await read_all(stream)))
        await stream.close()

    async with adapter.serve(dawdle) as server:
        stream = await adapter.connect(server.address, UtpConfig(send_buffer=1 << 20))
        taken = await stream.write_until_full()
        # Both machines' buffers of 1 MiB, and what asyncio keeps itself.
        assert 1 << 20 < taken < 3 << 20
        read.set()
        await stream.close()
        assert await received == taken


async def test_a_peer_that_vanishes_ends_the_connection(adapter: Adapter) -> None:
    config = UtpConfig(peer_timeout=0.8, min_timeout=0.1, initial_timeout=0.2)
    async with silent_peer() as address:
        stream = await adapter.connect(address, config)
        await stream.write(b"is anybody there?")
        with pytest.raises(TimeoutError, match="does not answer"):
            await stream.read()
        with pytest.raises(TimeoutError, match="17 bytes were not delivered"):
            await stream.close()


async def test_a_peer_that_resets_is_an_error_for_who_reads_and_who_writes(adapter: Adapter) -> None:
    async def slam(stream: Stream) -> None:
        await stream.read()
        await stream.abort()

    async with adapter.serve(slam) as server:
        stream = await adapter.connect(server.address)
        await stream.write(b"hello")
        with pytest.raises(ConnectionResetError):
            await stream.read()
        with pytest.raises(ConnectionError):
            await stream.write(b"still there?")
        with pytest.raises(ConnectionResetError):
            await stream.close()


async def test_the_end_of_a_stream_is_not_undone_by_a_reset_after_it(adapter: Adapter) -> None:
    reset = asyncio.Event()

    async def end_then_reset(stream: Stream) -> None:
        await stream.write(b"all there is")
        await stream.finish()
        await reset.wait()
        await stream.abort()

    async with adapter.serve(end_then_reset) as server:
        stream = await adapter.connect(server.address)
        assert await read_all(stream) == b"all there is"
        reset.set()
        await until(lambda: not server.connections())
        assert await stream.read() == b""
        await stream.close()


async def test_a_server_can_be_given_a_bound_socket(adapter: Adapter) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    address = sock.getsockname()
    if adapter.name == "asyncio":
        server = await adapter.module.start_utp_server(adapter.handler(serve_nobody), sock=sock)
    else:
        server = adapter.module.create_server(sock=sock)
    assert server.address == address
    stream = await adapter.connect(address)
    await stream.abort()
    await until(lambda: not server.connections)
    await adapter.call(server.close)
    await adapter.call(server.wait_closed)


@pytest.fixture
def both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the name both.example lead to an IPv6 address where nobody answers, and to IPv4's loopback."""
    look_up = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **named: Any) -> list[Any]:
        if host != "both.example":
            return look_up(host, port, *args, **named)
        return look_up("::1", port, *args, **named) + look_up("127.0.0.1", port, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.usefixtures("both_families")
async def test_every_address_of_a_name_is_tried(adapter: Adapter) -> None:
    before = open_sockets()
    async with adapter.serve(echo) as server:
        stream = await adapter.connect(("both.example", server.address[1]))
        assert stream.remote == server.address
        await stream.write(b"?")
        assert await stream.read() == b"?"
        await stream.close()
    # Of the dial that was given up nothing is left.
    await until(lambda: open_sockets().items() <= before.items())


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system make no IPv6 sockets."""
    bind = UdpSocket.bind

    def refuse(host: str, *args: Any) -> UdpSocket:
        if ":" in host:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return bind(host, *args)

    monkeypatch.setattr(UdpSocket, "bind", refuse)


@pytest.mark.usefixtures("both_families", "no_ipv6")
async def test_an_address_that_the_system_has_no_sockets_for_does_not_keep_others_from_being_tried(
    adapter: Adapter,
) -> None:
    async with adapter.serve(echo) as server:
        stream = await adapter.connect(("both.example", server.address[1]))
        await stream.write(b"?")
        assert await stream.read() == b"?"
        await stream.close()


@pytest.mark.usefixtures("both_families", "no_ipv6")
async def test_if_no_address_can_be_dialled_it_is_told_why_the_first_could_not(adapter: Adapter) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        impatient = UtpConfig(connect_timeout=0.3)
        for name in ("both.example", "::1"):
            with pytest.raises(OSError, match="Address family not supported") as caught:
                await adapter.connect((name, deaf.getsockname()[1]), impatient)
            assert caught.value.errno == errno.EAFNOSUPPORT


@pytest.mark.usefixtures("both_families")
async def test_a_name_where_nobody_answers_is_given_up_as_one_address_is(adapter: Adapter) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as deaf_too,
    ):
        deaf.bind(("127.0.0.1", 0))
        deaf_too.bind(("::1", deaf.getsockname()[1]))
        impatient = UtpConfig(connect_timeout=0.5)
        with pytest.raises(TimeoutError, match="does not answer"):
            await adapter.connect(("both.example", deaf.getsockname()[1]), impatient)


async def test_the_figures_of_a_stream_are_those_of_its_connection(adapter: Adapter) -> None:
    async with adapter.serve(echo) as server:
        stream = await adapter.connect(server.address, UtpConfig(congestion_control="cubic"))
        await stream.write(bytes(200_000))
        await stream.finish()
        assert len(await read_all(stream)) == 200_000
        await stream.close()
        stats = stream.stats()
        assert (stats.bytes_sent, stats.bytes_received) == (200_000, 200_000)
        assert (stats.state, stats.congestion_control) == ("CLOSED", "cubic")


async def test_both_ends_keep_a_log_if_that_is_wanted(adapter: Adapter, tmp_path: Path) -> None:
    config = UtpConfig(open_log=QlogDirectory(tmp_path))
    async with adapter.serve(echo, config=config) as server:
        stream = await adapter.connect(server.address, config)
        await stream.write(b"there and back")
        await stream.finish()
        assert await read_all(stream) == b"there and back"
        await stream.close()
        # The sockets go on answering for connections that have just ended; the logs end with that.
        await until(lambda: len(ended_logs(tmp_path)) == 2)
    for events in ended_logs(tmp_path):
        sent = [event.data for event in events if event.name == "utp:packet_sent"]
        assert sum(data["size"] for data in sent if "retransmission" not in data) == len(b"there and back")


def ended_logs(folder: Path) -> list[list[QlogEvent]]:
    """Return what the logs say that have come to an end."""
    logs = [read_qlog(path) for path in folder.iterdir() if path.stat().st_size]
    return [events for events in logs if events[-1].name == "utp:log_ended"]
