"""When packets leave: windows, loss, probes, pace."""

import itertools

import pytest

from pknet.utp import CloseReason, UtpConfig, UtpConnection
from tests.utp.peer import DATA, FIN, SEGMENT, STATE, Peer, mask_of

RTT = 0.1


def opened(peer: Peer) -> UtpConnection:
    """Open a connection over a path with a round trip of RTT."""
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    peer.pass_time(RTT)
    peer.state()
    peer.take()
    peer.take_events()
    return connection


def sent_after(peer: Peer, seconds: float) -> list[tuple[float, int]]:
    """Let time pass; return when which numbers were sent."""
    before, start = len(peer.sent), peer.now
    peer.pass_time(seconds)
    peer.take()
    return [
        (round(time - start, 6), packet.seq_nr)
        for time, packet in peer.sent[before:]
        if packet.type in (DATA, FIN)
    ]


# Runs.


def test_a_window_leaves_in_runs_of_equal_packets() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(5 * SEGMENT + 100), peer.now)
    peer.take()
    run = peer.transmits[-1]
    assert (run.segment_size, len(run.data)) == (1402, 5 * 1402 + 120)


def test_small_pieces_join_in_one_packet() -> None:
    peer = Peer()
    connection = opened(peer)
    for number in range(100):
        connection.send(b"%02d" % number, peer.now)
    (packet,) = peer.take()
    assert packet.payload == b"".join(b"%02d" % number for number in range(100))


def test_a_single_packet_is_no_run() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(SEGMENT), peer.now)
    peer.take()
    assert peer.transmits[-1].segment_size is None


@pytest.mark.parametrize("max_datagram", [150, 1402, 9000, 65507])
def test_a_run_fits_into_one_call(max_datagram: int) -> None:
    peer = Peer(UtpConfig(max_datagram=max_datagram, receive_buffer=1 << 20))
    connection = opened(peer)
    for _ in range(12):
        connection.send(bytes(1 << 20), peer.now)
        peer.take()
        peer.pass_time(RTT)
        peer.state()
    peer.take()
    assert max(len(transmit.data) for transmit in peer.transmits) <= 65507
    assert max(len(transmit.datagrams()) for transmit in peer.transmits) <= 64
    longest = max(len(transmit.data) for transmit in peer.transmits)
    assert longest > 40 * 150 if max_datagram == 150 else longest > 31_000


def test_a_partial_packet_does_not_wait() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(b"one", peer.now)
    peer.take()
    connection.send(b"two", peer.now)
    assert peer.take_payload() == b"two"


def test_with_nagle_a_partial_packet_waits_while_others_are_in_flight() -> None:
    peer = Peer(UtpConfig(nagle=True, path_mtu_discovery=False))
    connection = opened(peer)
    connection.send(b"one", peer.now)
    assert peer.take_payload() == b"one"
    connection.send(b"two", peer.now)
    connection.send(bytes(SEGMENT), peer.now)
    assert len(peer.take_payload()) == SEGMENT
    peer.state()
    assert peer.take_payload() == bytes(3)
    connection.send(b"last", peer.now)
    connection.finish(peer.now)
    assert peer.take_payload() == b"last"


# The peer's window.


def test_no_more_is_in_flight_than_the_peer_has_room_for() -> None:
    peer = Peer(UtpConfig(send_buffer=100_000), wnd_size=5000)
    connection = opened(peer)
    connection.send(bytes(100_000), peer.now)
    received = 0
    while received < 100_000:
        in_flight = sum(len(packet.payload) for packet in peer.take())
        assert 0 < in_flight <= 5000
        received += in_flight
        peer.pass_time(RTT)
        peer.state()
    assert connection.unacknowledged == 0


