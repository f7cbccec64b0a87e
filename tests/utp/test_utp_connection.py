"""How a connection opens, what its verbs do, and each way in which it ends."""

import ctypes
import gc
import math
import tracemalloc
import weakref
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from pknet.errors import PknetError, StateError
from pknet.testing import Link
from pknet.utp import (
    CloseReason,
    ConnectionClosed,
    ConnectionOpened,
    DataReceived,
    EofReceived,
    SendBufferDrained,
    UtpConfig,
    UtpConnection,
)
from tests.utp.flow import Flow, Program
from tests.utp.peer import DATA, FIN, RESET, SEGMENT, STATE, SYN, Peer, read_all

# Opening.


def test_a_dial_opens_when_the_syn_is_acknowledged() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now, local="socket")
    assert (connection.state, connection.remote, connection.local) == ("SYN_SENT", peer.remote, "socket")
    peer.await_dial(connection)
    peer.state()
    (opened,) = peer.take_events()
    assert type(opened) is ConnectionOpened
    assert opened.connection is connection
    assert (connection.state, connection.is_initiator) == ("CONNECTED", True)


def test_an_accepted_connection_is_told_of_once_it_is_proven() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    assert (connection.state, connection.remote, connection.is_initiator) == ("CONNECTED", peer.remote, False)


@pytest.mark.parametrize("type", [DATA, FIN, STATE])
def test_a_dial_takes_only_the_answer_to_its_own_syn(type: int) -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    peer.give(type, ack_nr=peer.ack_nr - (type == STATE))
    assert connection.state == "SYN_SENT"
    assert peer.endpoint.counters.unexpected == 1


def test_what_was_given_before_the_answer_leaves_with_it() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    assert connection.send(b"hello", peer.now) == 5
    assert peer.take() == []
    peer.state()
    assert [packet.type for packet in peer.take()] == [DATA]
    assert peer.sent[-1][1].payload == b"hello"


def test_a_dial_that_nobody_answers_ends() -> None:
    peer = Peer(UtpConfig(connect_timeout=20))
    connection = peer.endpoint.connect(peer.remote, peer.now)
    connection.send(b"hello", peer.now)
    peer.pass_time(19.9)
    assert peer.take_events() == []
    peer.pass_time(0.2)
    (closed,) = peer.take_events()
    assert (closed.reason, closed.undelivered) == (CloseReason.TIMED_OUT, 5)
    assert len(peer.endpoint) == 0
    assert peer.endpoint.next_timeout() is None


def test_a_dial_survives_a_lost_syn_ack() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    first = peer.await_dial(connection)
    peer.pass_time(1)
    (second,) = peer.take()
    assert (second.type, second.seq_nr, second.connection_id) == (SYN, first.seq_nr, first.connection_id)
    peer.state()
    assert connection.state == "CONNECTED"
    # Which of the two was answered can't be told.
    assert connection.rtt is None


def test_the_round_trip_of_the_syn_is_the_first_sample() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    peer.pass_time(0.25)
    peer.state()
    assert connection.rtt == pytest.approx(0.25)


@pytest.mark.parametrize("apart", [0, 2, -2])
def test_both_sides_may_dial_each_other_at_once(apart: int) -> None:
    peer, other = Peer(), Peer()
    other.endpoint = peer.endpoint
    ours = peer.endpoint.connect(peer.remote, peer.now)
    syn = peer.await_dial(ours)
    theirs = other.dial_and_prove(connection_id=syn.connection_id + apart)
    theirs.send(b"theirs", peer.now)
    assert other.take_payload() == b"theirs"
    peer.state()
    assert ours.state == "CONNECTED"
    peer.data(b"to ours")
    other.data(b"to theirs")
    assert ours.read(100, peer.now) == b"to ours"
    assert theirs.read(100, peer.now) == b"to theirs"
    assert len(peer.endpoint) == 2


def test_a_dial_from_the_peer_that_collides_with_ours_is_refused_at_once() -> None:
    peer = Peer()
    ours = peer.endpoint.connect(peer.remote, peer.now)
    syn = peer.await_dial(ours)
    peer.give(SYN, connection_id=syn.connection_id - 1, seq_nr=7)
    (reset,) = peer.take()
    assert (reset.type, reset.connection_id, reset.ack_nr) == (RESET, syn.connection_id - 1, 7)
    peer.state()
    assert ours.state == "CONNECTED"


