"""Chunks go in and bytes come out, in any sizes: seen through a connection that is read and written."""

import tracemalloc
from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pknet.utp import UtpConfig
from tests.utp.peer import Peer, read_all

sizes = st.one_of(st.integers(1, 9), st.integers(1000, 9000))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), sizes), max_size=150))
def test_reading_follows_a_model(steps: list[tuple[bool, bool, int]]) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    model: deque[int] = deque()
    value = 0
    for comes, into_buffer, size in steps:
        if comes:
            piece = bytes((value + n) & 0xFF for n in range(min(size, 1400)))
            value += len(piece)
            peer.data(piece)
            peer.take()
            model.extend(piece)
            continue
        if into_buffer:
            buffer = bytearray(size)
            read = bytes(buffer[: connection.read_into(buffer, peer.now)])
            # Into a buffer goes all that fits.
            assert len(read) == min(size, len(model))
        else:
            read = connection.read(size, peer.now)
            assert bool(read) == bool(model)
            assert len(read) <= size
        assert list(read) == [model.popleft() for _ in read]
        assert connection.readable == len(model)
    assert list(read_all(connection, peer.now)) == list(model)


CONTENT = memoryview(bytes(number % 251 for number in range(20_000)))


@given(
    st.lists(st.tuples(st.sampled_from([bytes, memoryview, bytearray]), sizes, st.booleans()), max_size=100)
)
def test_what_is_sent_follows_a_model(steps: list[tuple[Any, int, bool]]) -> None:
    peer = Peer(UtpConfig(send_buffer=1 << 20))
    connection = peer.dial_and_prove()
    model, sent = bytearray(), bytearray()
    place = 0
    for kind, size, leaves in steps:
        # Often where the piece before ended, sometimes elsewhere.
        place = place if place + size <= len(CONTENT) else size
        piece = CONTENT[place : place + size]
        assert connection.send(kind(piece), peer.now) == len(piece)
        place += size
        model += piece
        if leaves:
            sent += peer.take_payload()
            peer.state()
    while payload := peer.take_payload():
        sent += payload
        peer.state()
    assert sent == model


def test_what_was_read_is_not_held() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    for _ in range(200):
        peer.data(bytes(1300))
    peer.take()
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(3000):
            # There is always something left to read, so that the queue never starts afresh.
            connection.read(1300, peer.now)
            peer.data(bytes(1300))
            peer.endpoint.transmits()
        assert tracemalloc.get_traced_memory()[0] - start < 600_000
    finally:
        tracemalloc.stop()
    assert connection.readable > 0
