"""Capture real datagrams of the peers into captures.json: `python -m tests.interop.peers.capture`.

What is kept is a fact about the peer: the bytes it sent over loopback, and what BEP 29 says they mean, read
here by a decoder that shares nothing with pknet. Run it again when a peer's version changes.
"""

import json
import random
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.interop.peers.install import pinned_version
from tests.interop.peers.torrent import Torrent, TorrentSession
from tests.interop.peers.udp_relay import Datagram, UdpRelay
from tests.interop.peers.utp_native import UtpNative

CAPTURES = Path(__file__).resolve().parents[1] / "captures.json"
TYPES = ("ST_DATA", "ST_FIN", "ST_STATE", "ST_RESET", "ST_SYN")
SELECTIVE_ACK = 1
CLOSE_REASON = 3
KEEPALIVE_INTERVAL = 29.0

Fields = dict[str, Any]
Wanted = Callable[[Fields], bool]


def decode(datagram: bytes) -> Fields:
    """Read the header and the extensions of a uTP packet."""
    kind, extension, connection_id, sent, difference, window, seq_nr, ack_nr = struct.unpack_from(
        "!BBHIIIHH", datagram
    )
    offset = 20
    extensions: list[tuple[int, str]] = []
    while extension:
        following, length = datagram[offset], datagram[offset + 1]
        extensions.append((extension, datagram[offset + 2 : offset + 2 + length].hex()))
        extension, offset = following, offset + 2 + length
    return {
        "type": TYPES[kind >> 4],
        "version": kind & 15,
        "extensions": extensions,
        "connection_id": connection_id,
        "timestamp_microseconds": sent,
        "timestamp_difference_microseconds": difference,
        "wnd_size": window,
        "seq_nr": seq_nr,
        "ack_nr": ack_nr,
        "payload": datagram[offset:].hex(),
    }


def mask_of(fields: Fields) -> bytes | None:
    """Return the selective ack of a decoded packet, or None."""
    return next((bytes.fromhex(mask) for kind, mask in fields["extensions"] if kind == SELECTIVE_ACK), None)


def gaps_in(mask: bytes) -> int:
    """Return how many times a 0 stands before a 1 in a selective ack, read from its first bit."""
    bits = f"{int.from_bytes(mask, 'little'):b}"[::-1]
    return bits.count("01")


def is_a(kind: str, *, with_extension: int | None = None) -> Wanted:
    """Want a packet of this type that has exactly this extension (or none), and little payload."""
    extensions = [] if with_extension is None else [with_extension]
    return lambda fields: (
        fields["type"] == kind
        and [found for found, _ in fields["extensions"]] == extensions
        and len(fields["payload"]) <= 800
    )


