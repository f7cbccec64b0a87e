"""What has come: its order, its limits, and what is said of it to the peer."""

import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet._core.utp_invariants import check_connection
from pknet.utp import DataReceived, EofReceived, UtpConfig
from tests.utp.peer import DATA, FIN, SEGMENT, STATE, Peer, mask_of, read_all


@given(st.permutations(range(40)), st.integers(0, 0xFFFF))
def test_packets_in_any_order_make_one_stream(order: list[int], start: int) -> None:
    peer = Peer(seq_nr=start)
    connection = peer.dial_and_prove()
    first = peer.seq_nr
    came: set[int] = set()
    for number in order:
        peer.data(b"<%d>" % number, seq_nr=(first + number) & 0xFFFF)
        came.add(number)
        (state,) = peer.take()
        in_order = next(n for n in range(41) if n not in came)
        ack_nr = (first + in_order - 1) & 0xFFFF
        early = [(first + n) & 0xFFFF for n in came if n > in_order]
        assert state.ack_nr == ack_nr
        assert state.selective_ack == (mask_of(ack_nr, *early) if early else None)
    assert read_all(connection, peer.now) == b"".join(b"<%d>" % n for n in range(40))


@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8), st.randoms(use_true_random=False)
)
def test_a_bit_of_payload_that_is_flipped_on_the_way_changes_nothing_else(
    payloads: list[bytes], random: Random
) -> None:
    order = random.sample(range(len(payloads)), len(payloads))
    which = random.randrange(len(payloads))
    damaged = flip(payloads[which], random.randrange(8 * len(payloads[which])))
    results = []
    for payload in (payloads[which], damaged):
        peer = Peer()
        connection = peer.dial_and_prove()
        first = peer.seq_nr
        for number in order:
            peer.data(payload if number == which else payloads[number], seq_nr=first + number)
        peer.fin(seq_nr=first + len(payloads))
        read = read_all(connection, peer.now)
        assert read == b"".join([*payloads[:which], payload, *payloads[which + 1 :]])
        assert connection.at_eof
        results.append((peer.take(), connection.stats()))
    assert results[0] == results[1]