# Sending and reading.


def test_payload_goes_both_ways() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    assert connection.send(b"ping", peer.now) == 4
    assert peer.take_payload() == b"ping"
    peer.data(b"pong")
    (event,) = peer.take_events()
    assert type(event) is DataReceived
    assert connection.readable == 4
    assert connection.read(2, peer.now) == b"po"
    assert connection.read(2, peer.now) == b"ng"
    assert connection.read(2, peer.now) == b""


@pytest.mark.parametrize("data", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"xabcdx")[1:5]])
def test_any_buffer_can_be_sent(data: bytearray | memoryview) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    assert connection.send(data, peer.now) == 4
    assert peer.take_payload() == b"abcd"


@pytest.mark.parametrize("view", [bytearray, memoryview, lambda data: memoryview(data).toreadonly()])
def test_what_the_program_changes_after_send_is_sent_as_it_was(view: Callable[[bytearray], Any]) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    data = bytearray(b"abcd")
    connection.send(view(data), peer.now)
    data[:] = b"gone"
    assert peer.take_payload() == b"abcd"


def test_memory_that_no_object_owns_can_be_sent() -> None:
    view_of = ctypes.pythonapi.PyMemoryView_FromMemory
    view_of.restype, view_of.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
    peer = Peer()
    connection = peer.dial_and_prove()
    memory = ctypes.create_string_buffer(b"abcd", 4)
    assert connection.send(view_of(ctypes.addressof(memory), 4, 0x100), peer.now) == 4
    memory[:] = b"gone"
    assert peer.take_payload() == b"abcd"


def test_a_bytes_object_is_not_copied_before_it_leaves() -> None:
    peer = Peer(UtpConfig(send_buffer=8 << 20))
    connection = peer.dial_and_prove()
    data = memoryview(bytes(4 << 20))
    tracemalloc.start()
    try:
        for start in range(0, len(data), 1 << 16):
            connection.send(data[start : start + (1 << 16)], peer.now)
        connection.send(bytes(data.obj), peer.now)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert connection.unacknowledged == 8 << 20


def test_a_buffer_of_items_is_sent_as_its_bytes() -> None:
    numbers = array("I", range(1000))
    peer = Peer(UtpConfig(send_buffer=3001))
    connection = peer.dial_and_prove()
    assert connection.send(memoryview(numbers), peer.now) == 3001
    assert peer.take_payload() == numbers.tobytes()[:3001]


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
def test_what_is_no_buffer_can_not_be_sent(data: object) -> None:
    connection = Peer().dial_and_prove()
    with pytest.raises(TypeError):
        connection.send(data, 2000.0)  # type: ignore[arg-type]


def test_send_takes_what_the_buffer_has_room_for_and_an_event_tells_of_more() -> None:
    peer = Peer(UtpConfig(send_buffer=8000))
    connection = peer.dial_and_prove()
    assert connection.writable == 8000
    assert connection.send(bytes(10000), peer.now) == 8000
    assert connection.send(b"x", peer.now) == 0
    assert (connection.writable, connection.unacknowledged) == (0, 8000)
    packets = peer.take()
    assert peer.take_events() == []
    peer.state(ack_nr=packets[0].seq_nr)
    (drained,) = peer.take_events()
    assert type(drained) is SendBufferDrained
    assert connection.writable == SEGMENT
    assert connection.send(bytes(2000), peer.now) == SEGMENT


def test_nobody_is_told_of_room_who_did_not_ask_for_more() -> None:
    peer = Peer(UtpConfig(send_buffer=8000))
    connection = peer.dial_and_prove()
    connection.send(bytes(8000), peer.now)
    peer.take()
    peer.state()
    assert peer.take_events() == []