def test_a_peer_that_stops_reading_stalls_the_sender_who_holds_no_more_than_its_buffer() -> None:
    peer = Peer(UtpConfig(send_buffer=50_000), wnd_size=20_000)
    connection = opened(peer)
    taken = 0
    while size := connection.send(bytes(10_000), peer.now):
        taken += size
        peer.take()
        peer.state(wnd_size=max(0, 20_000 - taken))
    assert connection.unacknowledged <= 50_000
    assert taken <= 20_000 + 50_000
    # For a day: the peer answers each probe, and so is not taken for gone.
    for _ in range(86400 // 5):
        peer.pass_time(5)
        for _ in peer.take():
            peer.state(
                ack_nr=peer.ack_nr if peer.sent[-1][1].payload != b"\0" else peer.ack_nr - 1, wnd_size=0
            )
    assert connection.state == "CONNECTED"
    assert connection.send(b"x", peer.now) == 0


def test_a_shut_window_is_probed_by_one_byte_and_ever_more_rarely() -> None:
    peer = Peer(wnd_size=SEGMENT)
    connection = opened(peer)
    connection.send(bytes(5 * SEGMENT), peer.now)
    (full,) = peer.take()
    peer.state(ack_nr=full.seq_nr, wnd_size=0)
    times = []
    for _ in range(250):
        for time, _ in sent_after(peer, 0.1):
            times.append(round(peer.now - 0.1 + time, 1))
            # The probe is thrown away: there is no room for it.
            peer.state(ack_nr=full.seq_nr, wnd_size=0)
    probes = [packet for _, packet in peer.sent if packet.type == DATA][1:]
    assert {(packet.seq_nr, len(packet.payload)) for packet in probes} == {(full.seq_nr + 1, 1)}
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # Doubled up to a quarter of the time after which a peer that does not answer is gone.
    assert gaps == pytest.approx([1, 2, 4, 7.5, 7.5], abs=0.11)
    assert connection.state == "CONNECTED"
    assert connection.congestion_window >= 10 * SEGMENT


def test_what_waited_for_a_shut_window_leaves_when_it_opens() -> None:
    peer = Peer(wnd_size=SEGMENT)
    connection = opened(peer)
    payload = bytes(n & 0xFF for n in range(5 * SEGMENT))
    connection.send(payload, peer.now)
    (full,) = peer.take()
    peer.state(ack_nr=full.seq_nr, wnd_size=0)
    peer.pass_time(20)
    probe = peer.take()[0]
    peer.state(ack_nr=full.seq_nr, wnd_size=1 << 20)
    packets = peer.take()
    assert [packet.seq_nr for packet in packets] == [full.seq_nr + n for n in range(1, len(packets) + 1)]
    assert packets[0].payload == probe.payload
    assert full.payload + b"".join(packet.payload for packet in packets) == payload


def test_a_lost_word_that_the_window_is_open_is_made_up_for_by_a_probe() -> None:
    peer = Peer(wnd_size=SEGMENT)
    connection = opened(peer)
    connection.send(bytes(5 * SEGMENT), peer.now)
    (full,) = peer.take()
    peer.state(ack_nr=full.seq_nr, wnd_size=0)
    peer.pass_time(1)
    (probe,) = peer.take()
    peer.state(ack_nr=probe.seq_nr, wnd_size=1 << 20)
    assert sum(len(packet.payload) for packet in peer.take()) == 4 * SEGMENT - 1


def test_a_peer_with_a_shut_window_that_does_not_answer_probes_is_gone() -> None:
    peer = Peer(UtpConfig(peer_timeout=30), wnd_size=SEGMENT)
    connection = opened(peer)
    connection.send(bytes(5 * SEGMENT), peer.now)
    (full,) = peer.take()
    peer.state(ack_nr=full.seq_nr, wnd_size=0)
    peer.pass_time(32)
    assert connection.close_reason is CloseReason.TIMED_OUT


def test_a_window_smaller_than_a_packet_is_not_filled_bit_by_bit() -> None:
    peer = Peer(wnd_size=20_000)
    connection = opened(peer)
    connection.send(bytes(100_000), peer.now)
    peer.take()
    peer.state(wnd_size=300)
    assert peer.take() == []
    # But in the end it is used, for the peer may have no more.
    peer.pass_time(2)
    assert {len(packet.payload) for packet in peer.take()} == {300}


@pytest.mark.parametrize("micros", [1_000_000, 1000, 0xFFFFF000])
def test_of_two_words_about_the_window_the_one_that_left_the_peer_later_counts(micros: int) -> None:
    # Between two of them the clock may come round.
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(100 * SEGMENT), peer.now)
    ack_nr = peer.take()[4].seq_nr
    for later, wnd_size, counts in ((0, 1 << 20, True), (-2, 0, False), (2, 0, True), (5, 9000, True)):
        timestamp = (micros + 1000 * later) & 0xFFFFFFFF
        peer.state(ack_nr=ack_nr, wnd_size=wnd_size, timestamp=timestamp)
        assert connection.stats().peer_window == (wnd_size if counts else 1 << 20)


