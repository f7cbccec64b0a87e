"""Networks of both adapters: starting, reaching each other, being reached."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pknet.errors import PknetError
from pknet.nat import Mapping
from pknet.network import Identity, NodeInfo, RendezvousInfo, Ticket
from pknet.utp import UtpConfig
from pknet_io import read_qlog
from pknet_io.network import NetworkOptions
from tests.adapters.harness import digest, echo, read_all, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.adapters.harness import Adapter, Stream

pytestmark = pytest.mark.timeout(30)


async def test_a_stream_to_a_node_without_any_rendezvous(adapter: Adapter) -> None:
    async with adapter.network(handler=echo) as server:
        info = adapter.info_of(server)
        async with adapter.network(adapter.nodes_for(info)) as client:
            stream = await adapter.open(client, server.node_id)
            assert stream.node_id == server.node_id
            assert stream.remote == server.address
            await stream.write(b"there and back")
            await stream.finish()
            assert await read_all(stream) == b"there and back"
            await stream.close()


async def test_the_handler_is_told_who_came(adapter: Adapter) -> None:
    who = asyncio.get_running_loop().create_future()

    async def ask(stream: Stream) -> None:
        who.set_result(stream.node_id)
        await stream.close()

    async with adapter.network(handler=ask) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            assert await stream.read() == b""
            await stream.close()
            assert await who == client.node_id


async def test_8_mib_pass_each_way_at_once_between_nodes(adapter: Adapter) -> None:
    there, back = os.urandom(8 << 20), os.urandom(8 << 20)
    received = asyncio.get_running_loop().create_future()

    async def send(stream: Stream, data: bytes) -> None:
        await stream.write(data)
        await stream.finish()

    async def swap(stream: Stream) -> None:
        _, data = await asyncio.gather(send(stream, back), read_all(stream))
        received.set_result(data)
        await stream.close()

    async with adapter.network(handler=swap) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            _, data = await asyncio.gather(send(stream, there), read_all(stream))
            assert digest(data) == digest(back)
            assert digest(await received) == digest(there)
            await stream.close()


async def test_a_node_on_ipv6_is_reached(adapter: Adapter) -> None:
    async with adapter.network(handler=echo, host="::1") as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server)), host="::1") as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(b"six")
            await stream.finish()
            assert await read_all(stream) == b"six"
            await stream.close()


async def test_two_nodes_meet_through_a_rendezvous(adapter: Adapter) -> None:
    async with adapter.rendezvous() as rendezvous:
        nodes = adapter.nodes(rendezvous=[rendezvous])
        async with adapter.network(nodes, echo) as server:
            await adapter.call(server.wait_registered, 10)
            assert server.registered_with == [rendezvous.node_id]
            assert server.public_address.address == server.address
            assert server.public_address.server == rendezvous.addresses[0]
            assert server.mapping is Mapping.NONE
            secret = server.make_ticket([rendezvous]).secret
            # No address: all it has is who introduces them.
            info = NodeInfo(server.node_id, (), (rendezvous,), secret)
            async with adapter.network(adapter.nodes_for(info)) as client:
                stream = await adapter.open(client, server.node_id)
                assert stream.remote == server.address
                await stream.write(b"punched")
                await stream.finish()
                assert await read_all(stream) == b"punched"
                await stream.close()
                assert client.public_address.address == client.address


async def test_a_rendezvous_that_goes_is_found_again(adapter: Adapter) -> None:
    key = adapter.nodes().private_key()
    first = adapter.make_network(adapter.nodes(key), introduces=True)
    await adapter.call(first.start)
    address = first.address
    rendezvous = RendezvousInfo(first.node_id, (address,))
    async with adapter.network(adapter.nodes(rendezvous=[rendezvous])) as node:
        await adapter.call(node.wait_registered, 10)
        await adapter.call(first.stop)
        await until(lambda: node.registered_with == [])
        async with adapter.network(adapter.nodes(key), introduces=True, port=address[1]):
            await adapter.call(node.wait_registered, 10)
            assert node.registered_with == [rendezvous.node_id]


async def test_reach_keeps_a_path_and_bothers_nobody(adapter: Adapter) -> None:
    handled: list[Any] = []

    async def note(stream: Stream) -> None:
        handled.append(stream.node_id)
        await stream.close()

    async with adapter.network(handler=note) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            assert await adapter.call(client.reach, server.node_id) == server.address
            stream = await adapter.open(client, server.node_id)
            await stream.read()
            await stream.close()
    assert handled == [client.node_id]


async def test_connections_are_on_record_while_they_are_open(adapter: Adapter) -> None:
    async with adapter.network(handler=echo) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(b"!")
            await stream.read()
            assert [record.peer for record in client.connections] == [server.node_id]
            assert [record.peer for record in server.connections] == [client.node_id]
            await stream.close()
            await until(lambda: not client.connections and not server.connections)


async def test_100_streams_to_one_node_at_once(adapter: Adapter) -> None:
    async with adapter.network(handler=echo) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            await adapter.call(client.reach, server.node_id)

            async def ask(number: int) -> bytes:
                stream = await adapter.open(client, server.node_id)
                await stream.write(b"%d" % number * 1000)
                await stream.finish()
                answer = await read_all(stream)
                await stream.close()
                return answer

            answers = await asyncio.gather(*map(ask, range(100)))
    assert answers == [b"%d" % number * 1000 for number in range(100)]


async def test_a_reader_that_stops_makes_the_other_node_wait(adapter: Adapter) -> None:
    read = asyncio.Event()
    received = asyncio.get_running_loop().create_future()

    async def dawdle(stream: Stream) -> None:
        await read.wait()
        received.set_result(len(await read_all(stream)))
        await stream.close()

    fixed = UtpConfig(receive_buffer=1 << 20, send_buffer=1 << 20)
    async with adapter.network(handler=dawdle, utp=fixed) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server)), utp=fixed) as client:
            stream = await adapter.open(client, server.node_id)
            taken = await stream.write_until_full()
            # uTP's and TLS's buffers on both sides, and what asyncio keeps itself.
            assert 1 << 20 < taken < 4 << 20
            read.set()
            await stream.close()
            assert await received == taken


async def test_a_node_that_nobody_knows(adapter: Adapter) -> None:
    stranger = Identity(adapter.nodes().private_key()).node_id
    async with adapter.network() as network:
        with pytest.raises(adapter.module.ConnectError, match=f"nothing is known of node {stranger}"):
            await adapter.call(network.connect, stranger)


async def test_a_node_that_is_not_there_is_given_up_after_the_timeout(adapter: Adapter) -> None:
    stranger = Identity(adapter.nodes().private_key()).node_id
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        info = NodeInfo(stranger, (deaf.getsockname(),))
        async with adapter.network(adapter.nodes_for(info)) as network:
            with pytest.raises(adapter.module.ConnectError, match=r"not reached within 0\.2 seconds"):
                await adapter.call(network.connect, stranger, timeout=0.2)
            assert network.connections == []


async def test_a_port_in_use_is_a_clear_error_and_leaves_nothing_open(adapter: Adapter) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        network = adapter.make_network(port=port)
        with pytest.raises(OSError, match=f"UDP port {port} on 127.0.0.1 is in use by another") as caught:
            await adapter.call(network.start)
        assert caught.value.errno == errno.EADDRINUSE
        assert not network.is_started
    # Free now, and good for the same network.
    await adapter.call(network.start)
    assert network.address == ("127.0.0.1", port)
    await adapter.call(network.stop)


async def test_a_look_up_that_fails_fails_the_start_and_leaves_nothing_open(adapter: Adapter) -> None:
    nodes = adapter.nodes()

    def fail() -> None:
        raise KeyError("no configuration")

    nodes.this_node = fail
    network = adapter.make_network(nodes)
    with pytest.raises(KeyError, match="no configuration"):
        await adapter.call(network.start)
    assert not network.is_started
    await adapter.call(network.stop)


async def test_a_network_that_is_not_started_says_so(adapter: Adapter) -> None:
    network = adapter.make_network()
    assert network.public_address is None
    assert network.mapping is None
    assert network.connections == network.pipes == network.registered_with == network.local_addresses == []
    for verb in (network.connect, network.reach, network.forward):
        with pytest.raises(PknetError, match="not started"):
            await adapter.call(verb, network.node_id)
    with pytest.raises(PknetError, match="not started"):
        await adapter.call(network.wait_registered)
    with pytest.raises(PknetError, match="not started"):
        network.make_ticket(())
    with pytest.raises(PknetError, match="not started"):
        _ = network.address


async def test_starting_twice_is_harmless_and_so_is_starting_again(adapter: Adapter) -> None:
    network = adapter.make_network(handler=echo)
    await adapter.call(network.start)
    address = network.address
    await adapter.call(network.start)
    assert network.address == address
    info = adapter.info_of(network)
    await adapter.call(network.stop)
    await adapter.call(network.start)
    # Tickets that were given away are honoured as before.
    again = NodeInfo(info.node_id, (network.address,), (), info.secret)
    async with adapter.network(adapter.nodes_for(again)) as client:
        stream = await adapter.open(client, network.node_id)
        await stream.abort()
    await adapter.call(network.stop)


async def test_waiting_to_be_registered_where_nobody_answers_times_out(adapter: Adapter) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        stranger = Identity(adapter.nodes().private_key()).node_id
        nodes = adapter.nodes(rendezvous=[RendezvousInfo(stranger, (deaf.getsockname(),))])
        async with adapter.network(nodes) as network:
            with pytest.raises(TimeoutError):
                await adapter.call(network.wait_registered, 0.2)


async def test_a_handler_that_raises_resets_its_stream_and_no_other(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_on_demand(stream: Stream) -> None:
        if await stream.read() == b"fail":
            raise LookupError("on demand")
        await stream.write(b"well")
        await stream.close()

    async with adapter.network(handler=fail_on_demand) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            good, bad = [await adapter.open(client, server.node_id) for _ in range(2)]
            await bad.write(b"fail")
            with pytest.raises(ConnectionResetError):
                await bad.read()
            await good.write(b"work")
            assert await read_all(good) == b"well"
            await good.close()
    assert f"the handler of a stream from {client.node_id} failed" in caplog.text
    assert "LookupError: on demand" in caplog.text


async def test_a_stream_that_nobody_serves_is_reset(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    async with adapter.network() as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            with pytest.raises(ConnectionResetError):
                await stream.read()
    assert "there is no handler and no service" in caplog.text


async def test_a_peer_that_goes_on_sending_to_a_closed_stream_is_told(adapter: Adapter) -> None:
    async def finish_then_close(stream: Stream) -> None:
        await stream.finish()
        await stream.read()
        await stream.close_soon()

    async with adapter.network(handler=finish_then_close) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            assert await stream.read() == b""
            with pytest.raises(ConnectionError):
                while True:
                    await stream.write(b"more")


async def test_a_node_is_reached_at_the_second_address_of_its_name(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def answer(host: str, port: int, *args: Any, **named: Any) -> list[Any]:
        if host != "both.example":
            return look_up(host, port, *args, **named)
        return look_up("2001:db8::1", port, *args, **named) + look_up("127.0.0.1", port, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    async with adapter.network(handler=echo) as server:
        ticket = adapter.info_of(server)
        info = NodeInfo(server.node_id, (("both.example", server.address[1]),), (), ticket.secret)
        async with adapter.network(adapter.nodes_for(info)) as client:
            stream = await adapter.open(client, server.node_id)
            assert stream.remote == server.address
            await stream.close()


async def test_a_name_that_leads_nowhere_is_told(adapter: Adapter) -> None:
    stranger = Identity(adapter.nodes().private_key()).node_id
    info = NodeInfo(stranger, (("a..b", 1315), ("nowhere.invalid", 1315)))
    async with adapter.network(adapter.nodes_for(info)) as network:
        with pytest.raises(
            adapter.module.ConnectError, match=r"no address was found for a\.\.b, nowhere\.invalid"
        ):
            await adapter.call(network.connect, stranger)


async def test_a_node_does_not_dial_itself(adapter: Adapter) -> None:
    async with adapter.network() as network:
        with pytest.raises(adapter.module.ConnectError, match="is this node itself"):
            await adapter.call(network.connect, network.node_id)


async def test_a_handler_that_ends_by_more_than_an_exception_breaks_its_stream(adapter: Adapter) -> None:
    async def give_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"more follows")
        raise asyncio.CancelledError

    def exit_thread(stream: Any) -> None:
        stream.sendall(b"more follows")
        raise SystemExit

    server = adapter.make_network()
    server._handler = give_up if adapter.name == "asyncio" else exit_thread
    await adapter.call(server.start)
    async with contextlib.AsyncExitStack() as opened:
        opened.push_async_callback(adapter.call, server.stop)
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            with pytest.raises(ConnectionError):
                while await stream.read():
                    pass


async def test_close_waits_for_delivery_and_not_for_the_peers_program(adapter: Adapter) -> None:
    taken = asyncio.get_running_loop().create_future()
    may_end = asyncio.Event()

    async def never_close(stream: Stream) -> None:
        taken.set_result(await read_all(stream))
        await may_end.wait()

    async with adapter.network(handler=never_close) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(b"all of it")
            await stream.close()
            assert await taken == b"all of it"
            may_end.set()


async def test_a_stream_to_a_node_has_the_figures_of_the_connection_beneath(adapter: Adapter) -> None:
    async with adapter.network(handler=echo) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(bytes(50_000))
            await stream.finish()
            assert len(await read_all(stream)) == 50_000
            # TLS adds to it.
            assert 50_000 < stream.stats().bytes_sent < 60_000
            await stream.close()


async def test_a_network_keeps_a_log_of_each_connection_that_is_whole_when_it_has_stopped(
    adapter: Adapter, tmp_path: Path
) -> None:
    async with adapter.network(handler=echo, qlog=tmp_path / "server") as server:
        info = adapter.info_of(server)
        async with adapter.network(adapter.nodes_for(info), qlog=tmp_path / "client") as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(b"logged")
            await stream.close()
    for folder in (tmp_path / "server", tmp_path / "client"):
        (log,) = folder.iterdir()
        events = read_qlog(log)
        assert events[0].name == "utp:parameters_set"
        assert events[-1].name == "utp:log_ended"


async def test_a_folder_for_logs_that_can_not_be_made_is_told_at_the_start(
    adapter: Adapter, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    network = adapter.make_network(qlog=tmp_path / "file")
    with pytest.raises(FileExistsError):
        await adapter.call(network.start)
    assert not network.is_started


async def test_a_port_that_can_not_be_had_is_told_with_its_address(adapter: Adapter) -> None:
    network = adapter.make_network(host="192.0.2.1", port=1315)
    why = os.strerror(errno.EADDRNOTAVAIL)
    with pytest.raises(OSError, match=f"UDP port 1315 on 192.0.2.1 can't be had: {why}") as caught:
        await adapter.call(network.start)
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_addresses_that_mean_nothing_on_other_machines_are_told_to_nobody(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["10.0.0.1", "2001:db8::1", "fe80::1%2"]
    monkeypatch.setattr("pknet_io.network.local_addresses", lambda: own)
    async with adapter.network(host="::") as network:
        port = network.address[1]
        assert network.make_ticket(()).addresses == (("2001:db8::1", port),)
        own.remove("2001:db8::1")
        assert network.local_addresses == [("::1", port)]


async def test_a_rendezvous_node_that_stays_away_is_warned_of_once(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with adapter.network() as other:
        wrong = RendezvousInfo(Identity(adapter.nodes().private_key()).node_id, (other.address,))

        def told() -> list[str]:
            return [record.levelname for record in caplog.records if wrong.node_id in record.message]

        async with adapter.network(adapter.nodes(rendezvous=[wrong])):
            await until(lambda: len(told()) >= 3)
    assert told()[:3] == ["WARNING", "INFO", "INFO"]
    assert f"rendezvous node {wrong.node_id}: the peer is node {other.node_id}" in caplog.text


async def test_a_second_stun_port_that_is_in_use_is_told_with_what_is_lost(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with adapter.network(introduces=True, alternate_port=port):
            await until(lambda: caplog.records)
    assert caplog.records[0].message == (
        f"UDP port {port}, the second one for STUN, can't be had: {os.strerror(errno.EADDRINUSE)};"
        " others can't learn from this node alone how their NAT maps ports"
    )


async def test_text_where_something_else_is_wanted_is_told_at_once(adapter: Adapter) -> None:
    with pytest.raises(TypeError, match="an address is"):
        NetworkOptions(service="127.0.0.1:80")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="from text, not from 5"):
        Ticket.parse(5)  # type: ignore[arg-type]
    network = adapter.module.Network(adapter.module.RendezvousNodes())
    with pytest.raises(TypeError, match="a list of RendezvousInfo, not as 'x'"):
        network.make_ticket("x")
