"""Habits that single programs in use have, each named after what their users would miss."""

import pytest

from pknet.utp import CloseReason, ConnectionAccepted
from tests.utp.peer import DATA, FIN, RESET, SEGMENT, SYN, Peer, mask_of, types_of


def test_another_syn_with_the_id_of_a_half_open_connection_changes_nothing_of_it() -> None:
    peer = Peer()
    first = peer.dial()
    peer.give(SYN, connection_id=500, seq_nr=7000)
    assert peer.take() == []
    assert peer.endpoint.counters.unexpected == 1
    peer.data(b"as the first one said")
    assert types_of(peer.take_events()) == [ConnectionAccepted]
    assert peer.take()[0].ack_nr == (first.ack_nr + 1) & 0xFFFF


@pytest.mark.parametrize("clock", [1, 1000, 123_456_789])
def test_a_syn_with_a_clock_of_its_own_does_not_matter_to_what_follows(clock: int) -> None:
    # librqbit's counts milliseconds.
    peer = Peer()
    connection = peer.dial_and_prove(timestamp=clock)
    for _ in range(1200):
        peer.now += 0.001
        peer.data(b".")
    assert connection.read(2000, peer.now) == b"." * 1200
    assert peer.take()[-1].timestamp_difference == 0
    assert peer.endpoint.counters.implausible == 0


@pytest.mark.parametrize("behind", [4, 600])
def test_payload_whose_acknowledgement_is_out_of_date_is_taken(behind: int) -> None:
    # libutp drops it, payload and all, from four packets behind on.
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(bytes(SEGMENT), peer.now)
    (data,) = peer.take()
    peer.data(b"held up", ack_nr=(data.seq_nr - behind) & 0xFFFF)
    assert connection.read(100, peer.now) == b"held up"
    assert connection.unacknowledged == SEGMENT


def test_a_selective_ack_on_data_counts_as_on_a_state() -> None:
    # libtorrent, ethereum/utp and anacrolix/utp send these.
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(bytes(6 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    mask = mask_of(first - 1, first + 1, first + 2, first + 3)
    peer.data(b"x", ack_nr=first - 1, selective_ack=mask)
    assert [packet.seq_nr for packet in peer.take() if packet.type == DATA] == [first]
    assert connection.in_flight == 3 * SEGMENT


def test_a_fin_that_was_acknowledged_selectively_is_not_sent_again() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(bytes(5 * SEGMENT), peer.now)
    connection.finish(peer.now)
    first, *_, fin = peer.take()
    missing = first.seq_nr
    peer.state(ack_nr=missing - 1, selective_ack=mask_of(missing - 1, *range(missing + 1, fin.seq_nr + 1)))
    assert [(packet.type, packet.seq_nr) for packet in peer.take()] == [(DATA, missing)]
    assert connection.unacknowledged == 5 * SEGMENT
    peer.fin(ack_nr=fin.seq_nr)
    assert (connection.close_reason, connection.unacknowledged) == (CloseReason.FINISHED, 0)


def test_resets_to_three_ids_at_once_end_the_one_connection_that_they_are_about() -> None:
    # anacrolix/utp sends the id that it was sent and both beside it, for it can't tell whose it was.
    peers = [Peer(seq_nr=number * 10_000) for number in (1, 2, 3)]
    connections = []
    for peer, connection_id in zip(peers, (498, 500, 502), strict=True):
        peer.endpoint = peers[0].endpoint
        connections.append(peer.dial_and_prove(connection_id=connection_id))
        connections[-1].send(b"x", peer.now)
        peer.take()
    peer, middle = peers[1], connections[1]
    peer.give(RESET, connection_id=500, ack_nr=peer.ack_nr)
    assert middle.close_reason is CloseReason.RESET
    for connection_id in (499, 501):
        peer.give(RESET, connection_id=connection_id, ack_nr=peer.ack_nr)
    assert [connection.state for connection in connections] == ["CONNECTED", "CLOSED", "CONNECTED"]


def test_a_peer_that_answers_a_fin_by_its_own_has_still_all_that_was_sent_before() -> None:
    # librqbit does, though its user may have more to read; there is no half-close with it.
    peer = Peer(wnd_size=2 * SEGMENT)
    connection = peer.dial_and_prove()
    connection.send(bytes(3 * SEGMENT), peer.now)
    connection.finish(peer.now)
    assert [packet.type for packet in peer.take()] == [DATA, DATA]
    peer.fin()
    assert [packet.type for packet in peer.take()] == [DATA, FIN]
    assert connection.state == "CONNECTED"
    peer.state()
    assert (connection.close_reason, connection.unacknowledged) == (CloseReason.FINISHED, 0)