class Captures:
    """The datagrams kept, each one found by what is wanted of it."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []

    def keep(
        self, peer: str, version: str, description: str, datagrams: Iterable[bytes], wanted: Wanted
    ) -> None:
        """Keep the first of these datagrams that is wanted; there must be one."""
        for datagram in datagrams:
            fields = decode(datagram)
            if wanted(fields):
                self.kept.append(
                    {
                        "peer": peer,
                        "version": version,
                        "description": description,
                        "hex": datagram.hex(),
                        "fields": fields,
                    }
                )
                return
        raise LookupError(f"{peer} sent no such datagram: {description}")

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps(self.kept, indent=1) + "\n")


def by(initiator: bool, record: list[Datagram]) -> list[bytes]:
    """Return what one side sent."""
    return [datagram.data for datagram in record if datagram.to_server is initiator]


def capture_utp_native(captures: Captures) -> None:
    """Capture a connection with one lost datagram, and a reset."""
    version = pinned_version("utp-native")

    def keep(description: str, datagrams: Iterable[bytes], wanted: Wanted) -> None:
        captures.keep("utp-native", version, description, datagrams, wanted)

    with UtpNative.listen(send=200, finish="end") as server, UdpRelay(server.address) as relay:
        with UtpNative.connect(*relay.address, send=100) as client:
            client.wait_for("closed")
            server.wait_for("closed")
        opened, accepted = by(True, relay.record), by(False, relay.record)
        keep("the SYN, which carries the initiator's receive id", opened, is_a("ST_SYN"))
        keep(
            "the answer to the SYN: its seq_nr is that of the first ST_DATA to come",
            accepted,
            is_a("ST_STATE"),
        )
        keep("the initiator's first ST_DATA, on its receive id + 1", opened, is_a("ST_DATA"))
        keep("the acceptor's first ST_DATA: the seq_nr of its answer to the SYN", accepted, is_a("ST_DATA"))
        keep("the initiator's ST_FIN", opened, is_a("ST_FIN"))
        keep("the acceptor's ST_FIN", accepted, is_a("ST_FIN"))

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.settimeout(10)
            stranger.sendto(bytes.fromhex("01000bad00000001000000000010000030390000") + b"x", server.address)
            keep(
                "the ST_RESET in answer to an ST_DATA 12345 on connection id 2989 that it does not know",
                [stranger.recv(2048)],
                is_a("ST_RESET"),
            )

    lost = {False: {20, 23}, True: set[int]()}
    with (
        UtpNative.listen(send=1 << 18, finish="end") as server,
        UdpRelay(server.address, lambda datagram: datagram.number in lost[datagram.to_server]) as relay,
        UtpNative.connect(*relay.address, send=100) as client,
    ):
        client.wait_for("received")
        opened = by(True, relay.record)
    keep(
        "an ST_STATE with the four-byte selective ack that every libutp sends",
        opened,
        lambda fields: (mask := mask_of(fields)) is not None and gaps_in(mask) == 0,
    )
    keep(
        "a selective ack with a second gap in it",
        opened,
        lambda fields: (mask := mask_of(fields)) is not None and gaps_in(mask) == 1,
    )

    with (
        UtpNative.listen(send=10, finish="never") as server,
        UdpRelay(server.address) as relay,
        UtpNative.connect(*relay.address, send=10, finish="never") as client,
    ):
        client.wait_for("connected")
        time.sleep(KEEPALIVE_INTERVAL + 2)
        opened = by(True, relay.record)
    acknowledged = max(decode(datagram)["ack_nr"] for datagram in opened)
    keep(
        "an ST_STATE that keeps an idle path alive, every 29 s: its ack_nr is one less than before",
        opened[-1:],
        lambda fields: is_a("ST_STATE")(fields) and fields["ack_nr"] == acknowledged - 1,
    )


def capture_libtorrent(captures: Captures) -> None:
    """Capture a fetched torrent with lost datagrams, and the close that follows it."""
    version = metadata.version("libtorrent")

    def keep(description: str, datagrams: Iterable[bytes], wanted: Wanted) -> None:
        captures.keep("libtorrent", version, description, datagrams, wanted)

    opened, accepted = fetch(60_000, lost={12})
    both = opened + accepted
    keep("the SYN, with a window of 0", opened, is_a("ST_SYN"))
    keep("the answer to the SYN: its seq_nr is that of the first ST_DATA to come", accepted, is_a("ST_STATE"))
    keep("the initiator's first ST_DATA, a BitTorrent handshake", opened, is_a("ST_DATA"))
    keep("the acceptor's first ST_DATA: the seq_nr of its answer to the SYN", accepted, is_a("ST_DATA"))
    keep(
        "an ST_STATE with a selective ack of one byte, less than BEP 29 allows",
        opened,
        lambda fields: (
            is_a("ST_STATE", with_extension=SELECTIVE_ACK)(fields) and len(mask_of(fields) or b"") == 1
        ),
    )
    keep("an ST_FIN with a close reason", both, is_a("ST_FIN", with_extension=CLOSE_REASON))
    keep(
        "an ST_STATE after the ST_FIN: it bears the seq_nr of the ST_FIN, and the close reason again",
        both,
        is_a("ST_STATE", with_extension=CLOSE_REASON),
    )
    keep("an ST_FIN without a close reason", both, is_a("ST_FIN"))

    opened, accepted = fetch(4_000_000, lost=set(range(100, 120)))
    keep(
        "a selective ack of a length that is not a multiple of four",
        opened,
        lambda fields: len(mask_of(fields) or b"") % 4 != 0 and len(mask_of(fields) or b"") > 1,
    )
    keep(
        "a selective ack of zeros: what was received lies beyond its end",
        opened,
        lambda fields: (mask := mask_of(fields)) is not None and not any(mask),
    )
    keep(
        "an ST_DATA with a selective ack",
        opened,
        is_a("ST_DATA", with_extension=SELECTIVE_ACK),
    )


def fetch(size: int, lost: set[int]) -> tuple[list[bytes], list[bytes]]:
    """Fetch a torrent six times, losing datagrams of the seed; return what the leech and the seed sent.

    Six times, for libtorrent's threads decide what rides on what, and whether a close begins at once.
    """
    opened, accepted = [], []
    for _ in range(6):
        record = fetch_once(size, lost)
        opened += by(True, record)
        accepted += by(False, record)
    return opened, accepted


def fetch_once(size: int, lost: set[int]) -> list[Datagram]:
    """Fetch a torrent, losing datagrams of the seed, and close; return what passed."""
    with tempfile.TemporaryDirectory() as seed_directory, tempfile.TemporaryDirectory() as leech_directory:
        torrent = Torrent(random.Random(1).randbytes(size), Path(seed_directory))
        with (
            TorrentSession(torrent, torrent.directory) as seed,
            TorrentSession(torrent, Path(leech_directory)) as leech,
            UdpRelay(
                seed.address, lambda datagram: not datagram.to_server and datagram.number in lost
            ) as relay,
        ):
            seed.wait_until_complete()
            leech.connect(relay.address)
            leech.wait_until_complete()
            leech.disconnect()
            wait_for_both_to_finish(relay.record)
            return list(relay.record)


def wait_for_both_to_finish(record: list[Datagram], timeout: float = 5.0) -> None:
    """Wait until each side sent its ST_FIN and had it acknowledged, but no longer than `timeout`."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        seen = [(datagram.to_server, decode(datagram.data)) for datagram in list(record)]
        finished = {side: fields["seq_nr"] for side, fields in seen if fields["type"] == "ST_FIN"}
        acknowledged = {side for side, fields in seen if finished.get(not side) == fields["ack_nr"]}
        if acknowledged == {True, False}:
            return
        time.sleep(0.05)


def main() -> None:
    """Capture all and write captures.json."""
    captures = Captures()
    capture_utp_native(captures)
    capture_libtorrent(captures)
    captures.write(CAPTURES)


if __name__ == "__main__":
    main()