def test_payload_is_read_into_a_buffer() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    for piece in (b"abc", b"def", b"ghi"):
        peer.data(piece)
    buffer = bytearray(7)
    assert connection.read_into(buffer, peer.now) == 7
    assert buffer == b"abcdefg"
    assert connection.read_into(memoryview(buffer)[2:], peer.now) == 2
    assert buffer == b"abhiefg"
    assert connection.read_into(bytearray(), peer.now) == 0
    with pytest.raises(BufferError):
        connection.read_into(b"readonly", peer.now)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [0, -1])
def test_reading_nothing_returns_nothing(limit: int) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.data(b"abc")
    assert connection.read(limit, peer.now) == b""
    assert connection.readable == 3


def test_data_is_told_of_once_until_all_of_it_is_read() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    for _ in range(3):
        peer.data(b"abc")
    connection.read(4, peer.now)
    peer.data(b"abc")
    assert [type(event) for event in peer.take_events()] == [DataReceived]
    read_all(connection, peer.now)
    peer.data(b"abc")
    assert [type(event) for event in peer.take_events()] == [DataReceived]


def test_a_batch_is_answered_by_one_acknowledgement() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    packets = [peer.packet(DATA, seq_nr=peer.seq_nr + n, payload=bytes([n]) * 100) for n in range(40)]
    peer.give_together(packets, 120)
    (state,) = peer.take()
    assert (state.type, state.ack_nr) == (STATE, peer.seq_nr + 39)
    assert connection.readable == 4000


def test_an_answer_carries_the_acknowledgement() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.data(b"question")
    connection.send(b"answer", peer.now)
    assert [(packet.type, packet.ack_nr) for packet in peer.take()] == [(DATA, peer.seq_nr - 1)]


# Ending.


def test_both_sides_finish_and_the_connection_is_over() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(b"last", peer.now)
    connection.finish(peer.now)
    assert connection.is_closing
    data, fin = peer.take()
    assert (data.type, fin.type, fin.seq_nr) == (DATA, FIN, data.seq_nr + 1)
    peer.fin()
    assert [type(event) for event in peer.take_events()] == [EofReceived, ConnectionClosed]
    assert (connection.state, connection.close_reason) == ("CLOSED", CloseReason.FINISHED)
    assert not connection.is_closing
    assert [(packet.type, packet.ack_nr) for packet in peer.take()] == [(STATE, peer.seq_nr - 1)]


def test_what_has_come_can_be_read_after_the_end() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.data(b"read me")
    peer.give(RESET)
    assert connection.state == "CLOSED"
    assert connection.read(100, peer.now) == b"read me"
    assert peer.take() == []


def test_the_last_fin_is_acknowledged_again_for_a_while_and_then_unknown() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    peer.take()
    peer.fin()
    peer.take()
    for _ in range(3):
        peer.pass_time(0.5)
        peer.fin(seq_nr=peer.seq_nr - 1)
        assert [(packet.type, packet.ack_nr) for packet in peer.take()] == [(STATE, peer.seq_nr - 1)]
    peer.state()
    assert peer.take() == []
    peer.pass_time(31)
    assert len(peer.endpoint) == 0
    peer.fin(seq_nr=peer.seq_nr - 1)
    assert [packet.type for packet in peer.take()] == [RESET]


@pytest.mark.parametrize(("waited", "lingers"), [(0.1, 2), (1, 14), (2, 28), (20, 30)])
def test_a_peer_whose_packets_get_lost_is_still_answered_when_three_more_have_been(
    waited: float, lingers: float
) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    peer.take()
    lost = peer.seq_nr
    peer.fin(seq_nr=lost + 1)
    peer.pass_time(waited)
    peer.data(b"at last", seq_nr=lost)
    peer.take()
    assert connection.close_reason is CloseReason.FINISHED
    for _ in range(2):
        # Answered once more, it has to be again.
        peer.pass_time(lingers - 0.01)
        peer.fin(seq_nr=lost + 1)
        assert [(packet.type, packet.ack_nr) for packet in peer.take()] == [(STATE, lost + 1)]
    peer.pass_time(30.1)
    assert len(peer.endpoint) == 0


def test_a_peer_that_only_paused_and_asked_is_answered_for_two_seconds() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    peer.data(b"first")
    peer.take()
    peer.pass_time(20)
    peer.data(b"", seq_nr=peer.seq_nr - 1)
    peer.data(b"more")
    peer.pass_time(20)
    peer.fin()
    assert connection.close_reason is CloseReason.FINISHED
    peer.pass_time(2.1)
    assert len(peer.endpoint) == 0


