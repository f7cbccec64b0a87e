"""The tables of an endpoint: whose a packet is, who may come in, and who leaves."""

import math
import tracemalloc
from random import Random

import pytest

from pknet.errors import StateError
from pknet.testing import Link
from pknet.utp import (
    CloseReason,
    ConnectionAccepted,
    ConnectionOpened,
    DataReceived,
    Packet,
    TooManyConnections,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
    parse_packet,
)
from tests.utp.flow import Flow, Program
from tests.utp.peer import DATA, REMOTE, RESET, STATE, SYN, Peer


def flood(peer: Peer, count: int, start: int = 0) -> None:
    """Send SYNs from as many addresses, which answer nothing."""
    for number in range(start, start + count):
        syn = bytes(Packet(SYN, connection_id=number & 0xFFFE, seq_nr=1))
        peer.endpoint.receive_datagram(syn, ("198.51.100.1", number), None, peer.now)


def answers(peer: Peer) -> list[Packet]:
    """Take what an endpoint sends to many remotes."""
    return [parse_packet(transmit.data) for transmit in peer.endpoint.transmits()]


# Who may come in.


def test_a_flood_of_syns_fills_the_half_open_table_and_no_more() -> None:
    peer = Peer(UtpConfig(max_half_open=100, half_open_timeout=10))
    flood(peer, 1000)
    assert len(peer.endpoint) == 100
    assert peer.endpoint.counters.half_open_dropped == 900
    assert peer.endpoint.events() == []


def test_a_flood_of_syns_expires() -> None:
    peer = Peer(UtpConfig(max_half_open=100, half_open_timeout=10))
    flood(peer, 1000)
    answers(peer)
    peer.endpoint.handle_timeout(peer.now + 10)
    assert len(peer.endpoint) == 0
    assert peer.endpoint.next_timeout() is None


def test_a_flood_of_syns_keeps_out_nobody_who_answers_within_a_round_trip() -> None:
    peer = Peer(UtpConfig(max_half_open=100))
    flood(peer, 1000)
    answers(peer)
    connection = peer.dial_and_prove()
    flood(peer, 1000, 1000)
    assert connection.state == "CONNECTED"
    peer.endpoint.transmits()
    other = Peer(remote=("192.0.2.77", 1))
    other.endpoint = peer.endpoint
    other.dial(connection_id=9)
    flood(peer, 99, 2000)
    answers(peer)
    other.state()
    assert [type(event) for event in peer.endpoint.events()] == [ConnectionAccepted]


def test_a_syn_is_answered_by_no_more_bytes_than_it_had() -> None:
    peer = Peer()
    flood(peer, 50)
    assert sum(len(bytes(packet)) for packet in answers(peer)) <= 50 * 20
    peer.endpoint.handle_timeout(peer.now + 100)
    assert answers(peer) == []


def test_connections_beyond_the_limit_are_not_made() -> None:
    peer = Peer(UtpConfig(max_connections=2))
    peer.dial_and_prove()
    peer.endpoint.connect(("192.0.2.50", 1), peer.now)
    with pytest.raises(TooManyConnections):
        peer.endpoint.connect(("192.0.2.50", 2), peer.now)
    answers(peer)
    flood(peer, 1)
    assert answers(peer) == []
    assert peer.endpoint.counters.refused == 1
    assert len(peer.endpoint) == 2


@pytest.mark.parametrize(
    ("hosts", "admitted"),
    [
        (["198.51.100.1", "198.51.100.1", "198.51.100.1", "::ffff:198.51.100.1"], 2),
        (["2001:db8:0:100::1", "2001:db8:0:1ff::2", "2001:db8:0:123::3", "2001:db8:0:100::4"], 2),
        (["198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8:0:200::4"], 4),
        (["not an address"] * 4, 4),
    ],
)
def test_one_source_has_only_so_many_connections(hosts: list[str], admitted: int) -> None:
    peer = Peer(UtpConfig(max_connections_of_source=2, half_open_timeout=10))

    def dial() -> int:
        for number, host in enumerate(hosts):
            syn = bytes(Packet(SYN, connection_id=500, seq_nr=1))
            peer.endpoint.receive_datagram(syn, (host, number), None, peer.now)
        return len(answers(peer))

    assert dial() == admitted
    assert peer.endpoint.counters.refused == len(hosts) - admitted
    # Those who have left make room.
    peer.now += 10
    peer.endpoint.handle_timeout(peer.now)
    assert len(peer.endpoint) == 0
    assert dial() == admitted