def flip(data: bytes, bit: int) -> bytes:
    """Return the data with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.lists(st.integers(0, 30), max_size=60))
def test_packets_that_come_twice_count_once(numbers: list[int]) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    first = peer.seq_nr
    for number in numbers:
        peer.data(bytes((number,)) * 3, seq_nr=first + number)
        check_connection(connection)
    in_order = next(n for n in range(32) if n not in numbers)
    assert read_all(connection, peer.now) == b"".join(bytes((n,)) * 3 for n in range(in_order))
    assert connection.packets_duplicated == len(numbers) - len(set(numbers))
    assert connection.bytes_received == 3 * len(set(numbers))


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=30), st.lists(st.integers(0, 5000), min_size=1))
def test_payload_is_read_in_any_sizes(pieces: list[int], limits: list[int]) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    stream = bytes(n * 7 & 0xFF for n in range(sum(pieces)))
    at = 0
    read = b""
    for number, size in enumerate(pieces):
        peer.data(stream[at : at + size])
        at += size
        limit = limits[number % len(limits)]
        if number % 2:
            read += connection.read(limit, peer.now)
        else:
            buffer = bytearray(limit)
            read += buffer[: connection.read_into(buffer, peer.now)]
        peer.take()
    assert connection.readable == len(stream) - len(read)
    assert read + read_all(connection, peer.now) == stream


def test_a_full_buffer_takes_no_more_until_it_is_read() -> None:
    peer = Peer(UtpConfig(receive_buffer=10_000))
    connection = peer.dial_and_prove()
    for _ in range(10):
        peer.data(bytes(1000))
    peer.data(b"x", seq_nr=peer.seq_nr)
    assert connection.readable == 10_000
    assert peer.take()[-1].wnd_size == 0
    assert peer.endpoint.counters.beyond_window == 1
    read_all(connection, peer.now)
    peer.data(bytes(1000))
    assert connection.readable == 1000


def test_a_fin_fits_into_a_full_buffer() -> None:
    peer = Peer(UtpConfig(receive_buffer=10_000))
    connection = peer.dial_and_prove()
    for _ in range(10):
        peer.data(bytes(1000))
    peer.fin()
    assert peer.take()[-1].ack_nr == peer.seq_nr - 1
    assert not connection.at_eof
    assert len(read_all(connection, peer.now)) == 10_000
    assert connection.at_eof


def test_the_peer_is_told_when_reading_has_opened_the_window_again() -> None:
    peer = Peer(UtpConfig(receive_buffer=10_000))
    connection = peer.dial_and_prove()
    for _ in range(10):
        peer.data(bytes(1000))
    assert peer.take()[-1].wnd_size == 0
    connection.read(1000, peer.now)
    assert peer.take() == []
    connection.read(2000, peer.now)
    (update,) = peer.take()
    assert (update.type, update.wnd_size, update.ack_nr) == (STATE, 3000, peer.seq_nr - 1)
    connection.read(4000, peer.now)
    assert peer.take() == []
    read_all(connection, peer.now)
    assert [packet.wnd_size for packet in peer.take()] == [10_000]


def test_reading_a_little_from_an_open_window_is_not_worth_a_packet() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    for _ in range(100):
        peer.data(bytes(1000))
        peer.take()
        connection.read(1000, peer.now)
        assert peer.take() == []


def test_a_window_that_opened_between_two_packets_is_told_of_with_the_next() -> None:
    # What was not sent does not count as told: the peer would wait for an update that never comes.
    peer = Peer(UtpConfig(receive_buffer=100_000, path_mtu_discovery=False))
    connection = peer.dial_and_prove()
    for _ in range(100):
        peer.data(bytes(1000))
    assert peer.take()[-1].wnd_size == 0
    updates = []
    while connection.readable:
        connection.read(900, peer.now)
        # An acknowledgement from the peer makes the connection think of sending, but there is nothing to
        # send.
        peer.state()
        updates += [packet.wnd_size for packet in peer.take()]
    assert updates[0] >= 2 * SEGMENT
    assert max(b - a for a, b in zip([0, *updates], [*updates, 100_000], strict=True)) <= 50_900


@pytest.mark.parametrize("fin_first", [True, False])
def test_nothing_is_taken_past_a_fin_that_came_early(fin_first: bool) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    first = peer.seq_nr
    packets = [(FIN, first + 2, b""), (DATA, first + 5, b"invented")]
    for type, seq_nr, payload in packets if fin_first else reversed(packets):
        peer.give(type, seq_nr=seq_nr, payload=payload)
    for number in range(5):
        if number != 2:
            peer.data(b"%d" % number, seq_nr=first + number)
    peer.fin(seq_nr=first + 2)
    # A FIN below data that the peer has sent can't be its end: then the data stands, and the FIN does not.
    assert read_all(connection, peer.now) == b"01"
    assert connection.at_eof is fin_first


def test_a_second_fin_somewhere_else_changes_nothing() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    first = peer.seq_nr
    peer.fin(seq_nr=first + 3)
    peer.fin(seq_nr=first + 1)
    peer.fin(seq_nr=first + 6)
    for number in (0, 2):
        peer.data(b"x", seq_nr=first + number)
    assert [type(event) for event in peer.take_events()] == [DataReceived, EofReceived]
    assert connection.at_eof is False
    assert read_all(connection, peer.now) == b"xx"
    assert connection.at_eof


def test_a_fin_repeated_as_data_and_data_repeated_as_fin_change_nothing() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.data(b"x")
    peer.fin(seq_nr=peer.seq_nr - 1)
    peer.data(b"y", seq_nr=peer.seq_nr + 1)
    peer.fin(seq_nr=peer.seq_nr + 1)
    peer.data(b"z")
    assert read_all(connection, peer.now) == b"xzy"
    assert not connection.at_eof


def test_a_selective_ack_reaches_as_far_as_its_length_byte() -> None:
    peer = Peer(UtpConfig(receive_buffer=4 << 20))
    peer.dial_and_prove()
    missing = peer.seq_nr
    peer.data(b"x", seq_nr=missing + 5000)
    peer.data(b"x", seq_nr=missing + 1 + 252 * 8 - 1)
    peer.data(b"x", seq_nr=missing + 1 + 252 * 8)
    mask = peer.take()[-1].selective_ack
    assert mask == bytes(251) + b"\x80"


@pytest.mark.parametrize("max_datagram", [150, 153, 200])
def test_a_selective_ack_makes_no_packet_longer_than_the_path_carries(max_datagram: int) -> None:
    peer = Peer(UtpConfig(max_datagram=max_datagram))
    peer.dial_and_prove()
    missing = peer.seq_nr
    for ahead in range(1, 2001):
        peer.data(b"x", seq_nr=missing + ahead)
    (state,) = peer.take()
    # The header, that of the extension, and a mask of a multiple of 4 bytes.
    assert max_datagram - 4 < len(bytes(state)) <= max_datagram
    assert state.selective_ack == b"\xff" * ((max_datagram - 22) // 4 * 4)


@given(st.permutations(range(10)))
def test_a_peer_that_keeps_to_the_window_has_nothing_dropped_in_whatever_order_it_comes(
    order: list[int],
) -> None:
    peer = Peer(UtpConfig(receive_buffer=10_000))
    connection = peer.dial_and_prove()
    first = peer.seq_nr
    for number in order:
        peer.data(bytes(1000), seq_nr=first + number)
    assert connection.readable == 10_000
    assert peer.endpoint.counters.beyond_window == 0


def test_early_packets_and_what_nobody_reads_do_not_add_up_beyond_one_and_a_half_times_the_limit() -> None:
    limit = 1 << 20
    size = 1 << 13
    window = limit // size
    peer = Peer(UtpConfig(receive_buffer=limit))
    connection = peer.dial_and_prove()
    first = peer.seq_nr
    for number in range(window + 1, 3 * window):
        peer.data(bytes(size), seq_nr=first + number)
    early = 2 * window - 1 - peer.endpoint.counters.beyond_window
    for number in range(window):
        peer.data(bytes(size), seq_nr=first + number)
    assert connection.readable + early * size <= 1.5 * limit
    # A reader makes room for what is missing.
    read = connection.readable
    while read < limit + size + early * size:
        read_all(connection, peer.now)
        peer.data(bytes(size), seq_nr=first + read // size)
        assert connection.readable >= size
        read += connection.readable


def held_by_a_stranger(send: str, size: int) -> int:
    """Return how many bytes one connection holds on behalf of a peer that sends as much as it can."""
    config = UtpConfig(receive_buffer=1 << 18)
    peer = Peer(config)
    connection = peer.dial_and_prove()
    head = peer.packet(DATA)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(40_000):
            seq_nr = head.seq_nr + number + (send == "early")
            packet = bytes(peer.packet(DATA, seq_nr=seq_nr & 0xFFFF, payload=bytes(size)))
            if send == "in runs":
                # Each run promises much and holds little.
                run = packet + bytes(peer.packet(STATE, payload=bytes(size))) * 40
                peer.endpoint.receive_segments(run, len(packet), peer.remote, None, peer.now)
            else:
                peer.give_bytes(packet)
            peer.endpoint.transmits()
            del packet
        peer.endpoint.events()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert connection.state == "CONNECTED"
    return held


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("send", ["in order", "in runs", "early"])
def test_a_peer_can_not_make_a_connection_hold_more_than_its_buffer(send: str, size: int) -> None:
    # The tiny ones may cost some more than they hold, but not an object for each.
    assert held_by_a_stranger(send, size) < 1.25 * (1 << 18) + 100_000
