"""One side of a torrent between two libtorrent sessions that have nothing but uTP.

    python -m benchmarks.peers.torrent receive BYTES
    python -m benchmarks.peers.torrent send BYTES PORT

The receiver prints its port, then how much has come, as JSON lines, until it is ended.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.pknet_stream import say
from tests.interop.peers.torrent import Torrent, TorrentSession

STEP = 0.05


def receive(torrent: Torrent, directory: Path) -> None:
    """Fetch the torrent from whoever comes."""
    with TorrentSession(torrent, directory) as session:
        say(event="listening", port=session.address[1])
        began = 0.0
        while True:
            time.sleep(STEP)
            if size := session.received():
                began = began or time.monotonic()
                say(event="progress", bytes=size, seconds=time.monotonic() - began)


def send(torrent: Torrent, port: int) -> None:
    """Offer the torrent to the session at that port."""
    with TorrentSession(torrent, torrent.directory) as session:
        session.wait_until_complete()
        session.connect(("127.0.0.1", port))
        while True:
            time.sleep(STEP)


def main() -> None:
    """Play one side."""
    role, size, *port = sys.argv[1:]
    # So that what was written is deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as empty:
        torrent = Torrent(bytes(int(size)), Path(whole))
        send(torrent, int(port[0])) if role == "send" else receive(torrent, Path(empty))


if __name__ == "__main__":
    main()
