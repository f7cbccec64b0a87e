"""One side of a torrent between two libtorrent sessions that have nothing but uTP.

    python -m benchmarks.peers.torrent receive BYTES BUFFER
    python -m benchmarks.peers.torrent send BYTES BUFFER PORT

The receiver prints its port, then how much has come, as JSON lines, until all has. Both end with their
standard input; the sender then prints its processor time.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.process import CpuTime, say
from tests.interop.peers.torrent import Torrent, TorrentSession

STEP = 0.05


def receive(torrent: Torrent, directory: Path, buffer: int) -> None:
    """Fetch the torrent from whoever comes."""
    with TorrentSession(torrent, directory, buffer=buffer) as session:
        say("listening", port=session.address[1])
        began, cpu = 0.0, CpuTime()
        while True:
            time.sleep(STEP)
            if size := session.received():
                began = began or time.monotonic()
                say("progress", bytes=size, seconds=time.monotonic() - began, cpuSeconds=cpu.used())
            if session.is_complete():
                break
        sys.stdin.read()


def send(torrent: Torrent, buffer: int, port: int) -> None:
    """Offer the torrent to the session at that port."""
    with TorrentSession(torrent, torrent.directory, buffer=buffer) as session:
        session.wait_until_complete()
        cpu = CpuTime()
        session.connect(("127.0.0.1", port))
        sys.stdin.read()
        say("sent", cpuSeconds=cpu.used())


def main() -> None:
    """Play one side."""
    role, size, buffer, *port = sys.argv[1:]
    # So that what was written is deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as empty:
        torrent = Torrent(bytes(int(size)), Path(whole))
        if role == "send":
            send(torrent, int(buffer), int(port[0]))
        else:
            receive(torrent, Path(empty), int(buffer))


if __name__ == "__main__":
    main()
