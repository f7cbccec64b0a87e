"""Introductions over the program's own byte streams, in both adapters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pknet.errors import PknetError
from pknet.network import NodeInfo, RendezvousInfo
from tests.adapters.harness import echo, read_all, until

if TYPE_CHECKING:
    from tests.adapters.harness import Adapter

pytestmark = pytest.mark.timeout(30)


async def test_nodes_meet_over_the_programs_own_stream(adapter: Adapter) -> None:
    async with adapter.signalling_pair() as (ours, theirs), adapter.network(handler=echo) as server:
        # No address and no rendezvous: only the program knows a way.
        info = NodeInfo(server.node_id, (), (), server.make_ticket(()).secret)
        serving = []

        async def connect(node_id: Any) -> Any:
            assert node_id == server.node_id
            serving.append(asyncio.ensure_future(adapter.call(server.accept_signalling, *theirs)))
            return ours

        nodes = adapter.signalling_nodes(adapter.nodes_for(info), connect)
        async with adapter.network(nodes) as client:
            stream = await adapter.open(client, server.node_id)
            await stream.write(b"met")
            await stream.finish()
            assert await read_all(stream) == b"met"
            await stream.close()
            # The streams are given back when they have served.
            await serving[0]


async def test_a_node_without_the_secret_is_refused_over_it_too(adapter: Adapter) -> None:
    async with adapter.signalling_pair() as (ours, theirs), adapter.network(handler=echo) as server:
        serving = []

        async def connect(node_id: Any) -> Any:
            serving.append(asyncio.ensure_future(adapter.call(server.accept_signalling, *theirs)))
            return ours

        nodes = adapter.signalling_nodes(adapter.nodes_for(NodeInfo(server.node_id)), connect)
        async with adapter.network(nodes) as client:
            with pytest.raises(adapter.module.ConnectError, match="the node refused"):
                await adapter.call(client.connect, server.node_id)
            await serving[0]


async def test_a_program_that_knows_no_way_either_is_told_why(adapter: Adapter) -> None:
    async def connect(node_id: Any) -> Any:
        raise ConnectionRefusedError("the bulletin board is closed")

    other = adapter.nodes()
    info = adapter.make_network(other).node_id
    nodes = adapter.signalling_nodes(adapter.nodes_for(NodeInfo(info)), connect)
    async with adapter.network(nodes) as client:
        with pytest.raises(adapter.module.ConnectError, match="the bulletin board is closed"):
            await adapter.call(client.connect, info)


async def test_a_mistake_in_the_programs_look_up_fails_the_dial_and_is_logged(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    async def connect(node_id: Any) -> Any:
        raise LookupError("a mistake")

    node_id = adapter.make_network().node_id
    nodes = adapter.signalling_nodes(adapter.nodes_for(NodeInfo(node_id)), connect)
    async with adapter.network(nodes) as client:
        with pytest.raises(adapter.module.ConnectError, match="a mistake"):
            await adapter.call(client.connect, node_id)
        await until(lambda: "LookupError: a mistake" in caplog.text)


async def test_a_peer_that_breaks_off_the_introduction_fails_the_dial(adapter: Adapter) -> None:
    async with adapter.signalling_pair() as (ours, theirs):

        async def connect(node_id: Any) -> Any:
            if adapter.name == "asyncio":
                theirs[1].close()
            else:
                theirs[0].close()
            return ours

        node_id = adapter.make_network().node_id
        nodes = adapter.signalling_nodes(adapter.nodes_for(NodeInfo(node_id)), connect)
        async with adapter.network(nodes) as client:
            with pytest.raises(adapter.module.ConnectError, match=r"closed the signalling|[Rr]eset|[Bb]roke"):
                await adapter.call(client.connect, node_id)


async def test_a_stop_ends_signalling_under_way(adapter: Adapter) -> None:
    async with adapter.signalling_pair() as (ours, theirs):
        server = adapter.make_network(handler=echo)
        await adapter.call(server.start)
        serving = asyncio.ensure_future(adapter.call(server.accept_signalling, *theirs))
        node_id = adapter.make_network().node_id

        async def connect(wanted: Any) -> Any:
            connected.set()
            return ours

        connected = asyncio.Event()
        nodes = adapter.signalling_nodes(adapter.nodes_for(NodeInfo(node_id)), connect)
        client = adapter.make_network(nodes)
        await adapter.call(client.start)
        dialling = asyncio.ensure_future(adapter.call(client.connect, node_id))
        await connected.wait()
        await adapter.call(server.stop)
        await serving
        await adapter.call(client.stop)
        with pytest.raises(adapter.module.ConnectError):
            await dialling


async def test_signalling_for_a_network_that_is_not_started_is_a_mistake(adapter: Adapter) -> None:
    network = adapter.make_network()
    async with adapter.signalling_pair() as (ours, _):
        with pytest.raises(PknetError, match="not started"):
            await adapter.call(network.accept_signalling, *ours)


async def test_a_channel_without_a_rendezvous_can_not_be_opened(adapter: Adapter) -> None:
    async with adapter.network() as network:
        with pytest.raises(adapter.module.ConnectError, match="no rendezvous node is known"):
            await adapter.call(network.open_signalling, network.node_id, ())


async def test_a_node_that_the_rendezvous_does_not_know_is_not_reached(adapter: Adapter) -> None:
    stranger = adapter.make_network().node_id
    async with adapter.rendezvous() as rendezvous:
        async with adapter.network(adapter.nodes_for(NodeInfo(stranger, (), (rendezvous,)))) as network:
            with pytest.raises(
                adapter.module.ConnectError, match="the node is not connected to this rendezvous"
            ):
                await adapter.call(network.connect, stranger)


async def test_a_rendezvous_that_is_nowhere_can_not_open_a_channel(adapter: Adapter) -> None:
    nowhere = RendezvousInfo(adapter.make_network().node_id, ())
    async with adapter.network() as network:
        with pytest.raises(
            adapter.module.ConnectError, match="no address of a kind that this node can reach"
        ):
            await adapter.call(network.open_signalling, adapter.make_network().node_id, [nowhere])