def test_those_who_left_a_remote_that_is_none_make_room_too() -> None:
    peer = Peer(UtpConfig(max_connections_of_source=1, half_open_timeout=10), remote=None)
    for _ in range(2):
        assert peer.dial().type == STATE
        peer.pass_time(10)
        assert len(peer.endpoint) == 0


def test_an_endpoint_that_does_not_accept_refuses_dials() -> None:
    peer = Peer(UtpConfig(accept=False))
    peer.give(SYN, connection_id=500, seq_nr=100)
    (reset,) = peer.take()
    assert (reset.type, reset.connection_id, reset.ack_nr) == (RESET, 500, 100)
    assert peer.endpoint.counters.refused == 1
    peer.endpoint.accepting = True
    assert peer.dial().type == STATE


def test_who_finds_no_place_is_not_answered_and_gets_in_once_there_is_one() -> None:
    peer = Peer()
    peer.endpoint.places = 0
    peer.give(SYN, connection_id=500, seq_nr=100)
    assert peer.take() == []
    assert (peer.endpoint.counters.deferred, len(peer.endpoint)) == (1, 0)
    peer.endpoint.places = 1
    peer.dial_and_prove()
    assert peer.endpoint.places == 0


def test_no_more_come_in_than_there_are_places_and_those_who_wait_lose_nothing() -> None:
    first = Peer()
    first.endpoint.places = 1
    others = [Peer(remote=("192.0.2.7", number)) for number in range(3)]
    first.dial()
    for other in others:
        other.endpoint = first.endpoint
        other.dial()
    for peer in (first, *others):
        peer.data(b"hello")
    assert [type(event) for event in first.take_events()] == [ConnectionAccepted, DataReceived]
    assert first.endpoint.counters.deferred == 3
    # What was not acknowledged is sent again.
    first.endpoint.places = 2
    for other in others:
        other.data(b"hello", seq_nr=other.seq_nr - 1)
    first.endpoint.transmits()
    happened = first.endpoint.events()
    accepted = [event.connection for event in happened if type(event) is ConnectionAccepted]
    assert [connection.read(9, first.now) for connection in accepted] == [b"hello"] * 2


class Listener(Program):
    """Says nothing, and leaves the connection open."""

    def write(self) -> None:
        """Send nothing."""


def test_who_is_told_it_is_open_and_waits_for_the_server_to_speak_gets_in_once_there_is_a_place() -> None:
    flow = Flow(Listener(), Program(b"greeting"), Link(latency=0.02))
    endpoint = flow.wired.b.machine
    flow.run(0.03)
    endpoint.places = 0
    # Longer than it proves itself again and again.
    flow.run(20)
    assert flow.dialled.state == "CONNECTED"
    assert flow.far.connection is None
    endpoint.places = 1
    assert endpoint.places == 0
    flow.wired.b.kick()
    flow.run(0.1)
    assert flow.near.received == b"greeting"


def test_who_has_not_proven_itself_does_not_get_in_when_there_is_a_place() -> None:
    peer = Peer()
    peer.dial()
    peer.endpoint.places = 0
    peer.endpoint.places = 1
    assert (peer.endpoint.places, peer.take_events()) == (1, [])


@pytest.mark.parametrize(("seq_nr", "believed"), [(101, True), (100, False), (102, False)])
def test_a_dial_that_was_given_up_frees_its_half_open_place(seq_nr: int, believed: bool) -> None:
    peer = Peer()
    peer.give(SYN, connection_id=500, seq_nr=100)
    peer.give(RESET, connection_id=501, seq_nr=seq_nr, ack_nr=0)
    peer.take()
    assert len(peer.endpoint) == (0 if believed else 1)


def test_an_acceptor_knows_the_round_trip_from_the_handshake() -> None:
    flow = Flow(Listener(), Listener(), Link(latency=0.02))
    flow.run(1)
    assert flow.far.connection is not None
    assert flow.far.connection.rtt == pytest.approx(0.04, abs=1e-5)