def test_a_window_is_believed_though_the_peers_clock_was_set_back() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(9 * SEGMENT), peer.now)
    ack_nr = peer.take()[-1].seq_nr
    peer.state(ack_nr=ack_nr, wnd_size=0)
    peer.state(ack_nr=ack_nr, timestamp=(int(peer.now * 1e6) - 3_600_000_000) & 0xFFFFFFFF)
    assert connection.stats().peer_window == 1 << 20


def test_what_left_before_the_window_shut_is_not_sent_again_when_it_opens() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(10 * SEGMENT), peer.now)
    sent = peer.take()
    peer.pass_time(RTT)
    peer.state(ack_nr=sent[4].seq_nr, wnd_size=0)
    assert connection.in_flight == 5 * SEGMENT
    peer.pass_time(0.01)
    peer.state(ack_nr=sent[4].seq_nr)
    connection.send(bytes(SEGMENT), peer.now)
    assert [packet.seq_nr for packet in peer.take()] == [sent[9].seq_nr + 1]
    assert connection.in_flight == 6 * SEGMENT


def test_a_peer_with_small_windows_only_is_served() -> None:
    peer = Peer(wnd_size=300)
    connection = opened(peer)
    connection.send(bytes(3000), peer.now)
    received = 0
    for _ in range(10):
        packets = peer.take()
        assert [len(packet.payload) for packet in packets] == [300]
        received += 300
        peer.pass_time(RTT)
        peer.state()
    assert connection.unacknowledged == 0


def test_tiny_packets_in_flight_are_no_more_than_a_receiver_keeps() -> None:
    # libutp drops what is more than 1023 packets ahead of a missing one.
    peer = Peer()
    connection = opened(peer)
    outstanding = 0
    for _ in range(3000):
        connection.send(b"x", peer.now)
        outstanding += len(peer.take())
    assert outstanding <= 1023
    assert len({packet.seq_nr for _, packet in peer.sent if packet.type == DATA}) == outstanding


# Loss.


def test_three_packets_that_arrived_past_a_missing_one_show_its_loss() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(9 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    for arrived in (1, 2):
        peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, *range(first + 1, first + 1 + arrived)))
        assert peer.take() == []
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1, first + 2, first + 3))
    assert [packet.seq_nr for packet in peer.take()] == [first]
    assert connection.stats().timeouts == 0


def test_a_packet_that_was_overtaken_by_fewer_is_lost_a_quarter_of_a_round_trip_later() -> None:
    # So that a small window does not have to wait for a timeout.
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(2 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1))
    assert connection.next_timer == "keepalive" or peer.take() == []
    assert connection.next_timer == "reordering"
    assert sent_after(peer, 0.2) == [(pytest.approx(RTT / 4, abs=1e-4), first)]


def test_a_packet_that_was_only_late_is_not_sent_again() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(2 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1))
    peer.pass_time(RTT / 8)
    peer.state()
    assert sent_after(peer, 5) == []
    assert connection.packets_retransmitted == 0


def test_a_packet_lost_twice_is_found_by_what_was_sent_after_it() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(50 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    arrived = list(range(first + 1, first + 10))
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, *arrived))
    packets = [packet.seq_nr for packet in peer.take()]
    assert packets[0] == first
    assert len(packets) > 1
    peer.pass_time(RTT)
    arrived += packets[1:]
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, *arrived))
    assert first in [number for _, number in sent_after(peer, RTT / 3)]
    assert connection.stats().timeouts == 0


def test_several_losses_in_a_round_trip_shrink_the_window_once() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(10 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    for lost in ((0,), (0, 2), (0, 2, 5)):
        arrived = [first + n for n in range(1, 7 + len(lost)) if n not in lost]
        peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, *arrived))
        peer.take()
        assert connection.congestion_window == pytest.approx(8 * SEGMENT, abs=SEGMENT)


