"""What a program has written and closed arrives though its loop ends, or the program is told."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

import pknet_asyncio
import pknet_blocking
from pknet_asyncio import ending
from tests.adapters.certificates import tls_contexts
from tests.adapters.ends import LOOPBACK
from tests.adapters.harness import until
from tests.adapters.protocols import Protocol, connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(30)

# More than any buffer takes.
MUCH = 100_000_000


@pytest.fixture
def listener() -> Iterator[pknet_blocking.UtpListener]:
    """A server that has nothing to do with the loop that ends."""
    with pknet_blocking.create_server(LOOPBACK) as listener:
        yield listener


class Relay(asyncio.DatagramProtocol):
    """Hands datagrams on between a client and a server, 25 ms late."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.client: Any = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, source: Any) -> None:
        if source != self.server:
            self.client = source
        target = self.client if source == self.server else self.server
        asyncio.get_running_loop().call_later(0.025, self.transport.sendto, data, target)


@pytest.mark.parametrize("with_tls", [False, True])
async def test_what_was_closed_before_the_loop_ended_is_delivered(with_tls: bool, tmp_path: Path) -> None:
    ours, theirs = tls_contexts(tmp_path) if with_tls else (None, None)
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read())
        writer.close()

    async def send(address: tuple[str, int]) -> None:
        _, writer = await pknet_asyncio.open_utp_connection(*address, ssl=theirs)
        writer.write(bytes(500_000))
        writer.close()

    async with await pknet_asyncio.start_utp_server(receive, "127.0.0.1", ssl=ours) as server:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Relay(server.address), local_addr=LOOPBACK
        )
        await asyncio.to_thread(asyncio.run, send(transport.get_extra_info("sockname")))
        assert await received == bytes(500_000)
    transport.close()


def test_what_was_not_closed_is_broken_off_and_the_program_is_warned(
    listener: pknet_blocking.UtpListener,
) -> None:
    async def forget_to_close() -> None:
        transport = await connect(listener.address, Protocol())
        transport.write(bytes(MUCH))

    with pytest.warns(ResourceWarning, match="cut off by the end of its loop: [0-9]+ bytes were not deliv"):
        asyncio.run(forget_to_close())
    with listener.accept()[0] as stream, pytest.raises(ConnectionResetError):
        while stream.recv(1 << 16):
            pass


def test_what_was_closed_and_finds_no_taker_is_given_up_and_told(
    listener: pknet_blocking.UtpListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "EXIT_TIME", 0.1)
    told: list[dict[str, Any]] = []
    protocols: list[Protocol] = []

    async def close() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        protocols.append(Protocol())
        transport = await connect(listener.address, protocols[0])
        transport.write(bytes(MUCH))
        transport.close()

    asyncio.run(close())
    lost = protocols[0].lost.result()
    assert isinstance(lost, TimeoutError)
    assert "bytes were not delivered" in str(lost)
    assert [context["exception"] for context in told] == [lost]
    with listener.accept()[0] as stream, pytest.raises(ConnectionResetError):
        while stream.recv(1 << 16):
            pass


def test_a_peer_that_has_all_and_does_not_end_does_not_hold_up_the_end_of_the_loop(
    listener: pknet_blocking.UtpListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a test may take.
    monkeypatch.setattr(ending, "EXIT_TIME", 1000)

    async def leave() -> None:
        idle = await connect(listener.address, Protocol())
        idle.write(b"!")
        await until(lambda: not idle.undelivered)
        closed = await connect(listener.address, Protocol())
        closed.write(b"all")
        closed.close()

    asyncio.run(leave())
    with listener.accept()[0] as stream:
        assert stream.recv(10) == b"!"
        with pytest.raises(ConnectionResetError):
            stream.recv(10)
    with listener.accept()[0] as stream:
        assert stream.recv(10) == b"all"
        assert stream.recv(10) == b""


def test_a_loop_that_is_closed_by_hand_tells_the_peer_and_warns_the_program(
    listener: pknet_blocking.UtpListener,
) -> None:
    async def close() -> None:
        transport = await connect(listener.address, Protocol())
        transport.write(bytes(MUCH))
        transport.close()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(close())
    loop.close()
    with pytest.warns(ResourceWarning, match="bytes were not delivered"):
        del loop
        gc.collect()
    with listener.accept()[0] as stream, pytest.raises(ConnectionResetError):
        while stream.recv(1 << 16):
            pass
