"""Packets that the network held for so long that their sequence numbers have come round."""

from __future__ import annotations

from tests.utp.peer import DATA, SEGMENT, STATE, Peer

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


def test_payload_from_an_earlier_round_of_the_numbers_is_not_taken_for_new() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    send_many(peer, 5000, 1)
    old = peer.packet(DATA, payload=b"old")
    send_many(peer, ROUND - 3, 10)
    # Three packets on, the old one would be the one that is awaited in a moment.
    peer.give_bytes(bytes(old))
    assert peer.endpoint.counters.implausible == 1
    for payload in (b"a", b"b", b"c", b"d"):
        peer.data(payload)
    assert connection.read(100, peer.now) == b"abcd"


def test_an_acknowledgement_from_an_earlier_round_does_not_count() -> None:
    peer = Peer(wnd_size=1 << 24)
    connection = peer.dial_and_prove()
    old: list[bytes] = []
    sent = 0
    while sent < ROUND + 4000:
        peer.now += 0.001
        connection.send(bytes(20 * SEGMENT), peer.now)
        for packet in peer.take():
            sent += packet.type == DATA
        if not old and sent > 4000:
            old.append(bytes(peer.packet(STATE)))
            late_ack = peer.ack_nr
        if sent < ROUND + 3990 or connection.in_flight == 0:
            peer.state()
    # What was acknowledged a round ago is in flight now.
    first = (peer.ack_nr - connection.in_flight // SEGMENT) & 0xFFFF
    assert (late_ack - first) & 0xFFFF < 100
    in_flight = connection.in_flight
    peer.give_bytes(old[0])
    assert connection.in_flight == in_flight
    assert peer.endpoint.counters.implausible == 1


def test_packets_that_are_merely_late_are_taken() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    send_many(peer, ROUND + 9000, 10)
    late = peer.packet(DATA, payload=b"first")
    peer.seq_nr = (peer.seq_nr + 1) & 0xFFFF
    for _ in range(500):
        peer.now += 0.01
        peer.data(b".")
    peer.give_bytes(bytes(late))
    assert connection.read(1000, peer.now) == b"first" + b"." * 500
    assert peer.endpoint.counters.implausible == 0


def test_a_peers_clock_that_goes_back_does_not_end_the_stream() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    send_many(peer, ROUND, 10)
    back = int((peer.now - 3600) * 1e6) & 0xFFFFFFFF
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