def test_a_loss_after_recovery_shrinks_the_window_again() -> None:
    peer = Peer()
    connection = opened(peer)
    windows = []
    for _ in range(2):
        connection.send(bytes(10 * SEGMENT), peer.now)
        first = peer.take()[0].seq_nr
        peer.pass_time(RTT)
        peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, *range(first + 1, first + 5)))
        peer.take()
        windows.append(connection.congestion_window)
        # Exactly what was in flight when the loss was found.
        for _ in range(10):
            peer.pass_time(RTT)
            peer.state()
            peer.take()
        assert connection.unacknowledged == 0
    assert windows[1] < windows[0]


def flight(peer: Peer, connection: UtpConnection, packets: int) -> int:
    """Have so many packets in flight, the window shrunk to no less; return the number of the first."""
    while connection.congestion_window < 2 * packets * SEGMENT:
        connection.send(bytes(connection.writable), peer.now)
        peer.pass_time(RTT)
        peer.state()
        while connection.unacknowledged:
            peer.pass_time(RTT)
            peer.state()
    before = len(peer.sent)
    connection.send(bytes(packets * SEGMENT), peer.now)
    peer.pass_time(RTT)
    peer.take()
    return next(packet.seq_nr for _, packet in peer.sent[before:] if packet.type == DATA)


def flight_without_its_first(peer: Peer, connection: UtpConnection) -> int:
    """Have 120 packets in flight, of which the first is missing and leaves again; return its number.

    The peer's mask has four bytes: it tells of the 32 that follow.
    """
    first = flight(peer, connection, 120)
    peer.state(ack_nr=first - 1, selective_ack=b"\xff" * 4)
    assert [packet.seq_nr for packet in peer.take()] == [first]
    return first


def test_what_the_mask_of_a_peer_does_not_reach_is_not_taken_for_lost() -> None:
    # A mask of libutp's tells of 32 packets, pknet's own of 2016; many more may be in flight.
    peer = Peer()
    connection = opened(peer)
    first = flight_without_its_first(peer, connection)
    peer.pass_time(RTT)
    peer.state(ack_nr=first + 39, selective_ack=b"\xff" * 4)
    assert [packet.seq_nr for packet in peer.take()] == [first + 40]
    assert sent_after(peer, RTT) == []
    peer.state(ack_nr=first + 119)
    assert connection.unacknowledged == connection.in_flight == 0


def test_the_second_loss_beyond_the_reach_of_a_mask_resends_itself_alone() -> None:
    # A peer that sent no mask had nothing early then; that says nothing of what was sent since.
    peer = Peer()
    connection = opened(peer)
    for _ in range(2):
        first = flight(peer, connection, 120)
        resent = connection.packets_retransmitted
        peer.state(ack_nr=first - 1, selective_ack=b"\xff" * 4)
        assert [packet.seq_nr for packet in peer.take()] == [first]
        peer.pass_time(RTT)
        peer.state(ack_nr=first + 39, selective_ack=b"\xff" * 4)
        assert [packet.seq_nr for packet in peer.take()] == [first + 40]
        assert sent_after(peer, RTT) == []
        peer.state(ack_nr=first + 119)
        assert connection.packets_retransmitted == resent + 2


def test_what_has_arrived_does_not_leave_the_network_again_when_masks_become_shorter() -> None:
    peer = Peer()
    connection = opened(peer)
    first = flight(peer, connection, 120)
    peer.state(ack_nr=first - 1, selective_ack=b"\xff" * 8)
    peer.take()
    peer.pass_time(RTT)
    peer.state(ack_nr=first, selective_ack=b"\xff" * 4)
    assert 0 <= connection.in_flight <= connection.unacknowledged
    peer.state(ack_nr=first + 119)
    assert connection.in_flight == connection.unacknowledged == 0


def test_acknowledgements_that_name_nothing_new_are_no_duplicates_of_a_peer_that_sends_masks() -> None:
    # They answer what came twice (RFC 6675 section 2).
    peer = Peer()
    connection = opened(peer)
    first = flight(peer, connection, 20)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1))
    peer.state(ack_nr=first + 9)
    resent, window = connection.packets_retransmitted, connection.congestion_window
    for _ in range(3):
        peer.state(ack_nr=first + 9)
    assert peer.take() == []
    assert connection.packets_retransmitted == resent
    assert connection.congestion_window == window


