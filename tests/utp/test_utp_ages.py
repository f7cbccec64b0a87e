"""Packets that the network held for so long that their sequence numbers have come round."""

from __future__ import annotations

from pknet.utp import UtpConfig
from tests.utp.peer import DATA, SEGMENT, STATE, Peer, read_all

ROUND = 1 << 16


def send_many(peer: Peer, count: int, seconds: float) -> None:
    """Have a peer send small packets, which are read at once."""
    (connection,) = peer.endpoint.connections
    for number in range(count):
        peer.now += seconds / count
        peer.data(b".")
        if number % 1000 == 0:
            connection.read(1 << 20, peer.now)
            peer.take()
    connection.read(1 << 20, peer.now)
    peer.take()
    peer.take_events()


def skip(peer: Peer) -> None:
    """Leave a number out."""
    peer.seq_nr = (peer.seq_nr + 1) & 0xFFFF


def test_payload_from_an_earlier_round_of_the_numbers_is_not_taken_for_new() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    send_many(peer, 5000, 1)
    old = peer.packet(DATA, payload=b"old")
    send_many(peer, ROUND - 3, 10)
    # Three packets on, the old one would be the one that is awaited in a moment. However often it comes.
    for _ in range(40):
        peer.give_bytes(bytes(old))
        peer.state()
    assert peer.endpoint.counters.implausible == 40
    for payload in (b"a", b"b", b"c", b"d"):
        peer.data(payload)
    assert connection.read(100, peer.now) == b"abcd"


def test_an_acknowledgement_from_an_earlier_round_does_not_count() -> None:
    peer = Peer(wnd_size=1 << 24)
    connection = peer.dial_and_prove()
    old = b""
    sent = stale = 0
    while not old or sent < ROUND + stale + 5:
        peer.now += 0.001
        connection.send(bytes(20 * SEGMENT), peer.now)
        for packet in peer.take():
            sent += packet.type == DATA
        if not old and sent > 4000:
            old, stale, stale_ack = bytes(peer.packet(STATE)), sent, peer.ack_nr
        if not old or sent < ROUND + stale - 10:
            peer.state()
    # What was acknowledged a round ago is in flight now.
    first = (peer.ack_nr - connection.in_flight // SEGMENT) & 0xFFFF
    in_flight = connection.in_flight
    assert (stale_ack - first) & 0xFFFF < in_flight // SEGMENT
    peer.give_bytes(old)
    assert connection.in_flight == in_flight
    assert peer.endpoint.counters.implausible == 1


def test_packets_that_are_merely_late_are_taken() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    send_many(peer, ROUND + 9000, 10)
    late = peer.packet(DATA, payload=b"first")
    skip(peer)
    for _ in range(500):
        peer.now += 0.01
        peer.data(b".")
    peer.give_bytes(bytes(late))
    assert connection.read(1000, peer.now) == b"first" + b"." * 500
    assert peer.endpoint.counters.implausible == 0


def test_a_packet_that_is_late_is_taken_though_one_long_before_it_was_sent_again_meanwhile() -> None:
    peer = Peer(UtpConfig(receive_buffer=1 << 25))
    connection = peer.dial_and_prove()
    send_many(peer, 9000, 10)
    lost = peer.packet(DATA, payload=b"a")
    skip(peer)
    send_many(peer, 8500, 1)
    late = peer.packet(DATA, payload=b"b")
    skip(peer)
    peer.now += 1
    peer.data(b"a", seq_nr=lost.seq_nr)
    peer.state()
    read_all(connection, peer.now)
    peer.give_bytes(bytes(late))
    assert connection.read(9, peer.now) == b"b"
    assert peer.endpoint.counters.implausible == 0


def test_an_earlier_round_is_told_apart_though_the_numbers_went_on_by_a_leap() -> None:
    peer = Peer(UtpConfig(receive_buffer=1 << 25))
    connection = peer.dial_and_prove()
    send_many(peer, 5000, 1)
    old = peer.packet(DATA, payload=b"old")
    send_many(peer, 27_000, 5)
    # What decides about the old one is half a round after it: within what waits for this packet.
    lost = peer.packet(DATA, payload=b".")
    skip(peer)
    send_many(peer, 13_000, 2)
    peer.give_bytes(bytes(lost))
    send_many(peer, ROUND - 27_000 - 1 - 13_000 - 3, 5)
    peer.give_bytes(bytes(old))
    assert peer.endpoint.counters.implausible == 1
    assert connection.bytes_received == 5000 + ROUND - 3


def test_an_earlier_round_is_told_apart_though_what_closed_the_gap_was_older_still() -> None:
    peer = Peer(UtpConfig(receive_buffer=1 << 25))
    connection = peer.dial_and_prove()
    send_many(peer, 5000, 1)
    number = peer.seq_nr
    send_many(peer, 27_000, 5)
    # It is held up, and when it comes, twice, the numbers leap ahead: that moment is the border.
    late = peer.packet(DATA, payload=b".")
    skip(peer)
    send_many(peer, 1000, 1)
    old = peer.packet(DATA, payload=b"old", seq_nr=number)
    send_many(peer, 12_000, 1)
    peer.give_bytes(bytes(late))
    peer.give_bytes(bytes(late))
    send_many(peer, ROUND - 27_000 - 1 - 13_000 - 3, 5)
    peer.give_bytes(bytes(old))
    assert peer.endpoint.counters.implausible == 1
    assert connection.bytes_received == 5000 + ROUND - 3


def test_a_peers_clock_that_goes_back_does_not_end_the_stream() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    send_many(peer, ROUND, 10)
    back = int((peer.now - 600) * 1e6) & 0xFFFFFFFF
    for _ in range(100):
        # As a sender does that gets no acknowledgement.
        peer.data(b"!", seq_nr=peer.seq_nr, timestamp=back)
    assert connection.read(10, peer.now) == b"!"


def test_a_slow_stream_may_go_on_for_longer_than_timestamps_last() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    # 32-bit microseconds come round in 71 minutes.
    send_many(peer, 3 * ROUND, 20 * 3600)
    assert peer.endpoint.counters.implausible == 0
    assert connection.bytes_received == 3 * ROUND
