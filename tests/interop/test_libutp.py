"""pknet against libutp, which is what most uTP peers on the Internet run."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from tests.interop.adapters import Adapter, Stream, read_to_end
from tests.interop.peers.udp_relay import LoseEvery, UdpRelay
from tests.interop.peers.utp_native import UtpNative, seeded_stream

MEBIBYTE = 1 << 20
SIZE = 16 * MEBIBYTE

Role = Literal["client", "server"]
pytestmark = [pytest.mark.peer, pytest.mark.usefixtures("utp_native")]


@pytest.fixture(params=["client", "server"])
def role(request: pytest.FixtureRequest) -> Role:
    """What pknet is; libutp is the other."""
    given: Role = request.param
    return given


@pytest.fixture(scope="module")
def ours() -> bytes:
    """What pknet sends."""
    return seeded_stream("pknet", SIZE)


@pytest.fixture(scope="module")
def theirs() -> bytes:
    """What libutp sends, when told `seed="libutp"`."""
    return seeded_stream("libutp", SIZE)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.asynccontextmanager
async def conversation(
    adapter: Adapter, role: Role, *, lossy: bool = False, **options: Any
) -> AsyncIterator[tuple[Stream, UtpNative]]:
    """Connect pknet and libutp; at the end pknet closes while libutp is still there to answer.

    Whoever is the client has to speak first, if only a byte: libutp sends nothing into a connection that it
    accepted until then, and as a client does not even acknowledge the answer to its SYN.
    """
    async with contextlib.AsyncExitStack() as stack:
        if role == "client":
            peer = stack.enter_context(UtpNative.listen(seed="libutp", **options))
            address = await asyncio.to_thread(lambda: peer.address)
            stream = await adapter.connect(through_a_relay(stack, address) if lossy else address)
        else:
            listener = await stack.enter_async_context(adapter.listen())
            address = through_a_relay(stack, listener.address) if lossy else listener.address
            peer = stack.enter_context(UtpNative.connect(*address, seed="libutp", **options))
            stream = await listener.accept()
        try:
            yield stream, peer
        finally:
            await stream.close()


def through_a_relay(stack: contextlib.AsyncExitStack, address: tuple[str, int]) -> tuple[str, int]:
    """Put a relay in front of an address that loses every fiftieth datagram, both ways."""
    relay = UdpRelay(address, LoseEvery(50))
    return stack.enter_context(relay).address


async def reported(peer: UtpNative, event: str, connection: int = 0) -> dict[str, object]:
    """Wait for an event of the peer."""
    return await asyncio.to_thread(peer.wait_for, event, connection)


async def send_all(stream: Stream, data: bytes) -> None:
    await stream.write(data)
    await stream.finish()


def test_sixteen_mebibytes_go_to_libutp_whole(adapter: Adapter, role: Role, ours: bytes) -> None:
    async def scenario() -> None:
        async with conversation(adapter, role, send=1, finish="end") as (stream, peer):
            await send_all(stream, ours)
            received = await reported(peer, "received")
            assert (received["bytes"], received["sha256"]) == (SIZE, sha256(ours))
            assert await read_to_end(stream) == seeded_stream("libutp", 1)
            await reported(peer, "closed")

    asyncio.run(scenario())


def test_sixteen_mebibytes_come_from_libutp_whole(adapter: Adapter, role: Role, theirs: bytes) -> None:
    async def scenario() -> None:
        async with conversation(adapter, role, send=SIZE) as (stream, peer):
            await stream.write(b"?")
            assert sha256(await read_to_end(stream)) == sha256(theirs)
            await stream.finish()
            received = await reported(peer, "received")
            assert (received["bytes"], received["sha256"]) == (1, sha256(b"?"))
            await reported(peer, "closed")

    asyncio.run(scenario())


def test_sixteen_mebibytes_go_each_way_at_once(
    adapter: Adapter, role: Role, ours: bytes, theirs: bytes
) -> None:
    async def scenario() -> None:
        async with conversation(adapter, role, send=SIZE) as (stream, peer):
            incoming, _ = await asyncio.gather(read_to_end(stream), send_all(stream, ours))
            assert sha256(incoming) == sha256(theirs)
            received = await reported(peer, "received")
            assert (received["bytes"], received["sha256"]) == (SIZE, sha256(ours))
            await reported(peer, "closed")

    asyncio.run(scenario())


def test_libutp_goes_on_sending_after_pknet_has_finished(
    adapter: Adapter, role: Role, ours: bytes, theirs: bytes
) -> None:
    async def scenario() -> None:
        async with conversation(adapter, role, send=SIZE, start="end", first=1) as (stream, peer):
            await send_all(stream, ours)
            assert sha256(await read_to_end(stream)) == sha256(theirs)
            received = await reported(peer, "received")
            assert (received["bytes"], received["sha256"]) == (SIZE, sha256(ours))
            await reported(peer, "closed")

    asyncio.run(scenario())


def test_pknet_goes_on_sending_after_libutp_has_finished(
    adapter: Adapter, role: Role, ours: bytes, theirs: bytes
) -> None:
    async def scenario() -> None:
        async with conversation(adapter, role, send=SIZE) as (stream, peer):
            await stream.write(ours[:1])
            assert sha256(await read_to_end(stream)) == sha256(theirs)
            await send_all(stream, ours[1:])
            received = await reported(peer, "received")
            assert (received["bytes"], received["sha256"]) == (SIZE, sha256(ours))
            await reported(peer, "closed")

    asyncio.run(scenario())


def test_both_streams_survive_a_path_that_loses_every_fiftieth_datagram(
    adapter: Adapter, role: Role, ours: bytes, theirs: bytes
) -> None:
    async def scenario() -> None:
        async with conversation(adapter, role, lossy=True, send=MEBIBYTE) as (stream, peer):
            incoming, _ = await asyncio.gather(read_to_end(stream), send_all(stream, ours[:MEBIBYTE]))
            assert sha256(incoming) == sha256(theirs[:MEBIBYTE])
            received = await reported(peer, "received")
            assert (received["bytes"], received["sha256"]) == (MEBIBYTE, sha256(ours[:MEBIBYTE]))

    asyncio.run(scenario())


def test_a_libutp_that_started_anew_resets_the_connection_it_does_not_know(adapter: Adapter) -> None:
    async def scenario() -> None:
        with UtpNative.listen(send=1, finish="never") as peer:
            host, port = await asyncio.to_thread(lambda: peer.address)
            stream = await adapter.connect((host, port))
            await stream.write(b"?")
            assert await stream.read() == seeded_stream("", 1)
            peer.kill()
            with UtpNative.listen(port=port) as heir:
                assert await asyncio.to_thread(lambda: heir.address) == (host, port)
                with pytest.raises(ConnectionResetError):
                    await asyncio.gather(stream.write(b"!"), stream.read())
                with contextlib.suppress(ConnectionError):
                    await stream.close()

    asyncio.run(scenario())


@pytest.fixture
def chunks() -> list[bytes]:
    """What each of forty connections carries."""
    return [seeded_stream(f"connection {number}", 1 << 16) for number in range(40)]


def test_forty_connections_to_one_libutp_socket_keep_apart(adapter: Adapter, chunks: list[bytes]) -> None:
    async def echo(address: tuple[str, int], chunk: bytes) -> bytes:
        stream = await adapter.connect(address)
        _, echoed = await asyncio.gather(send_all(stream, chunk), read_to_end(stream))
        await stream.close()
        return echoed

    async def scenario() -> None:
        with UtpNative.listen(echo=True, finish="end") as peer:
            address = await asyncio.to_thread(lambda: peer.address)
            assert await asyncio.gather(*(echo(address, chunk) for chunk in chunks)) == chunks
            for number in range(len(chunks)):
                await reported(peer, "closed", number)

    asyncio.run(scenario())


def test_forty_connections_from_one_libutp_socket_keep_apart(adapter: Adapter) -> None:
    async def echo(stream: Stream) -> None:
        while piece := await stream.read():
            await stream.write(piece)
        await stream.finish()
        await stream.close()

    async def scenario() -> None:
        size, count = 1 << 16, 40
        async with adapter.listen() as listener:
            with UtpNative.connect(*listener.address, count=count, send=size, seed="libutp") as peer:
                await asyncio.gather(*[echo(await listener.accept()) for _ in range(count)])
                for number in range(count):
                    received = await reported(peer, "received", number)
                    assert received["sha256"] == sha256(seeded_stream("libutp", size))

    asyncio.run(scenario())