def test_finish_twice_sends_one_fin() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    connection.finish(peer.now)
    assert [packet.type for packet in peer.take()] == [FIN]
    connection.finish(peer.now)
    assert peer.take() == []


def test_nothing_can_be_sent_after_finish_or_the_end() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    assert connection.writable == 0
    with pytest.raises(StateError):
        connection.send(b"x", peer.now)
    other = Peer().dial_and_prove()
    other.abort(2000.0)
    assert other.writable == 0
    with pytest.raises(PknetError):
        other.send(b"x", 2000.0)


def test_the_fin_waits_until_all_is_sent() -> None:
    peer = Peer(wnd_size=2 * SEGMENT)
    connection = peer.dial_and_prove()
    connection.send(bytes(3 * SEGMENT), peer.now)
    connection.finish(peer.now)
    assert [packet.type for packet in peer.take()] == [DATA, DATA]
    peer.state()
    assert [packet.type for packet in peer.take()] == [DATA, FIN]


def test_a_lost_fin_is_sent_again() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    (fin,) = peer.take()
    peer.pass_time(1.5)
    again = peer.take()
    assert {(packet.type, packet.seq_nr) for packet in again} == {(FIN, fin.seq_nr)}
    assert connection.state == "CONNECTED"


def test_abort_resets_the_peer_at_once() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(bytes(5000), peer.now)
    connection.finish(peer.now)
    connection.abort(peer.now)
    assert [(packet.type, packet.connection_id) for packet in peer.take()] == [(RESET, peer.receive_id)]
    (closed,) = peer.take_events()
    assert (closed.reason, closed.undelivered) == (CloseReason.ABORTED, 5000)
    assert len(peer.endpoint) == 0
    connection.abort(peer.now)
    assert peer.take() == []


def test_a_dial_that_is_aborted_before_its_syn_left_sends_nothing() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    connection.abort(peer.now)
    assert peer.take() == []
    assert [event.reason for event in peer.take_events()] == [CloseReason.ABORTED]


def test_closing_a_dial_with_nothing_to_deliver_gives_it_up() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    connection.close(peer.now)
    assert connection.close_reason is CloseReason.ABORTED
    peer.take()
    assert len(peer.endpoint) == 0


def test_closing_a_dial_with_something_to_deliver_delivers_it() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.await_dial(connection)
    connection.send(b"note", peer.now)
    connection.close(peer.now)
    peer.state()
    assert [(packet.type, packet.payload) for packet in peer.take()] == [(DATA, b"note"), (FIN, b"")]


def test_close_drops_what_is_not_read_and_what_comes() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.data(b"unread")
    connection.send(b"last", peer.now)
    connection.close(peer.now)
    assert connection.readable == 0
    peer.take_events()
    first = peer.take()[0]
    peer.data(b"more", ack_nr=first.seq_nr - 1)
    assert peer.take_events() == []
    assert peer.endpoint.counters.unread == 1
    assert [packet.type for packet in peer.take()] == [STATE]


def test_a_peer_that_goes_on_sending_after_close_is_reset() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(b"last", peer.now)
    connection.close(peer.now)
    peer.take()
    peer.data(bytes(65))
    assert [packet.type for packet in peer.take()] == [RESET]
    (closed,) = peer.take_events()
    assert (closed.reason, closed.undelivered) == (CloseReason.ABORTED, 0)


def test_a_peer_that_finishes_after_close_ends_it_in_peace() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.close(peer.now)
    peer.take()
    # As long as TLS's close_notify, once more for good measure, and as repeats of both.
    for _ in range(2):
        peer.data(bytes(24))
        peer.data(bytes(24), seq_nr=peer.seq_nr - 1)
    peer.fin()
    assert connection.close_reason is CloseReason.FINISHED


