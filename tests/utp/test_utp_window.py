"""Windows that grow with the path and the reader, and memory that stays bounded."""

from __future__ import annotations

from itertools import count

import pytest

from pknet.testing import Link
from pknet.utp import UtpConfig, UtpConnection
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


def feed(
    peer: Peer,
    rtt: float,
    seconds: float,
    *,
    says: float | None = None,
    most: int = MIB,
    connection: UtpConnection | None = None,
) -> int:
    """Have a peer send what fits, each round trip, to a reader that takes it; return the last window.

    `says`: the round trip that follows from its delays, 0 if it tells none; `most`: packets in a round trip.
    """
    connection = connection or peer.dial_and_prove(timestamp=1)
    says = rtt if says is None else says
    window = MIB
    for _ in range(round(seconds / rtt)):
        peer.now += rtt
        # By clocks that differ by some hours: half of the round trip each way.
        sent = int((peer.now - rtt / 2 + 10_000) * 1e6) & 0xFFFFFFFF
        back = int((says - rtt / 2 + 10_000) * 1e6) & 0xFFFFFFFF if says else 0
        for _ in range(min(window // 2 // SEGMENT, most)):
            peer.data(bytes(SEGMENT), timestamp=sent, timestamp_difference=back)
        while connection.readable:
            connection.read(MIB, peer.now)
        window = peer.take()[-1].wnd_size
    return window


def test_who_only_receives_measures_the_round_trip_by_both_delays() -> None:
    assert feed(Peer(), 0.1, 2) > 8 * MIB


def test_without_a_round_trip_the_window_stays() -> None:
    assert feed(Peer(), 0.1, 2, says=0) == MIB


def test_who_has_sent_too_needs_no_delays() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    peer.pass_time(0.1)
    peer.state()
    peer.take()
    assert feed(peer, 0.1, 2, says=0, connection=connection) > 8 * MIB


def test_a_round_trip_that_can_not_be_does_not_count() -> None:
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    assert feed(peer, 0.1, 30, says=-1.0, connection=connection) == MIB
    assert feed(peer, 0.1, 2, connection=connection) > 8 * MIB


def test_one_packet_that_was_held_up_makes_no_window_larger() -> None:
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    feed(peer, 0.1, 0.1, says=5.0, most=20, connection=connection)
    assert feed(peer, 0.1, 8, most=20, connection=connection) == MIB


def test_what_a_reader_takes_at_once_is_no_rate() -> None:
    # It slept, and now has what came meanwhile: two bursts within a round trip of 0.3 ms, then a pause.
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    for _ in range(20):
        for pause in (0.0003, 0.005):
            feed(peer, 0.0003, 0.0003, connection=connection)
            peer.now += pause - 0.0003
    assert connection.stats().receive_window == MIB


def test_a_path_that_has_become_longer_gets_its_window_within_20_seconds() -> None:
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    assert feed(peer, 0.01, 0.5, most=20, connection=connection) == MIB
    assert feed(peer, 0.2, 9, most=300, connection=connection) == MIB
    assert feed(peer, 0.2, 12, most=300, connection=connection) > 1.5 * MIB


def test_a_path_that_has_a_queue_for_a_while_is_no_longer_path() -> None:
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    assert feed(peer, 0.01, 0.5, most=20, connection=connection) == MIB
    assert feed(peer, 0.2, 18, most=300, connection=connection) == MIB


def test_a_connection_that_moves_to_a_longer_path_gets_the_window_for_it_at_once() -> None:
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    assert feed(peer, 0.01, 0.5, most=20, connection=connection) == MIB
    peer.endpoint.rebind(connection, peer.remote, peer.now)
    assert feed(peer, 0.2, 2, most=300, connection=connection) > 1.5 * MIB


def test_a_connection_that_is_over_gives_its_memory_back() -> None:
    peer = Peer(UtpConfig(buffer_growth=4 * MIB))
    assert feed(peer, 0.1, 1) == 5 * MIB
    (connection,) = peer.endpoint.connections
    second = again(peer)
    assert feed(second, 0.1, 1) == MIB
    connection.abort(second.now)
    second.endpoint.transmits()
    assert feed(again(second), 0.1, 1) == 5 * MIB


def test_growth_that_is_of_no_use_any_more_is_left_to_others_and_the_peer_is_told() -> None:
    peer = Peer(UtpConfig(buffer_growth=4 * MIB))
    assert feed(peer, 0.1, 1) == 5 * MIB
    (connection,) = peer.endpoint.connections
    # What the last minute had use for stays for the next one.
    peer.pass_time(59)
    assert connection.stats().receive_window == 5 * MIB
    peer.pass_time(62)
    windows = [packet.wnd_size for packet in peer.take()]
    assert windows[-1] == connection.stats().receive_window == MIB
    assert feed(again(peer), 0.1, 1) == 5 * MIB


def test_growth_shrinks_to_what_a_reader_has_use_for_and_what_is_kept_stays() -> None:
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    assert feed(peer, 0.1, 1, connection=connection) > 8 * MIB
    for _ in range(2):
        feed(peer, 0.1, 65, most=500, connection=connection)
        peer.pass_time(0)
    assert 2 * MIB < feed(peer, 0.1, 1, most=500, connection=connection) < 4 * MIB
    for _ in range(1200):
        peer.data(bytes(SEGMENT), timestamp=0)
    kept = connection.readable
    assert kept == 1200 * SEGMENT > MIB
    peer.pass_time(125)
    assert peer.take()[-1].wnd_size == 0
    assert connection.readable == kept


def test_a_peer_that_lies_about_the_round_trip_gets_what_it_sends_in_four_seconds_at_most() -> None:
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=1)
    assert feed(peer, 0.1, 30, says=9.9, most=50, connection=connection) < 4.1 * 500 * SEGMENT


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
