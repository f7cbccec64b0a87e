import itertools

import pytest

from pknet.utp import UtpConfig
from tests.utp.peer import DATA, Peer


def echo(peer: Peer, round_trips: list[float]) -> None:
    """Exchange packets with these round-trip times."""
    (connection,) = peer.endpoint.connections
    for rtt in round_trips:
        connection.send(b"x", peer.now)
        peer.take()
        peer.pass_time(rtt)
        peer.take()
        peer.state()


@pytest.mark.parametrize(
    ("round_trips", "smoothed", "variation"),
    [
        # RFC 6298, 2.2 and 2.3: R, R/2; then 7/8 and 1/8, 3/4 and 1/4.
        ([0.1], 0.1, 0.05),
        ([0.1, 0.1], 0.1, 0.0375),
        ([0.1, 0.2], 0.1125, 0.0625),
        ([0.2, 0.1, 0.1], 0.1765625, 0.096875),
    ],
)
def test_the_round_trip_is_smoothed(round_trips: list[float], smoothed: float, variation: float) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    echo(peer, round_trips)
    stats = connection.stats()
    assert stats.rtt == pytest.approx(smoothed)
    assert stats.rtt_variation == pytest.approx(variation)
    assert stats.min_rtt == pytest.approx(min(round_trips))


@pytest.mark.parametrize(
    ("round_trips", "min_timeout", "max_timeout", "timeout"),
    [
        ([], 0.5, 60, 1.0),
        ([0.01], 0.5, 60, 0.5),
        ([0.4], 0.5, 60, 1.2),
        ([0.4, 0.4], 0.5, 60, 1.0),
        ([0.9], 0.5, 2, 2.0),
    ],
)
def test_the_timeout_follows_the_round_trip_within_its_bounds(
    round_trips: list[float], min_timeout: float, max_timeout: float, timeout: float
) -> None:
    peer = Peer(UtpConfig(min_timeout=min_timeout, max_timeout=max_timeout))
    connection = peer.dial_and_prove()
    echo(peer, round_trips)
    connection.send(b"x", peer.now)
    (first,) = peer.take()
    start = peer.now
    peer.pass_time(5)
    peer.take()
    times = [
        time - start for time, packet in peer.sent if packet.type == DATA and packet.seq_nr == first.seq_nr
    ]
    probe = 2 * round_trips[-1] + 0.04 if round_trips else timeout
    # Where it is sooner, a tail probe goes first and the timeout counts from there.
    assert times[1] == pytest.approx(min(probe, timeout), rel=0.01)
    if probe < timeout:
        assert times[2] - times[1] == pytest.approx(timeout, rel=0.01)


def test_the_timeout_doubles_up_to_its_limit() -> None:
    peer = Peer(UtpConfig(max_timeout=5, peer_timeout=60))
    connection = peer.dial_and_prove()
    connection.send(b"x", peer.now)
    peer.pass_time(40)
    peer.take()
    times = [time for time, packet in peer.sent if packet.type == DATA]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == pytest.approx([1, 2, 4] + [5] * 6)