def test_a_peer_that_never_finishes_after_close_is_reset_in_the_end() -> None:
    peer = Peer(UtpConfig(peer_timeout=30))
    connection = peer.dial_and_prove()
    connection.close(peer.now)
    peer.take()
    peer.state()
    # The program need not wait for it.
    (closed,) = peer.take_events()
    assert (type(closed), closed.reason, closed.undelivered) == (ConnectionClosed, CloseReason.FINISHED, 0)
    peer.pass_time(29.5)
    assert connection.state == "CONNECTED"
    peer.take()
    peer.pass_time(1)
    assert [packet.type for packet in peer.take()] == [RESET]
    assert connection.state == "CLOSED"
    assert peer.take_events() == []


def test_a_program_that_closes_after_all_has_arrived_is_told_at_once() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    peer.take()
    peer.state()
    assert peer.take_events() == []
    connection.close(peer.now)
    (closed,) = peer.take_events()
    assert (type(closed), closed.reason, closed.undelivered) == (ConnectionClosed, CloseReason.FINISHED, 0)
    peer.fin()
    assert peer.take_events() == []
    assert connection.state == "CLOSED"


def test_close_opens_the_window_of_a_peer_that_waits_for_it() -> None:
    peer = Peer(UtpConfig(receive_buffer=4000))
    connection = peer.dial_and_prove()
    peer.data(bytes(2000))
    peer.data(bytes(2000))
    assert peer.take()[-1].wnd_size == 0
    connection.close(peer.now)
    assert 4000 in {packet.wnd_size for packet in peer.take()}


def test_a_half_closed_connection_may_stay_so() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.finish(peer.now)
    peer.take()
    for _ in range(60):
        peer.state()
        peer.pass_time(60)
    peer.data(b"at last")
    assert connection.read(100, peer.now) == b"at last"


# A peer that is gone.


def test_a_peer_that_vanishes_ends_the_stream_in_peer_timeout() -> None:
    peer = Peer(UtpConfig(peer_timeout=30))
    connection = peer.dial_and_prove()
    peer.pass_time(100)
    connection.send(b"anybody?", peer.now)
    peer.pass_time(29.9)
    assert connection.state == "CONNECTED"
    peer.pass_time(0.2)
    (closed,) = peer.take_events()
    assert (closed.reason, closed.undelivered) == (CloseReason.TIMED_OUT, 8)
    assert len(peer.endpoint) == 0
    assert peer.endpoint.next_timeout() is None