def test_the_first_packet_of_a_server_that_is_lost_is_sent_again_after_two_round_trips() -> None:
    flow = Flow(Listener(), Program(b"greeting"), Link(latency=0.02))
    flow.run(0.05)
    flow.wired.b_to_a.change(loss=1.0)
    flow.run(0.02)
    flow.wired.b_to_a.change(loss=0.0)
    assert flow.wired.b_to_a.dropped
    flow.run(0.2)
    assert flow.near.received == b"greeting"


def test_a_dial_to_an_endpoint_that_has_no_place_yet_is_only_late() -> None:
    flow = Flow(Program(b"question"), Program(b"answer"), Link(latency=0.02))
    flow.wired.b.machine.places = 0
    flow.run(2)
    assert flow.dialled.state == "SYN_SENT"
    flow.wired.b.machine.places = None
    assert flow.run_to_the_end(10)
    assert (flow.near.received, flow.far.received) == (b"answer", b"question")


def test_an_endpoint_has_any_number_of_places_unless_it_is_told_otherwise() -> None:
    endpoint = Peer().endpoint
    assert endpoint.places is None
    with pytest.raises(ValueError, match="places"):
        endpoint.places = -1


def test_an_endpoint_that_stops_accepting_keeps_what_it_has() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.endpoint.accepting = False
    peer.data(b"still here")
    assert connection.read(100, peer.now) == b"still here"


def test_ids_in_use_with_a_peer_are_not_used_again() -> None:
    ids = iter([b"\x01\x00", b"\x11\x11", b"\x01\x01", b"\x00\xff", b"\x01\x00", b"\x02\x00", b"\x22\x22"])
    endpoint = UtpEndpoint(lambda _: next(ids))
    first, second = (endpoint.connect(REMOTE, 1.0) for _ in range(2))
    assert repr(first).split()[5:6] == ["256"]
    assert repr(second).split()[5:6] == ["512"]


@pytest.mark.parametrize("ids", [("0000", "ffff", "0001", "0002"), ("ffff", "0000", "fffe", "0002")])
def test_ids_wrap_when_they_are_compared(ids: tuple[str, ...]) -> None:
    tokens = iter([bytes.fromhex(ids[0]), b"nr", *map(bytes.fromhex, ids[1:]), b"nr"])
    endpoint = UtpEndpoint(lambda _: next(tokens))
    endpoint.connect(REMOTE, 1.0)
    assert "id 2 " in repr(endpoint.connect(REMOTE, 1.0))


def test_a_dial_fails_when_no_id_is_free() -> None:
    endpoint = UtpEndpoint(lambda _: b"\x01\x00")
    endpoint.connect(REMOTE, 1.0)
    with pytest.raises(TooManyConnections, match="no connection id"):
        endpoint.connect(REMOTE, 1.0)
    assert len(endpoint) == 1


@pytest.mark.parametrize("token", [b"", b"1", b"123"])
def test_random_bytes_that_are_too_few_or_too_many_are_refused(token: bytes) -> None:
    with pytest.raises(ValueError, match="2 bytes"):
        UtpEndpoint(lambda _: token).connect(REMOTE, 1.0)


def test_what_token_bytes_raises_is_passed_on_and_spoils_nothing() -> None:
    def broken(_: int) -> bytes:
        raise OSError("no randomness")

    peer = Peer()
    endpoint = UtpEndpoint(broken)
    with pytest.raises(OSError, match="no randomness"):
        endpoint.connect(REMOTE, 1.0)
    with pytest.raises(OSError, match="no randomness"):
        endpoint.receive_datagram(bytes(peer.packet(SYN)), REMOTE, None, 1.0)
    assert len(endpoint) == 0


@pytest.mark.parametrize("config", [5, "config", UtpEndpoint])
def test_settings_of_another_type_are_refused(config: object) -> None:
    with pytest.raises(TypeError):
        UtpEndpoint(bytes, config)  # type: ignore[arg-type]


# Whose a packet is.