def test_how_long_a_gap_was_open_is_not_taken_for_a_round_trip() -> None:
    # What came after the gap, out of the mask's reach, is acknowledged only when the gap is closed.
    peer = Peer()
    connection = opened(peer)
    first = flight_without_its_first(peer, connection)
    peer.pass_time(5 * RTT)
    peer.state(ack_nr=first + 119)
    assert connection.rtt is not None
    assert connection.rtt < 1.01 * RTT


def test_what_must_have_left_the_network_leaves_room_though_nothing_tells_of_it() -> None:
    peer = Peer()
    connection = opened(peer)
    first = flight_without_its_first(peer, connection)
    assert connection.in_flight == (120 - 32) * SEGMENT
    peer.pass_time(RTT)
    # The second copy of the first packet has arrived, so all that left before it has left the network.
    peer.state(ack_nr=first + 39, selective_ack=b"\xff" * 4)
    assert [packet.seq_nr for packet in peer.take()] == [first + 40]
    assert connection.in_flight == SEGMENT


def test_a_peer_that_could_send_a_mask_and_sends_none_has_nothing_early() -> None:
    peer = Peer()
    connection = opened(peer)
    first = flight_without_its_first(peer, connection)
    peer.pass_time(RTT)
    peer.state(ack_nr=first + 39)
    assert {number for _, number in sent_after(peer, RTT)} == set(range(first + 40, first + 120))
    assert connection.stats().timeouts == 0


def test_a_peer_without_selective_ack_is_understood_by_its_duplicates() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(9 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    for _ in range(2):
        peer.state(ack_nr=first - 1)
    assert peer.take() == []
    peer.state(ack_nr=first - 1)
    assert [packet.seq_nr for packet in peer.take()] == [first]
    peer.state(ack_nr=first - 1)
    assert peer.take() == []


def test_a_window_update_is_no_duplicate() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(9 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    for wnd_size in range(100_000, 110_000, 1000):
        peer.state(ack_nr=first - 1, wnd_size=wnd_size)
    assert peer.take() == []


# Silence.


def test_the_last_packet_is_sent_again_when_nothing_is_heard_for_two_round_trips() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(4 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    assert connection.next_timer == "tail"
    assert sent_after(peer, 0.3) == [(pytest.approx(2 * RTT + 0.04, abs=1e-4), first + 3)]
    # It shows that those before it are lost, without a timeout.
    peer.pass_time(0.04)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 3))
    assert [number for _, number in sent_after(peer, 0.2)] == [first, first + 1, first + 2]
    assert connection.stats().timeouts == 0
    assert connection.congestion_window < 10 * SEGMENT


def test_a_tail_probe_that_was_not_needed_shrinks_nothing() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(4 * SEGMENT), peer.now)
    peer.take()
    peer.pass_time(0.3)
    peer.state()
    # The second copy of the last packet.
    peer.state()
    connection.send(bytes(SEGMENT), peer.now)
    peer.take()
    peer.pass_time(RTT)
    peer.state()
    assert connection.congestion_window >= 10 * SEGMENT


def test_a_tail_probe_that_made_up_for_a_loss_shrinks_the_window() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(4 * SEGMENT), peer.now)
    peer.take()
    peer.pass_time(0.3)
    peer.state()
    connection.send(bytes(SEGMENT), peer.now)
    peer.take()
    peer.pass_time(RTT)
    peer.state()
    assert connection.congestion_window == pytest.approx(8 * SEGMENT, abs=1)


