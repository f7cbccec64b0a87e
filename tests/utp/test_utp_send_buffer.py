"""What was given is what arrives, however it was cut, and until it is acknowledged it stays as it is."""

from hypothesis import given
from hypothesis import strategies as st

from pknet.utp import UtpConfig
from tests.utp.peer import DATA, SEGMENT, Peer, mask_of


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20), st.integers(150, 2000), st.booleans())
def test_pieces_of_any_sizes_make_one_stream_of_packets(pieces: list[int], size: int, at_once: bool) -> None:
    peer = Peer(UtpConfig(max_datagram=size))
    connection = peer.dial_and_prove()
    stream = bytes(n * 31 & 0xFF for n in range(sum(pieces)))
    at = 0
    received = b""
    for piece in pieces:
        connection.send(stream[at : at + piece], peer.now)
        at += piece
        if not at_once:
            received += peer.take_payload()
            peer.pass_time(0.01)
            peer.state()
    for _ in range(100):
        received += peer.take_payload()
        peer.pass_time(0.01)
        peer.state()
    assert received == stream
    assert max(len(bytes(packet)) for _, packet in peer.sent) <= size
    assert connection.unacknowledged == 0
    assert connection.packets_retransmitted == 0


@given(st.sets(st.integers(0, 59)), st.integers(0, 0xFFFF))
def test_what_is_lost_is_sent_again_as_it_was(lost: set[int], seed: int) -> None:
    peer = Peer(UtpConfig(send_buffer=1 << 20, path_mtu_discovery=False), seed=seed)
    connection = peer.dial_and_prove()
    connection.send(b"".join(bytes((n,)) * SEGMENT for n in range(60)), peer.now)
    copies: dict[int, set[bytes]] = {}
    arrived: set[int] = set()
    first = None
    for _ in range(40):
        for packet in peer.take():
            if packet.type != DATA:
                continue
            first = packet.seq_nr if first is None else first
            number = (packet.seq_nr - first) & 0xFFFF
            copies.setdefault(number, set()).add(packet.payload)
            # The first copy is the one that is lost.
            if number not in lost:
                arrived.add(number)
            lost.discard(number)
        peer.pass_time(0.1)
        assert first is not None
        missing = next(n for n in range(61) if n not in arrived)
        ack_nr = (first + missing - 1) & 0xFFFF
        early = [(first + n) & 0xFFFF for n in arrived if n > missing]
        peer.state(ack_nr=ack_nr, selective_ack=mask_of(ack_nr, *early) if early else None)
    assert connection.unacknowledged == 0
    assert copies == {n: {bytes((n,)) * SEGMENT} for n in range(60)}


def test_a_stream_longer_than_the_sequence_numbers_wraps() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    sent = acknowledged = 0
    while acknowledged < 70_000:
        sent += connection.send(b"x" * 100, peer.now) // 100
        for packet in peer.take():
            acknowledged += len(packet.payload) // 100
        peer.pass_time(0.001)
        peer.state()
    assert sent == acknowledged == 70_000
    assert connection.packets_sent > 65536
    assert connection.packets_retransmitted == 0
    assert connection.unacknowledged == 0
