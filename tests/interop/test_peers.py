"""The peers among themselves: where these pass and pknet against a peer does not, the fault is ours."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers.udp_relay import LoseEvery, UdpRelay
from tests.interop.peers.utp_native import UtpNative, seeded_stream

if TYPE_CHECKING:
    from tests.interop.peers.torrent import Torrent

MEBIBYTE = 1 << 20
pytestmark = pytest.mark.peer


def sha256(seed: str, size: int) -> str:
    return hashlib.sha256(seeded_stream(seed, size)).hexdigest()


@pytest.mark.usefixtures("utp_native")
def test_libutp_sends_sixteen_mebibytes_each_way_at_once_to_libutp() -> None:
    size = 16 * MEBIBYTE
    with (
        UtpNative.listen(send=size, seed="server") as server,
        UtpNative.connect(*server.address, send=size, seed="client") as client,
    ):
        assert client.wait_for("received")["sha256"] == sha256("server", size)
        assert server.wait_for("received")["sha256"] == sha256("client", size)
        client.wait_for("closed")
        server.wait_for("closed")


@pytest.mark.usefixtures("utp_native")
def test_libutp_gets_through_a_relay_that_loses_every_fiftieth_datagram() -> None:
    with (
        UtpNative.listen(send=MEBIBYTE, seed="server") as server,
        UdpRelay(server.address, LoseEvery(50)) as relay,
        UtpNative.connect(*relay.address, send=MEBIBYTE, seed="client") as client,
    ):
        assert client.wait_for("received")["sha256"] == sha256("server", MEBIBYTE)
        assert server.wait_for("received")["sha256"] == sha256("client", MEBIBYTE)
        assert relay.lost > 20


@pytest.fixture
def torrent(libtorrent: None, tmp_path: Path) -> "Torrent":
    from tests.interop.peers.torrent import Torrent

    whole = tmp_path / "whole"
    whole.mkdir()
    return Torrent(seeded_stream("torrent", 8 * MEBIBYTE), whole)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_libtorrent_fetches_from_libtorrent_by_utp_and_each_sees_the_address_of_the_other(
    torrent: "Torrent", tmp_path: Path, host: str
) -> None:
    from tests.interop.peers.torrent import NAME, TorrentSession

    with (
        TorrentSession(torrent, torrent.directory, host=host) as seed,
        TorrentSession(torrent, tmp_path, host=host) as leech,
    ):
        seed.wait_until_complete()
        leech.connect(seed.address)
        leech.wait_until_complete()
        assert leech.peers() == {seed.address: True}
        assert seed.peers() == {leech.address: True}
    assert (tmp_path / NAME).read_bytes() == seeded_stream("torrent", 8 * MEBIBYTE)
