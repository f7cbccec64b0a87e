"""Who may come in, and who may not, in both adapters."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from pknet.errors import PknetError
from pknet.network import Identity, NodeInfo, Ticket, TicketError
from pknet.utp import UtpConfig
from tests.adapters.harness import echo, read_all

if TYPE_CHECKING:
    from pknet.network import NodeId
    from tests.adapters.harness import Adapter, Stream

pytestmark = pytest.mark.timeout(30)


async def test_another_key_than_the_node_ids_is_refused(adapter: Adapter) -> None:
    stranger = Identity(adapter.nodes().private_key()).node_id
    async with adapter.network(handler=echo) as server:
        lie = NodeInfo(stranger, (server.address,), (), adapter.info_of(server).secret)
        async with adapter.network(adapter.nodes_for(lie)) as client:
            with pytest.raises(
                adapter.module.ConnectError,
                match=f"the peer is node {server.node_id}, expected was node {stranger}",
            ):
                await adapter.call(client.connect, stranger)
        assert server.connections == []


@pytest.mark.parametrize("secret", [os.urandom(16), b""], ids=["another secret", "no secret"])
async def test_without_the_tickets_secret_nobody_comes_in(adapter: Adapter, secret: bytes) -> None:
    async with adapter.network(handler=echo) as server:
        adapter.info_of(server)
        info = NodeInfo(server.node_id, (server.address,), (), secret)
        async with adapter.network(adapter.nodes_for(info)) as client:
            with pytest.raises(
                adapter.module.ConnectError, match="the node refused: you are not on its list"
            ):
                await adapter.call(client.connect, server.node_id)


async def test_without_the_secret_nobody_is_introduced(adapter: Adapter) -> None:
    async with adapter.rendezvous() as rendezvous:
        async with adapter.network(adapter.nodes(rendezvous=[rendezvous]), echo) as server:
            await adapter.call(server.wait_registered, 10)
            info = NodeInfo(server.node_id, (), (rendezvous,), os.urandom(16))
            async with adapter.network(adapter.nodes_for(info)) as client:
                with pytest.raises(adapter.module.ConnectError, match="the node refused"):
                    await adapter.call(client.connect, server.node_id)


async def test_a_ticket_with_a_wrong_digit_is_refused_before_anything_is_sent(adapter: Adapter) -> None:
    async with adapter.network(handler=echo) as server:
        text = server.make_ticket(()).encode()
        wrong = text[:40] + ("a" if text[40] != "a" else "b") + text[41:]
        with pytest.raises(TicketError, match="damaged"):
            Ticket.parse(wrong)
        async with adapter.network(adapter.nodes_for(Ticket.parse(text).to_node_info())) as client:
            await (await adapter.open(client, server.node_id)).abort()


async def test_a_node_on_the_list_needs_no_ticket(adapter: Adapter) -> None:
    key = adapter.nodes().private_key()
    expected = Identity(key).node_id
    async with adapter.network(handler=echo, admit=lambda node_id: node_id == expected) as server:
        info = NodeInfo(server.node_id, (server.address,))
        async with adapter.network(adapter.nodes(key, nodes=[info])) as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(b"me")
            await stream.finish()
            assert await read_all(stream) == b"me"
            await stream.close()
        async with adapter.network(adapter.nodes_for(info)) as other:
            with pytest.raises(adapter.module.ConnectError, match="not on its list"):
                await adapter.call(other.connect, server.node_id)


async def test_a_list_that_can_not_be_read_admits_nobody_and_is_logged(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(node_id: NodeId) -> bool:
        raise LookupError("the list is gone")

    async with adapter.network(handler=echo, admit=fail) as server:
        info = NodeInfo(server.node_id, (server.address,))
        async with adapter.network(adapter.nodes_for(info)) as client:
            with pytest.raises(adapter.module.ConnectError, match="not on its list"):
                await adapter.call(client.connect, server.node_id)
            # The network goes on.
            known = adapter.info_of(server)
            await adapter.call(client.nodes.update_node, known)
            await (await adapter.open(client, server.node_id)).abort()
    assert f"whether node {client.node_id} may come in is not known" in caplog.text
    assert "the list is gone" in caplog.text


async def test_the_holder_of_a_secret_from_the_options_comes_in(adapter: Adapter) -> None:
    secret = os.urandom(16)
    async with adapter.network(handler=echo, secrets=frozenset([secret])) as server:
        info = NodeInfo(server.node_id, (server.address,), (), secret)
        async with adapter.network(adapter.nodes_for(info)) as client:
            await (await adapter.open(client, server.node_id)).abort()


async def test_a_secret_of_the_wrong_size_is_an_error_at_once(adapter: Adapter) -> None:
    with pytest.raises(PknetError, match="16 bytes"):
        adapter.make_network(secrets=frozenset([b"short"]))
    async with adapter.network() as network:
        with pytest.raises(PknetError, match="16 bytes"):
            network.make_ticket((), b"short")


async def test_plain_utp_is_refused_unless_it_is_allowed(adapter: Adapter) -> None:
    handled = []

    async def note(stream: Stream) -> None:
        handled.append(stream)

    async with adapter.network(handler=note) as server:
        stream = await adapter.connect(server.address)
        await stream.write(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await stream.read()
        assert server.connections == []
    assert handled == []


@pytest.mark.parametrize("question", [b"?", b"\x16", b"\x16\x04", b"?" * (1 << 20)], ids=len)
async def test_plain_utp_comes_in_where_it_is_allowed(adapter: Adapter, question: bytes) -> None:
    who = asyncio.get_running_loop().create_future()

    async def note_and_echo(stream: Stream) -> None:
        who.set_result(stream.node_id)
        await echo(stream)

    async with adapter.network(handler=note_and_echo, allow_plain_utp=True) as server:
        stream = await adapter.connect(server.address)
        answer = asyncio.ensure_future(read_all(stream))
        await stream.write(question)
        await stream.finish()
        assert await answer == question
        assert await who is None
        await stream.close()


async def test_nodes_come_in_beside_plain_utp_and_are_known(adapter: Adapter) -> None:
    who = asyncio.get_running_loop().create_future()

    async def note(stream: Stream) -> None:
        who.set_result(stream.node_id)
        await stream.close()

    async with adapter.network(handler=note, allow_plain_utp=True) as server:
        async with adapter.network(adapter.nodes_for(adapter.info_of(server))) as client:
            stream = await adapter.open(client, server.node_id)
            assert await who == client.node_id
            await stream.close()


async def test_a_reader_of_plain_utp_that_stops_makes_the_writer_wait(adapter: Adapter) -> None:
    read = asyncio.Event()
    received = asyncio.get_running_loop().create_future()

    async def dawdle(stream: Stream) -> None:
        await read.wait()
        received.set_result(len(await read_all(stream)))
        await stream.close()

    async with adapter.network(handler=dawdle, allow_plain_utp=True) as server:
        fixed = UtpConfig(receive_buffer=1 << 20, send_buffer=1 << 20)
        stream = await adapter.connect(server.address, fixed)
        taken = await stream.write_until_full()
        assert 1 << 20 < taken < 4 << 20
        read.set()
        await stream.close()
        assert await received == taken