def test_a_tail_probe_is_new_payload_where_there_is_some() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(100 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    assert connection.in_flight == 10 * SEGMENT
    assert sent_after(peer, 0.3) == [(pytest.approx(2 * RTT + 0.04, abs=1e-4), first + 10)]
    assert connection.stats().tail_probes == 1
    # It takes no second one: what was late was not lost.
    window = connection.congestion_window
    peer.state(ack_nr=first + 10)
    for _ in range(3):
        peer.take()
        peer.pass_time(RTT)
        peer.state()
    assert connection.packets_retransmitted == 0
    assert connection.congestion_window > window


def test_new_payload_that_probes_the_tail_shows_what_is_lost_before_it() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(100 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(0.3)
    peer.take()
    peer.state(ack_nr=first + 7, selective_ack=mask_of(first + 7, first + 10))
    assert [number for _, number in sent_after(peer, 0.05)][:2] == [first + 8, first + 9]
    assert connection.stats().timeouts == 0


def test_a_tail_probe_is_the_last_packet_where_the_peer_has_no_room_for_another() -> None:
    peer = Peer(wnd_size=10 * SEGMENT)
    connection = opened(peer)
    connection.send(bytes(100 * SEGMENT), peer.now)
    last = peer.take()[-1].seq_nr
    assert [number for _, number in sent_after(peer, 0.3)] == [last]


def test_a_tail_probe_stays_where_the_peer_has_shut_its_window_at_that_moment() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(30 * SEGMENT), peer.now)
    peer.take()
    while connection.next_timer != "tail":
        peer.pass_time(0.01)
    due = peer.endpoint.next_timeout()
    assert due is not None
    peer.now = due
    peer.endpoint.handle_timeout(due)
    peer.state(ack_nr=peer.ack_nr - 10, wnd_size=10 * SEGMENT)
    assert peer.take() == []
    assert connection.unacknowledged == 30 * SEGMENT


def test_payload_of_the_peers_does_not_tell_that_a_tail_probe_was_in_vain() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(4 * SEGMENT), peer.now)
    peer.take()
    peer.pass_time(0.3)
    peer.state()
    peer.data(b"news")
    connection.send(bytes(SEGMENT), peer.now)
    peer.take()
    peer.pass_time(RTT)
    peer.state()
    assert connection.congestion_window == pytest.approx(8 * SEGMENT, abs=1)


def copies_of_one_packet(later: float) -> list[int]:
    """Give both copies at once, the second of which left the peer so much later; return what is answered."""
    peer = Peer()
    peer.dial_and_prove()
    packets = [peer.packet(DATA, payload=b"word")]
    peer.now += later
    packets.append(peer.packet(DATA, payload=b"word"))
    peer.give_together(packets, 24)
    return [packet.ack_nr - peer.seq_nr for packet in peer.take() if packet.type == STATE]


def test_who_receives_both_copies_of_the_last_packet_at_once_says_so() -> None:
    assert copies_of_one_packet(0.3) == [0, 0]


def test_a_copy_that_the_path_has_made_is_not_answered() -> None:
    assert copies_of_one_packet(0) == [0]


def test_silence_sends_all_again_with_a_small_window_and_backs_off() -> None:
    peer = Peer(UtpConfig(min_timeout=0.5, peer_timeout=100, path_mtu_discovery=False))
    connection = opened(peer)
    connection.send(bytes(10 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    times = [time for time, number in sent_after(peer, 40) if number == first]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16], rel=0.01)
    assert connection.congestion_window == 2 * SEGMENT
    # All of it, once anything gets through.
    for acknowledged, again in ((1, 4), (5, 4)):
        peer.state(ack_nr=first + acknowledged)
        assert [packet.seq_nr for packet in peer.take()] == [
            first + acknowledged + n for n in range(1, again + 1)
        ]


def test_repeated_timeouts_shrink_the_threshold_only_once() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(10 * SEGMENT), peer.now)
    peer.take()
    peer.pass_time(8)
    assert connection.stats().timeouts == 4
    for _ in range(8):
        peer.take()
        peer.state()
        connection.send(bytes(20 * SEGMENT), peer.now)
        peer.pass_time(RTT)
    # Half of ten packets is where slow start ends again, however many timeouts there were.
    assert connection.congestion_window >= 5 * SEGMENT


def test_the_timeout_stays_backed_off_until_a_packet_sent_once_is_acknowledged() -> None:
    # Karn: else a path that has become slower than the timeout would see each packet twice for ever.
    peer = Peer()
    connection = opened(peer)
    connection.send(b"a", peer.now)
    peer.pass_time(4)
    peer.take()
    peer.state()
    connection.send(b"b", peer.now)
    (number,) = [packet.seq_nr for packet in peer.take()]
    assert [n for _, n in sent_after(peer, 3.9)] == []
    assert [n for _, n in sent_after(peer, 0.3)] == [number]


@pytest.mark.parametrize(("round_trip", "least", "most"), [(RTT, 0.2, 0.5), (3, 0.9, 1.1)])
def test_the_delays_of_a_packet_that_was_sent_again_end_the_back_off(
    round_trip: float, least: float, most: float
) -> None:
    # As timestamps do in TCP (RFC 6298 section 3).
    peer = Peer()
    connection = opened(peer)
    connection.send(b"a", peer.now)
    peer.pass_time(4)
    peer.take()
    give_delays(peer, round_trip)
    connection.send(b"b", peer.now)
    (number,) = [packet.seq_nr for packet in peer.take()]
    assert sent_after(peer, least) == []
    assert [n for _, n in sent_after(peer, most - least)] == [number]