def test_connections_with_several_remotes_and_ids_are_kept_apart() -> None:
    endpoint = UtpEndpoint(Random(3).randbytes)
    streams: list[tuple[Peer, UtpConnection]] = []
    for host in ("192.0.2.1", "192.0.2.2"):
        for connection_id in (10, 20, 30):
            peer = Peer(remote=(host, 1))
            peer.endpoint = endpoint
            streams.append((peer, peer.dial_and_prove(connection_id=connection_id)))
    for number, (peer, _) in enumerate(streams):
        peer.data(b"%d" % number)
        peer.take()
    assert [connection.read(9, 1000.0) for _, connection in streams] == [b"%d" % n for n in range(6)]
    assert set(endpoint.connections) == {connection for _, connection in streams}
    assert endpoint.connections_with(("192.0.2.1", 1)) == [connection for _, connection in streams[:3]]
    assert endpoint.connections_with(("192.0.2.3", 1)) == []
    assert len(endpoint) == 6


def test_a_run_may_hold_packets_of_several_connections_and_strangers() -> None:
    first, second = Peer(), Peer()
    second.endpoint = first.endpoint
    connections = [first.dial_and_prove(connection_id=10), second.dial_and_prove(connection_id=20)]
    run = [
        first.packet(DATA, payload=b"one"),
        second.packet(DATA, payload=b"two"),
        first.packet(DATA, seq_nr=first.seq_nr + 1, payload=b"six"),
        first.packet(DATA, connection_id=999, payload=b"???"),
        second.packet(DATA, seq_nr=second.seq_nr + 1, payload=b"4"),
    ]
    first.give_together(run, 23)
    assert [connection.read(99, first.now) for connection in connections] == [b"onesix", b"two4"]
    assert first.endpoint.counters.unknown_connection == 1


def test_a_run_may_open_a_connection_and_end_it() -> None:
    peer = Peer()
    peer.receive_id, peer.send_id = 500, 501
    # The first sequence number of the endpoint is the first that its token_bytes gives.
    twin = Peer()
    first_seq_nr = twin.dial().seq_nr
    run = [
        peer.packet(SYN, connection_id=500, seq_nr=100),
        peer.packet(STATE, seq_nr=101, ack_nr=first_seq_nr - 1),
        peer.packet(RESET, ack_nr=first_seq_nr - 1),
        peer.packet(STATE, seq_nr=101, ack_nr=first_seq_nr - 1),
    ]
    peer.give_together(run, 20)
    events = peer.take_events()
    assert events[0].connection.close_reason is CloseReason.RESET
    assert len(peer.endpoint) == 0


@pytest.mark.parametrize("size", [0, 1, 19])
def test_datagrams_that_are_too_short_are_counted(size: int) -> None:
    peer = Peer()
    peer.give_bytes(bytes(size))
    assert peer.endpoint.counters.malformed == 1


@pytest.mark.parametrize("segment_size", [0, -1])
def test_a_segment_size_must_be_positive(segment_size: int) -> None:
    peer = Peer()
    with pytest.raises(ValueError, match="segment_size"):
        peer.endpoint.receive_segments(bytes(40), segment_size, REMOTE, None, 1.0)


def test_an_empty_run_is_one_empty_datagram() -> None:
    peer = Peer()
    peer.endpoint.receive_segments(b"", 100, REMOTE, None, 1.0)
    assert peer.endpoint.counters.malformed == 1


def test_a_remote_must_be_hashable() -> None:
    with pytest.raises(TypeError):
        Peer().endpoint.receive_datagram(bytes(20), [], None, 1.0)


def test_connections_leave_by_the_socket_they_came_by() -> None:
    peer = Peer()
    peer.endpoint.receive_datagram(bytes(peer.packet(SYN, connection_id=1)), REMOTE, "second", peer.now)
    peer.endpoint.receive_datagram(bytes(peer.packet(DATA, connection_id=7)), REMOTE, "third", peer.now)
    assert sorted(transmit.local for transmit in peer.endpoint.transmits()) == ["second", "third"]


# Another path.


