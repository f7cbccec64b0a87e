"""Programs that pknet did not write answer when they are asked whether they are still there."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import pknet_asyncio
from pknet.utp import PacketType, UtpConfig, parse_packet
from tests.interop.peers.udp_relay import UdpRelay
from tests.interop.peers.utp_native import UtpNative

pytestmark = pytest.mark.peer
# Asked after 0.5 s of silence, and every 0.125 s from then on.
CONFIG = UtpConfig(keepalive=None, idle_timeout=1.0)
ANSWERS = 5


@pytest.fixture
def libutp_server(utp_native: None) -> Iterator[tuple[str, int]]:
    """The address of a libutp that accepts connections."""
    with UtpNative.listen() as peer:
        yield peer.address


@pytest.fixture
def libtorrent_server(libtorrent: None, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of a BitTorrent client that waits for the first word of its peer."""
    from tests.interop.peers.torrent import Torrent, TorrentSession

    torrent = Torrent(bytes(1 << 16), tmp_path)
    with TorrentSession(torrent, tmp_path, host="127.0.0.1") as session:
        session.wait_until_complete()
        yield session.address


@pytest.mark.parametrize("peer", ["libutp_server", "libtorrent_server"])
def test_a_peer_with_nothing_to_say_answers_and_so_the_connection_stays(
    peer: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(peer)

    async def scenario() -> None:
        with UdpRelay(address) as relay:
            _, writer = await pknet_asyncio.open_utp_connection(*relay.address, config=CONFIG)
            while answers_in(relay) < ANSWERS:
                assert not writer.transport.is_closing()
                await asyncio.sleep(0.01)
            writer.transport.abort()

    asyncio.run(scenario())


def answers_in(relay: UdpRelay) -> int:
    """Count the questions that the peer has answered: what comes next from it is an acknowledgement."""
    packets = [(datagram.to_server, parse_packet(datagram.data)) for datagram in list(relay.record)]
    return sum(
        asked.type == PacketType.DATA
        and not asked.payload
        and to_server
        and not answered_to_server
        and answer.type == PacketType.STATE
        and answer.ack_nr == asked.seq_nr
        for (to_server, asked), (answered_to_server, answer) in itertools.pairwise(packets)
    )