@pytest.mark.parametrize("back", [0, 0x7FFFFFFF])
def test_an_old_client_that_names_no_delay_does_not_end_the_back_off(back: int) -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(b"a", peer.now)
    peer.pass_time(4)
    peer.take()
    # Both together would be a tenth of a second, if they were delays.
    there = 100_000 - back
    peer.state(timestamp=(int(peer.now * 1e6) - there) & 0xFFFFFFFF, timestamp_difference=back)
    connection.send(b"b", peer.now)
    peer.take()
    assert sent_after(peer, 3.9) == []


def test_news_that_waited_for_another_packet_to_be_sent_again_gives_no_round_trip() -> None:
    # The first of six is lost, and every acknowledgement until it is sent again.
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(6 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(4)
    peer.take()
    # DATA has no mask.
    give_delays(peer, RTT, type=DATA, payload=b"answer", ack_nr=first)
    give_delays(peer, RTT, ack_nr=first, selective_ack=mask_of(first, first + 4))
    assert connection.rtt == pytest.approx(RTT)


def give_delays(peer: Peer, round_trip: float, type: int = STATE, **fields: object) -> None:
    """Send a packet whose delays there and back make this round trip."""
    half = round_trip / 2
    peer.give(
        type,
        timestamp=int((peer.now - half) * 1e6) & 0xFFFFFFFF,
        timestamp_difference=round(half * 1e6),
        **fields,
    )


def test_a_peer_that_drops_what_it_had_acknowledged_selectively_gets_it_again() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(4 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1, first + 2, first + 3))
    assert [packet.seq_nr for packet in peer.take()] == [first]
    peer.state(ack_nr=first)
    numbers = {number for _, number in sent_after(peer, 5)}
    assert {first + 1, first + 2} <= numbers
    peer.state(ack_nr=first + 3)
    assert connection.unacknowledged == 0


def test_acknowledgements_of_what_was_never_sent_are_not_believed() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(4 * SEGMENT), peer.now)
    last = peer.take()[-1].seq_nr
    peer.pass_time(RTT)
    for ack_nr in (last + 1, last + 100, last + 32768, last - 4 - 1025):
        peer.state(ack_nr=ack_nr & 0xFFFF)
    assert peer.endpoint.counters.implausible == 4
    peer.state(ack_nr=last - 2, selective_ack=b"\xff" * 255)
    assert connection.unacknowledged == 2 * SEGMENT
    assert connection.in_flight == SEGMENT


def patience(peer: Peer, connection: UtpConnection, *, in_vain: bool = False) -> float:
    """Have the first of two packets overtaken; return how long it takes until that is sent again.

    `in_vain`: whether it arrives after all, else it was lost.
    """
    connection.send(bytes(2 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1))
    start = peer.now
    while not (again := peer.take()):
        peer.pass_time(0.001)
    assert [packet.seq_nr for packet in again] == [first]
    waited = peer.now - start
    if not in_vain:
        peer.pass_time(RTT)
    # Sooner than any round trip took it is the first copy that is acknowledged.
    peer.state()
    peer.take()
    assert connection.unacknowledged == 0
    peer.pass_time(10 * RTT)
    return waited


def test_patience_with_late_packets_grows_when_it_was_too_short_and_ends_sixteen_recoveries_later() -> None:
    peer = Peer()
    connection = opened(peer)
    assert patience(peer, connection, in_vain=True) == pytest.approx(RTT / 4, abs=2e-3)
    waited = [patience(peer, connection) for _ in range(17)]
    assert waited == pytest.approx([RTT / 2] * 16 + [RTT / 4], abs=2e-3)


def test_what_is_sent_again_before_a_round_trip_is_known_is_not_taken_for_sent_in_vain() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(bytes(4 * SEGMENT), peer.now)
    peer.take()
    while connection.packets_retransmitted == 0:
        peer.pass_time(0.1)
    peer.pass_time(RTT)
    peer.take()
    peer.state()
    assert (connection.unacknowledged, connection.rtt) == (0, None)
    assert patience(peer, connection) == pytest.approx(RTT / 4, abs=2e-3)