def test_a_peer_that_acknowledges_something_now_and_then_is_there() -> None:
    peer = Peer(UtpConfig(peer_timeout=30, path_mtu_discovery=False))
    connection = peer.dial_and_prove()
    connection.send(bytes(6 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    for acknowledged in range(6):
        peer.pass_time(29)
        peer.state(ack_nr=first + acknowledged)
    assert connection.state == "CONNECTED"
    assert connection.unacknowledged == 0


@pytest.mark.parametrize("dialled_by", ["endpoint", "peer"])
def test_a_silent_peer_is_asked_whether_it_is_there_and_then_taken_for_gone(dialled_by: str) -> None:
    peer = Peer(UtpConfig(keepalive=None, idle_timeout=80))
    connection = peer.answer_dial() if dialled_by == "endpoint" else peer.dial_and_prove()
    next_seq_nr = connection.unacknowledged + (peer.ack_nr + 1)
    peer.data(b"heard")
    peer.take()
    heard = peer.now
    peer.take_events()
    peer.pass_time(79.9)
    questions = [(time - heard, packet) for time, packet in peer.sent if time > heard]
    assert [time for time, _ in questions] == pytest.approx([40, 50, 60, 70])
    for _, question in questions:
        # A DATA that has been received is answered at once by every program: by an acknowledgement.
        assert (question.type, question.payload) == (DATA, b"")
        assert question.seq_nr == (next_seq_nr - 1) & 0xFFFF
    peer.pass_time(0.2)
    (closed,) = peer.take_events()
    assert (closed.reason, closed.undelivered) == (CloseReason.TIMED_OUT, 0)
    assert peer.endpoint.next_timeout() is None


@pytest.mark.parametrize(("keepalive", "idle_timeout"), [(29, 120), (3, 20), (None, 10), (7, 5), (15, 60)])
def test_a_peer_that_went_silent_is_given_up_when_the_settings_say(
    keepalive: float | None, idle_timeout: float
) -> None:
    peer = Peer(UtpConfig(keepalive=keepalive, idle_timeout=idle_timeout))
    peer.dial_and_prove()
    peer.pass_time(idle_timeout - 0.01)
    assert peer.take_events() == []
    peer.pass_time(0.02)
    assert [event.reason for event in peer.take_events()] == [CloseReason.TIMED_OUT]


def test_a_peer_that_answers_when_it_is_asked_is_there() -> None:
    peer = Peer(UtpConfig(keepalive=None, idle_timeout=80))
    connection = peer.dial_and_prove()
    for _ in range(1000):
        peer.pass_time(75)
        peer.state()
    assert connection.state == "CONNECTED"


def test_two_endpoints_with_nothing_to_say_hear_of_each_other() -> None:
    for config in (UtpConfig(), UtpConfig(keepalive=None), UtpConfig(keepalive=5, idle_timeout=None)):
        flow = Flow(Program(), Program(), Link(latency=0.05, loss=0.02), config=config)
        flow.near.write = flow.far.write = lambda: None  # type: ignore[method-assign]
        flow.run(86400)
        assert flow.dialled.state == "CONNECTED"
        assert flow.near.closed is flow.far.closed is None


def test_a_computer_that_slept_asks_before_it_takes_its_peer_for_gone() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    peer.take()
    peer.now += 86400
    peer.endpoint.handle_timeout(peer.now)
    assert [packet.type for packet in peer.take()] == [DATA]
    peer.pass_time(10)
    peer.state()
    peer.pass_time(55)
    assert connection.state == "CONNECTED"


def test_a_peer_may_be_silent_for_ever_if_the_program_wants_that() -> None:
    peer = Peer(UtpConfig(idle_timeout=None))
    connection = peer.dial_and_prove()
    peer.pass_time(7 * 86400)
    assert connection.state == "CONNECTED"
    assert {packet.type for packet in peer.take()} == {STATE}


def test_without_keepalive_an_idle_connection_has_no_timer() -> None:
    peer = Peer(UtpConfig(keepalive=None, idle_timeout=None))
    connection = peer.dial_and_prove()
    assert peer.endpoint.next_timeout() is None
    assert connection.next_timer is None
    assert peer.endpoint.next_timer is None
    peer.pass_time(1000)
    assert peer.take() == []


def test_timers_have_names() -> None:
    peer = Peer()
    connection = peer.endpoint.connect(peer.remote, peer.now)
    peer.take()
    assert connection.next_timer == peer.endpoint.next_timer == "retransmit"
    other = Peer()
    other.dial_and_prove()
    other.take()
    assert other.endpoint.next_timer == "keepalive"


# Odds and ends.


def test_the_context_is_the_programs_own() -> None:
    connection = Peer().dial_and_prove()
    assert connection.context is None
    connection.context = marker = object()
    assert connection.context is marker


def test_a_connection_says_who_it_is() -> None:
    assert repr(Peer().dial_and_prove()) == "<UtpConnection to ('192.0.2.9', 6881) id 501 CONNECTED>"


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf, 1e300])
def test_a_time_that_is_none_is_refused(now: float) -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    for verb in (
        lambda: connection.send(b"x", now),
        lambda: connection.read(1, now),
        lambda: connection.finish(now),
        lambda: peer.endpoint.handle_timeout(now),
        lambda: peer.endpoint.receive_datagram(b"", peer.remote, None, now),
    ):
        with pytest.raises(ValueError, match="now must be"):
            verb()
    assert connection.state == "CONNECTED"


def test_time_that_goes_back_stands_still() -> None:
    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(b"x", peer.now - 500)
    (packet,) = peer.take()
    assert packet.timestamp == int(peer.now * 1e6) & 0xFFFFFFFF
    assert connection.rtt is None or connection.rtt >= 0


def test_a_connection_can_not_be_made_without_an_endpoint() -> None:
    with pytest.raises(TypeError):
        UtpConnection()