def test_a_stream_moves_to_another_remote_and_loses_nothing() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(b"lost on the way", peer.now)
    peer.take()
    moved = ("203.0.113.5", 4000)
    peer.endpoint.rebind(connection, moved, peer.now, "other socket")
    peer.remote = moved
    assert (connection.remote, connection.local) == (moved, "other socket")
    assert peer.take_payload() == b"lost on the way"
    assert peer.transmits[-1].local == "other socket"
    peer.data(b"and back")
    assert connection.read(99, peer.now) == b"and back"
    assert peer.endpoint.connections_with(REMOTE) == []
    assert peer.endpoint.connections_with(moved) == peer.endpoint.connections == [connection]


def test_packets_from_the_old_remote_are_those_of_a_stranger() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.endpoint.rebind(connection, "elsewhere", peer.now)
    peer.data(b"late")
    assert connection.readable == 0
    assert [packet.type for packet in peer.take()] == [RESET]


def test_nothing_that_was_learnt_of_the_old_path_is_kept() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    peer.pass_time(0.05)
    peer.state()
    for _ in range(20):
        connection.send(bytes(100_000), peer.now)
        peer.take()
        peer.pass_time(0.05)
        peer.state(timestamp_difference=1000)
    assert connection.congestion_window > 100_000
    assert connection.stats().delivery_rate
    peer.endpoint.rebind(connection, REMOTE, peer.now, max_datagram=1000)
    stats = connection.stats()
    assert (stats.rtt, stats.min_rtt, stats.queueing_delay, stats.delivery_rate) == (None, None, None, None)
    assert (stats.window, stats.max_datagram) == (10 * 980, 1000)


def test_a_dial_that_moves_sends_its_syn_there_at_once() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    syn = peer.await_dial(connection)
    peer.remote = "elsewhere"
    peer.endpoint.rebind(connection, peer.remote, peer.now)
    assert [(packet.type, packet.seq_nr) for packet in peer.take()] == [(SYN, syn.seq_nr)]
    peer.state()
    assert [type(event) for event in peer.take_events()] == [ConnectionOpened]


def test_a_connection_does_not_move_where_its_id_is_taken_or_when_it_is_over() -> None:
    peer, other = Peer(), Peer(remote="elsewhere")
    other.endpoint = peer.endpoint
    connection, there = peer.dial_and_prove(), other.dial_and_prove()
    with pytest.raises(StateError, match="same id"):
        peer.endpoint.rebind(connection, "elsewhere", peer.now)
    assert connection.remote == REMOTE
    there.abort(peer.now)
    with pytest.raises(StateError, match="over"):
        peer.endpoint.rebind(there, "elsewhere", peer.now)
    with pytest.raises(StateError, match="over"):
        Peer().endpoint.rebind(connection, "elsewhere", peer.now)
    with pytest.raises(ValueError, match="max_datagram"):
        peer.endpoint.rebind(connection, REMOTE, peer.now, max_datagram=10)


@pytest.mark.parametrize("size", [149, 65508])
def test_a_dial_with_an_impossible_size_is_refused(size: int) -> None:
    endpoint = Peer().endpoint
    with pytest.raises(ValueError, match="max_datagram"):
        endpoint.connect(REMOTE, 1.0, max_datagram=size)
    assert len(endpoint) == 0


def test_a_dial_may_have_a_size_of_its_own() -> None:
    peer = Peer(remote=("2001:db8::1", 1))
    connection = peer.answer_dial(max_datagram=1452)
    connection.send(bytes(5000), peer.now)
    assert max(len(bytes(packet)) for packet in peer.take()) == 1452


# The verbs.


def test_a_timeout_when_nothing_is_due_changes_nothing() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    due = peer.endpoint.next_timeout()
    for _ in range(3):
        peer.endpoint.handle_timeout(peer.now)
    assert peer.take() == peer.take_events() == []
    assert peer.endpoint.next_timeout() == due
    assert connection.state == "CONNECTED"


def test_what_was_taken_is_not_given_again() -> None:
    peer = Peer()
    peer.dial()
    assert peer.endpoint.transmits() == []
    peer.state()
    assert len(peer.endpoint.events()) == 1
    assert peer.endpoint.events() == []


