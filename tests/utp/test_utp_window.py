"""Windows that grow with the path and the reader, and memory that stays bounded."""

from __future__ import annotations

from itertools import count

import pytest

from pknet.testing import Link
from pknet.utp import UtpConfig
from tests.utp.flow import Flow, Program
from tests.utp.peer import DATA, SEGMENT, STATE, Peer

MIB = 1 << 20
PORTS = count(1)


def windows(rate: float, rtt: float, seconds: float, **settings: object) -> tuple[int, int]:
    """Run a transfer; return the largest window of the receiver, and the most that the sender took ahead."""
    config = UtpConfig(congestion_control="bbr", **settings)  # type: ignore[arg-type]
    sender, receiver = Program(bytes(1 << 28)), Program()
    flow = Flow(
        sender,
        receiver,
        Link(latency=rtt / 2, rate=rate, queue=int(rate * rtt)),
        Link(latency=rtt / 2),
        config=config,
        receive_segments=True,
    )
    window = taken = 0
    for _ in range(round(seconds / 0.05)):
        flow.run(0.05)
        taken = max(taken, flow.dialled.unacknowledged)
        if receiver.connection is not None:
            window = max(window, receiver.connection.stats().receive_window)
    return window, taken


def test_a_long_fast_path_gets_the_window_that_fills_it() -> None:
    # 200 Mbit/s and 0.2 s: 5 MB are on their way.
    window, taken = windows(25e6, 0.2, 4)
    assert 10e6 < window <= 32 * MIB
    assert 10e6 < taken <= 32 * MIB


def test_a_short_or_slow_path_keeps_the_window_it_began_with() -> None:
    assert windows(1.25e6, 0.1, 10)[0] <= MIB


def test_a_size_that_the_program_has_set_stays() -> None:
    window, taken = windows(25e6, 0.2, 4, receive_buffer=2 * MIB, send_buffer=3 * MIB)
    assert window <= 2 * MIB
    assert taken <= 3 * MIB


def test_all_connections_together_grow_by_no_more_than_is_allowed() -> None:
    window, _ = windows(25e6, 0.2, 4, buffer_growth=3 * MIB)
    assert 3 * MIB < window <= 4 * MIB


def test_a_reader_that_does_not_read_gives_nobody_a_larger_window() -> None:
    reader = Program(reads=False)
    flow = Flow(Program(bytes(16 * MIB)), reader, Link(latency=0.1))
    flow.run(20)
    assert reader.connection is not None
    assert reader.connection.readable <= MIB


def feed(peer: Peer, rtt: float, seconds: float, *, says_delay: bool = True) -> int:
    """Have a peer send what fits, each round trip, to a reader that takes it; return the last window."""
    connection = peer.dial_and_prove(timestamp=1)
    window = MIB
    for _ in range(round(seconds / rtt)):
        peer.now += rtt
        # By clocks that differ by some hours: half of the round trip each way.
        sent = int((peer.now - rtt / 2 + 10_000) * 1e6) & 0xFFFFFFFF
        back = int((rtt / 2 + 10_000) * 1e6) & 0xFFFFFFFF if says_delay else 0
        for _ in range(window // 2 // SEGMENT):
            peer.data(bytes(SEGMENT), timestamp=sent, timestamp_difference=back)
        while connection.readable:
            connection.read(MIB, peer.now)
        window = peer.take()[-1].wnd_size
    return window


def test_who_only_receives_measures_the_round_trip_by_both_delays() -> None:
    assert feed(Peer(), 0.1, 2) > 8 * MIB


def test_without_a_round_trip_the_window_stays() -> None:
    assert feed(Peer(), 0.1, 2, says_delay=False) == MIB


def test_a_connection_that_is_over_gives_its_memory_back() -> None:
    peer = Peer(UtpConfig(buffer_growth=4 * MIB))
    assert feed(peer, 0.1, 1) == 5 * MIB
    (connection,) = peer.endpoint.connections
    second = again(peer)
    assert feed(second, 0.1, 1) == MIB
    connection.abort(second.now)
    second.endpoint.transmits()
    assert feed(again(second), 0.1, 1) == 5 * MIB


def again(peer: Peer) -> Peer:
    """Return another peer of the same endpoint."""
    other = Peer(remote=("192.0.2.10", next(PORTS)), now=peer.now)
    other.endpoint = peer.endpoint
    peer.take_events()
    return other


@pytest.mark.parametrize("packet", [DATA, STATE])
def test_a_peer_that_lies_about_delays_gets_no_more_than_there_is(packet: int) -> None:
    peer = Peer(UtpConfig(buffer_growth=MIB))
    connection = peer.dial_and_prove()
    for lie in (1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        for _ in range(200):
            peer.now += 0.01
            peer.data(bytes(SEGMENT))
            peer.give(packet, timestamp=lie, timestamp_difference=lie)
            connection.read(MIB, peer.now)
    assert peer.take()[-1].wnd_size <= 2 * MIB
