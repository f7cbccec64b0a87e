"""Event loops that can't watch sockets, as Windows' Proactor loop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import Any

import pytest

import pknet_asyncio
from pknet_asyncio.readiness import SelectThread, readiness_of
from tests.adapters.harness import AsyncioAdapter, digest, echo, open_sockets, read_all

pytestmark = pytest.mark.timeout(30)


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that says of itself what the Proactor loop says."""

    def add_reader(self, *_: Any) -> None:
        raise NotImplementedError

    remove_reader = add_writer = remove_writer = add_reader  # type: ignore[assignment]


def run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=WithoutReaders) as runner:
        return runner.run(work)


def select_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pknet select"]


async def exchange(data: bytes) -> bytes:
    """Send data to an echo server and return what comes back."""
    adapter = AsyncioAdapter()
    async with adapter.serve(echo) as server:
        assert isinstance(server.server._driver._readiness, SelectThread)  # type: ignore[attr-defined]
        stream = await adapter.connect(server.address)
        answer = asyncio.ensure_future(read_all(stream))
        await stream.write(data)
        await stream.finish()
        received = await answer
        await stream.close()
        return received


def test_a_loop_that_has_readers_is_used_as_it_is() -> None:
    async def ask() -> bool:
        loop = asyncio.get_running_loop()
        return readiness_of(loop, 0) is loop

    assert asyncio.run(ask())
    assert select_threads() == []


def test_8_mib_pass_each_way_through_a_loop_that_has_no_readers() -> None:
    data = os.urandom(8 << 20)
    before = open_sockets()
    assert digest(run(exchange(data))) == digest(data)
    gc.collect()
    for thread in select_threads():
        thread.join(5)
    assert select_threads() == []
    assert open_sockets().items() <= before.items()


def test_a_network_runs_in_a_loop_that_has_no_readers() -> None:
    async def meet() -> bytes:
        adapter = AsyncioAdapter()
        async with adapter.rendezvous() as rendezvous:
            async with adapter.network(adapter.nodes(rendezvous=[rendezvous]), echo) as server:
                await server.wait_registered(10)
                ticket = server.make_ticket([rendezvous])
                info = type(ticket.to_node_info())(server.node_id, (), (rendezvous,), ticket.secret)
                async with adapter.network(adapter.nodes_for(info)) as client:
                    stream = await adapter.open(client, server.node_id)
                    await stream.write(b"there and back")
                    await stream.finish()
                    received = await read_all(stream)
                    await stream.close()
        # Networks don't linger.
        assert select_threads() == []
        return received

    assert run(meet()) == b"there and back"


def test_what_the_kernel_has_no_room_for_waits_until_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from pknet_io.udp import UdpSocket

    send = UdpSocket.send
    calls = 0

    def refuse_often(self: UdpSocket, transmit: Any) -> bool:
        nonlocal calls
        calls += 1
        return calls % 3 != 0 and send(self, transmit)

    monkeypatch.setattr(UdpSocket, "send", refuse_often)
    data = os.urandom(1 << 20)
    assert digest(run(exchange(data))) == digest(data)
    gc.collect()


def test_the_thread_ends_with_a_loop_that_forgot_to_close() -> None:
    async def leave() -> None:
        await pknet_asyncio.start_utp_server(lambda *_: None, "127.0.0.1")

    before = open_sockets()
    run(leave())
    gc.collect()
    for thread in select_threads():
        thread.join(5)
    assert select_threads() == []
    assert open_sockets().items() <= before.items()