def test_patience_that_an_old_path_asked_for_is_none_with_the_next() -> None:
    peer = Peer()
    connection = opened(peer)
    patience(peer, connection, in_vain=True)
    peer.endpoint.rebind(connection, peer.remote, peer.now)
    assert patience(peer, connection) == pytest.approx(RTT / 4, abs=2e-3)


def test_a_path_that_does_not_reorder_is_not_held_to_have_done_so_for_the_one_before_it() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(2 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1))
    peer.state()
    peer.endpoint.rebind(connection, peer.remote, peer.now)
    connection.send(bytes(9 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(RTT)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1, first + 2, first + 3))
    assert [packet.seq_nr for packet in peer.take()] == [first]


# Pace.


def test_what_is_sent_again_is_paced_by_the_delays_of_what_arrived() -> None:
    # Once the round trip was 0.1 s, now it is 1 s, and acknowledgements of first copies come soon after the
    # second copies have left.
    peer = Peer()
    connection = opened(peer)
    for _ in range(40):
        connection.send(bytes(SEGMENT), peer.now)
        peer.take()
        peer.pass_time(1.0)
        peer.state()
    assert connection.rtt == pytest.approx(1.0, rel=0.05)
    connection.send(bytes(10 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    while connection.stats().timeouts == 0:
        peer.pass_time(0.01)
    peer.pass_time(2 * RTT)
    peer.state(ack_nr=first, timestamp=int((peer.now - 0.5) * 1e6) & 0xFFFFFFFF, timestamp_difference=500_000)
    peer.take()
    rate = connection.stats().pacing_rate
    assert rate is not None
    assert rate <= 2.01 * connection.congestion_window / connection.rtt


def test_a_window_does_not_leave_as_one_burst() -> None:
    peer = Peer()
    connection = opened(peer)
    for _ in range(6):
        connection.send(bytes(1 << 20), peer.now)
        peer.pass_time(RTT)
        peer.state()
    window = connection.congestion_window
    assert window > 400_000
    connection.send(bytes(1 << 20), peer.now)
    before = len(peer.sent)
    peer.pass_time(RTT)
    times = [time for time, packet in peer.sent[before:] if packet.type == DATA]
    assert len(times) == window // SEGMENT
    bursts = [times.count(time) * SEGMENT for time in set(times)]
    assert max(bursts) <= window / 8
    # In slow start it leaves at twice the rate at which it will be acknowledged, and a little of it at once.
    assert RTT / 3 < max(times) - min(times) <= RTT / 2


def test_after_a_pause_no_more_leaves_at_once_than_the_path_carries_in_a_moment() -> None:
    peer = Peer()
    connection = opened(peer)
    for _ in range(6):
        connection.send(bytes(1 << 20), peer.now)
        peer.pass_time(RTT)
        peer.state()
    while connection.unacknowledged:
        peer.pass_time(RTT)
        peer.state()
    peer.take()
    peer.pass_time(60)
    peer.take()
    connection.send(bytes(1 << 20), peer.now)
    assert sum(len(packet.payload) for packet in peer.take()) <= connection.congestion_window / 8


def test_a_path_without_delay_gets_bursts_that_a_receive_buffer_of_the_usual_size_holds() -> None:
    peer = Peer()
    connection = peer.answer_dial()
    for _ in range(20):
        connection.send(bytes(1 << 20), peer.now)
        peer.pass_time(0.0001)
        peer.state()
    assert connection.congestion_window > 600_000
    connection.send(bytes(1 << 20), peer.now)
    assert 100_000 < sum(len(transmit.data) for transmit in peer.endpoint.transmits()) <= 4 * 62_000 + 1402


def test_the_fin_does_not_overtake_what_waits_for_its_time() -> None:
    peer = Peer()
    connection = opened(peer)
    connection.send(bytes(60 * SEGMENT), peer.now)
    connection.finish(peer.now)
    fins = []
    while not fins:
        packets = peer.take()
        fins = [n for n, packet in enumerate(packets) if packet.type == FIN]
        assert fins in ([], [len(packets) - 1])
        peer.pass_time(RTT)
        peer.state()
    assert connection.unacknowledged == 0
    assert STATE not in {packet.type for packet in peer.take()}
