"""pknet against libtorrent: a torrent passes from one session to another through two connections of pknet."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.interop.adapters import Adapter, Listener, Stream
from tests.interop.peers.udp_relay import LoseEvery, UdpRelay
from tests.interop.peers.utp_native import seeded_stream

if TYPE_CHECKING:
    from tests.interop.peers.torrent import TorrentSession

Address = tuple[str, int]
CONTENT = seeded_stream("torrent", 8 << 20)
pytestmark = [pytest.mark.peer, pytest.mark.usefixtures("libtorrent")]


class Swarm:
    """A session that has the torrent and one that wants it, neither of which knows the other."""

    def __init__(self, directory: Path, host: str, stack: ExitStack) -> None:
        from tests.interop.peers.torrent import NAME, Torrent, TorrentSession

        (directory / "seed").mkdir()
        (directory / "leech").mkdir()
        self.fetched = directory / "leech" / NAME
        torrent = Torrent(CONTENT, directory / "seed")
        self.seed = stack.enter_context(TorrentSession(torrent, directory / "seed", host=host))
        self.leech = stack.enter_context(TorrentSession(torrent, directory / "leech", host=host))
        self.seed.wait_until_complete()

    def sides(self, dialer: Literal["seed", "leech"]) -> tuple["TorrentSession", "TorrentSession"]:
        """Return the session that connects to pknet, and the one that pknet connects to."""
        return (self.seed, self.leech) if dialer == "seed" else (self.leech, self.seed)


@pytest.fixture
def swarm_on(tmp_path: Path) -> Iterator[Callable[[str], Swarm]]:
    """Make a swarm on a loopback address."""
    with ExitStack() as stack:
        yield lambda host: Swarm(tmp_path, host, stack)


async def pass_on(source: Stream, sink: Stream, passed: list[int]) -> None:
    """Pass bytes on until the source ends, then end the sink; `passed` has the length of each piece."""
    while piece := await source.read():
        await sink.write(piece)
        passed.append(len(piece))
    await sink.finish()


async def join(adapter: Adapter, listener: Listener, target: Address) -> int:
    """Join the next incoming connection to a new one to `target`; return how many bytes passed.

    It ends when the incoming side closes. libtorrent closes both directions at once, and sends its end, and
    what it had to send before, again once at most: when a datagram was lost, the other side has no end.
    """
    incoming = await listener.accept()
    outgoing = await adapter.connect(target)
    passed: list[int] = []
    back = asyncio.create_task(pass_on(outgoing, incoming, passed))
    try:
        await pass_on(incoming, outgoing, passed)
    finally:
        await outgoing.abort()
        await incoming.abort()
        await asyncio.gather(back, return_exceptions=True)
    return sum(passed)


@pytest.mark.parametrize("dialer", ["leech", "seed"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_torrent_passes_through_pknet_and_each_session_sees_pknet_alone(
    adapter: Adapter, swarm_on: Callable[[str], Swarm], dialer: Literal["seed", "leech"], host: str
) -> None:
    swarm = swarm_on(host)
    dialing, dialed = swarm.sides(dialer)

    async def scenario() -> None:
        async with adapter.listen(host) as listener:
            joined = asyncio.create_task(join(adapter, listener, dialed.address))
            dialing.connect(listener.address)
            await asyncio.to_thread(swarm.leech.wait_until_complete)
            assert dialing.peers() == {listener.address: True}
            assert dialing.address not in dialed.peers()
            assert list(dialed.peers().values()) == [True]

            dialing.disconnect()
            assert await joined > len(CONTENT)
        assert swarm.fetched.read_bytes() == CONTENT

    asyncio.run(scenario())


@pytest.mark.parametrize("dialer", ["leech", "seed"])
def test_a_torrent_passes_though_every_hundredth_datagram_between_pknet_and_libtorrent_is_lost(
    adapter: Adapter, swarm_on: Callable[[str], Swarm], dialer: Literal["seed", "leech"]
) -> None:
    # libtorrent's selective acks are of any length, zeros even, and ride on ST_DATA too. Where the seed
    # dials, they answer what pknet sends; where the leech dials, pknet's answer what libtorrent sends.
    swarm = swarm_on("127.0.0.1")
    dialing, dialed = swarm.sides(dialer)

    async def scenario() -> None:
        with UdpRelay(dialed.address, LoseEvery(100)) as relay:
            async with adapter.listen() as listener:
                joined = asyncio.create_task(join(adapter, listener, relay.address))
                dialing.connect(listener.address)
                await asyncio.to_thread(swarm.leech.wait_until_complete)
                dialing.disconnect()
                assert await joined > len(CONTENT)
            assert relay.lost > 50
        assert swarm.fetched.read_bytes() == CONTENT

    asyncio.run(scenario())