def test_the_32_bit_clock_wraps() -> None:
    peer = Peer(now=2**32 / 1e6 - 1)
    connection = peer.dial_and_prove()
    for number in range(40):
        connection.send(b"%02d" % number, peer.now)
        (packet,) = peer.take()
        peer.pass_time(0.05)
        peer.state(timestamp_difference=(int(peer.now * 1e6) - packet.timestamp) & 0xFFFFFFFF)
    assert connection.unacknowledged == 0
    assert connection.rtt == pytest.approx(0.05)
    assert connection.stats().queueing_delay == pytest.approx(0, abs=1e-5)
    timestamps = [packet.timestamp for _, packet in peer.sent]
    assert max(timestamps) > 2**32 - 10**6
    assert min(timestamps) < 10**6


@pytest.mark.parametrize("now", [-1000.0, 0.0, 1e9, 1e11])
def test_the_clock_may_stand_anywhere(now: float) -> None:
    peer = Peer(now=now)
    connection = peer.dial_and_prove()
    connection.send(b"x", peer.now)
    assert peer.take_payload() == b"x"
    peer.pass_time(100)
    assert connection.close_reason is CloseReason.TIMED_OUT
    due = peer.endpoint.next_timeout()
    assert due is None or math.isfinite(due)


# What is kept of each.


def test_a_connection_over_which_nothing_was_sent_takes_less_than_2_kib() -> None:
    config = UtpConfig()
    near, far = UtpEndpoint(Random(1).randbytes, config), UtpEndpoint(Random(2).randbytes, config)
    ends = [(near, far, ("192.0.2.1", 1)), (far, near, ("192.0.2.2", 1))]

    def connect(count: int) -> None:
        for _ in range(count):
            near.connect(("192.0.2.2", 1), 1.0)
            for _ in range(2):
                for source, target, address in ends:
                    for transmit in source.transmits():
                        target.receive_datagram(transmit.data, address, None, 1.0)
                    target.events()

    connect(10)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        connect(500)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {connection.state for connection in far.connections} == {"CONNECTED"}
    assert (after - before) / (2 * 500) < 2048


# What ICMP says.


def refuse(peer: Peer, quoted: Packet | bytes, remote: object = REMOTE) -> None:
    """Tell the endpoint that nobody has the port that a datagram of its was for."""
    peer.endpoint.receive_unreachable(bytes(quoted), remote, None, peer.now)


def test_a_dial_to_a_port_that_nobody_has_is_refused_at_once() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(REMOTE, peer.now)
    (syn,) = peer.take()
    refuse(peer, syn)
    (closed,) = peer.take_events()
    assert (closed.connection, closed.reason) == (connection, CloseReason.REFUSED)
    assert len(peer.endpoint) == 0
    assert peer.endpoint.next_timeout() is None
    assert peer.take() == []


def test_a_word_of_a_port_that_quotes_no_syn_of_a_dial_is_not_believed() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(REMOTE, peer.now)
    (syn,) = peer.take()
    fields = {"connection_id": syn.connection_id, "seq_nr": syn.seq_nr}
    refuse(peer, Packet(SYN, **fields | {"seq_nr": (syn.seq_nr + 1) & 0xFFFF}))
    refuse(peer, Packet(SYN, **fields | {"connection_id": (syn.connection_id + 1) & 0xFFFF}))
    refuse(peer, Packet(STATE, **fields))
    refuse(peer, syn, ("192.0.2.77", 1))
    refuse(peer, bytes(syn)[:8])
    refuse(peer, b"")
    assert peer.endpoint.counters.implausible == 6
    assert connection.state == "SYN_SENT"


def test_a_word_of_a_port_does_not_end_a_connection_that_is_open() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(REMOTE, peer.now)
    syn = peer.await_dial(connection)
    peer.state()
    refuse(peer, syn)
    assert connection.state == "CONNECTED"
    assert peer.endpoint.counters.implausible == 1


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("type", [SYN, STATE, DATA])
def test_no_forged_packet_has_a_reset_sent_in_the_name_of_an_open_connection(type: int, accept: bool) -> None:
    peer = Peer(UtpConfig(accept=accept))
    peer.answer_dial()
    for connection_id in (peer.send_id, peer.receive_id, (peer.send_id - 1) & 0xFFFF):
        peer.give(type, connection_id=connection_id)
    theirs = {peer.send_id, peer.receive_id}
    assert not [packet for packet in peer.take() if packet.type == RESET and packet.connection_id in theirs]