def test_a_connection_that_is_over_is_freed() -> None:
    class Context:
        pass

    peer = Peer()
    connection = peer.dial_and_prove()
    connection.send(bytes(100_000), peer.now)
    peer.data(b"early", seq_nr=peer.seq_nr + 3)
    peer.take()
    connection.context = context = Context()
    gone = weakref.ref(context)
    connection.abort(peer.now)
    peer.take_events()
    peer.take()
    del connection, context
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("is_fin_acknowledged", [False, True])
def test_a_closed_connection_is_not_held_by_a_peer_that_only_says_it_has_no_room(
    is_fin_acknowledged: bool,
) -> None:
    peer = Peer(UtpConfig(peer_timeout=30))
    connection = peer.dial_and_prove()
    connection.send(b"bye", peer.now)
    connection.close(peer.now)
    *_, fin = peer.take()
    acknowledged = fin.seq_nr if is_fin_acknowledged else fin.seq_nr - 2
    for _ in range(4):
        peer.state(ack_nr=acknowledged, wnd_size=0)
        peer.take()
        peer.pass_time(10)
    assert connection.state == "CLOSED"
    assert len(peer.endpoint) == 0


def test_packets_sent_again_leave_in_runs_that_one_call_takes() -> None:
    peer = Peer(UtpConfig(max_datagram=9000, path_mtu_discovery=False))
    connection = peer.answer_dial()
    for _ in range(6):
        connection.send(bytes(1 << 20), peer.now)
        peer.pass_time(0.05)
        peer.state()
    connection.send(bytes(1 << 20), peer.now)
    peer.take()
    peer.transmits.clear()
    peer.pass_time(20)
    peer.state()
    peer.take()
    assert max(len(transmit.data) for transmit in peer.transmits) > 9000
    assert all(len(transmit.data) <= 65507 for transmit in peer.transmits)


# Acknowledgements that wait.


def waiting_peer() -> tuple[Peer, UtpConnection]:
    peer = Peer(UtpConfig(ack_delay=0.1))
    connection = peer.dial_and_prove()
    peer.pass_time(0.2)
    peer.take()
    return peer, connection


def test_a_packet_that_the_program_answers_soon_is_acknowledged_by_the_answer() -> None:
    peer, connection = waiting_peer()
    peer.data(b"request")
    assert peer.take() == []
    assert connection.next_timer == "acknowledge"
    peer.pass_time(0.05)
    connection.send(b"answer", peer.now)
    (answer,) = peer.take()
    assert (answer.type, answer.payload, answer.ack_nr) == (DATA, b"answer", peer.seq_nr - 1)
    peer.state()
    peer.pass_time(1)
    assert peer.take() == []


def test_a_packet_that_nobody_answers_is_acknowledged_when_it_has_waited() -> None:
    peer, _ = waiting_peer()
    peer.data(b"news")
    peer.pass_time(0.099)
    assert peer.take() == []
    peer.pass_time(0.002)
    (state,) = peer.take()
    assert (state.type, state.ack_nr) == (STATE, peer.seq_nr - 1)
    peer.pass_time(1)
    assert peer.take() == []


def test_the_second_packet_does_not_wait() -> None:
    peer, _ = waiting_peer()
    for _ in range(3):
        peer.data(b"one")
        assert peer.take() == []
        peer.data(b"two")
        assert [packet.type for packet in peer.take()] == [STATE]


def test_what_came_twice_or_early_or_fills_a_gap_or_ends_the_stream_does_not_wait() -> None:
    peer, _ = waiting_peer()
    first = peer.seq_nr
    peer.data(b"a")
    peer.pass_time(0.2)
    peer.take()
    peer.data(b"a", seq_nr=first)
    assert [packet.ack_nr for packet in peer.take()] == [first]
    peer.data(b"c", seq_nr=first + 2)
    assert [packet.ack_nr for packet in peer.take()] == [first]
    peer.data(b"b", seq_nr=first + 1)
    assert [packet.ack_nr for packet in peer.take()] == [first + 2]
    peer.fin(seq_nr=first + 3)
    assert [packet.ack_nr for packet in peer.take()] == [first + 3]


def test_a_connection_that_ends_while_an_acknowledgement_waits_leaves_no_timer() -> None:
    peer, connection = waiting_peer()
    peer.data(b"news")
    connection.abort(peer.now)
    peer.pass_time(10)
    assert peer.endpoint.next_timeout() is None
