"""Streams between two nodes in the open: what a program sends and is told, and what a peer can do to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pknet.errors import StateError
from pknet.network import NodeInfo, messages
from pknet.network.framing import frame
from pknet.network.messages import Hello, Purpose, Refused, Welcome
from pknet.network.tls import RECEIVE_LIMIT, SEND_LIMIT
from pknet.testing import SimulatedNetwork
from pknet.testing.node import SimulatedNode, SimulatedStream, echo
from pknet.utp import CloseReason, ConnectionOpened, EofReceived, UtpConfig, UtpEvent
from tests.network.raw import RawPeer
from tests.network.world import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.network.stream import SecureConnection

MEGABYTE = 1 << 20


class Two:
    """Two nodes without anything between them."""

    def __init__(self, *, latency: float = 0.01, client: dict[str, Any] | None = None, **server: Any) -> None:
        self.network = SimulatedNetwork(seed=3)
        self.server_host = self.network.host("192.0.2.2", **wire(latency))
        self.client_host = self.network.host("192.0.2.3", **wire(latency))
        self.server = SimulatedNode(self.network, self.server_host, **{"service": echo, **server})
        self.client = SimulatedNode(self.network, self.client_host, **(client or {}))

    def wait(self, predicate: Callable[[], object], timeout: float = 30) -> bool:
        return self.network.run_until(predicate, timeout)

    def connect(self) -> SimulatedStream:
        stream = self.client.connect(self.server.info())
        assert self.wait(lambda: stream.is_open), stream.failure
        return stream

    @property
    def accepted(self) -> SimulatedStream:
        return self.server.streams[-1]


def everything(*streams: SimulatedStream) -> bool:
    """Return whether all streams are over."""
    return all(stream.closed for stream in streams)


def test_what_is_sent_arrives_both_ways_and_both_know_each_other() -> None:
    two = Two()
    stream = two.connect()
    payload = os.urandom(3 * MEGABYTE)
    stream.send(payload)
    assert two.wait(lambda: len(stream.received) == len(payload))
    assert stream.received == payload
    assert stream.peer == two.server.node_id
    assert two.accepted.peer == two.client.node_id
    assert stream.stream.remote == two.server.address


def test_each_direction_ends_by_itself() -> None:
    two = Two(service=None)
    stream = two.connect()
    stream.send(b"question")
    stream.finish()
    two.wait(lambda: two.accepted.eof)
    assert two.accepted.received == b"question"
    assert not stream.eof
    two.accepted.send(b"answer")
    two.network.run(1)
    assert stream.received == b"answer"
    two.accepted.finish()
    assert two.wait(lambda: everything(stream, two.accepted))
    for end in (stream, two.accepted):
        assert end.eof
        assert end.closed is not None
        assert (end.closed.reason, end.closed.undelivered) == (CloseReason.FINISHED, 0)
        assert end.failure is None


def test_a_server_that_says_its_word_and_finishes_at_once_is_heard() -> None:
    # Welcome, payload and close_notify come in one datagram.
    def greet(stream: SimulatedStream) -> None:
        if not stream.stream.is_closing and stream.is_open:
            stream.send(b"goodbye")
            stream.finish()

    two = Two(service=greet)
    stream = two.connect()
    assert two.wait(lambda: stream.eof)
    assert stream.received == b"goodbye"
    stream.finish()
    assert two.wait(lambda: stream.closed)
    assert stream.closed is not None
    assert stream.closed.reason is CloseReason.FINISHED


def test_a_client_that_finished_before_the_stream_was_open_has_finished() -> None:
    two = Two()
    stream = two.client.connect(two.server.info())
    stream.stream.finish(two.network.now)
    assert two.wait(lambda: everything(stream, *two.server.streams) and two.server.streams)
    assert two.accepted.eof
    assert stream.closed is not None
    assert stream.closed.reason is CloseReason.FINISHED


def test_a_reader_that_stops_stops_the_writer_with_bounded_memory_on_both_sides() -> None:
    window = 256 * 1024
    config = UtpConfig(receive_buffer=window, send_buffer=window)
    two = Two(service=None, utp=config, client={"utp": config})
    stream = two.connect()
    two.accepted.is_paused = True
    payload = os.urandom(8 * MEGABYTE)
    stream.send(payload)
    two.network.run(60)
    taken = len(payload) - stream.unsent
    at_receiver = RECEIVE_LIMIT + window
    at_sender = SEND_LIMIT + window
    # Beside the buffers themselves: a chunk under way in each layer.
    assert at_receiver < taken < at_receiver + at_sender + 4 * 65536
    assert two.accepted.stream.readable <= RECEIVE_LIMIT + 16384
    assert stream.stream.unacknowledged <= at_sender + 2 * 65536
    # After a minute of silence all that was sent is still there.
    two.accepted.resume()
    assert two.wait(lambda: len(two.accepted.received) == len(payload), 60)
    assert two.accepted.received == payload


def test_a_reader_that_stops_does_not_stop_the_other_direction_or_other_streams() -> None:
    two = Two(service=None)
    stuck, other = two.connect(), two.connect()
    stuck_there, other_there = two.server.streams
    stuck_there.is_paused = True
    stuck.send(bytes(8 * MEGABYTE))
    two.network.run(5)
    stuck_there.send(b"still here")
    other.send(b"here too")
    two.network.run(1)
    assert stuck.received == b"still here"
    assert other_there.received == b"here too"


def test_what_a_slow_reader_has_not_read_yet_is_not_lost_when_all_else_has_ended() -> None:
    # The connection below ends in peace while the program has yet to read; that must not look like a cut.
    two = Two(service=None)
    stream = two.connect()
    stream.is_paused = True
    stream.finish()
    payload = os.urandom(MEGABYTE)
    two.accepted.send(payload)
    two.accepted.finish()
    two.network.run(10)
    assert two.accepted.closed is not None
    assert two.accepted.closed.reason is CloseReason.FINISHED
    assert stream.closed is None
    stream.resume()
    two.network.run(1)
    assert stream.received == payload
    assert stream.eof
    assert stream.closed is not None
    assert stream.closed.reason is CloseReason.FINISHED


def test_a_stream_that_is_closed_while_much_waits_unread_is_over() -> None:
    two = Two(service=None)
    stream = two.connect()
    stream.is_paused = True
    two.accepted.send(bytes(MEGABYTE))
    two.accepted.finish()
    two.network.run(10)
    stream.close()
    assert two.wait(lambda: everything(stream, two.accepted), 10)


def test_a_peer_that_goes_on_sending_to_a_closed_stream_is_told() -> None:
    two = Two(service=None)
    stream = two.connect()
    two.accepted.send(bytes(8 * MEGABYTE))
    two.network.run(0.5)
    stream.close()
    assert two.wait(lambda: everything(stream, two.accepted), 40)
    assert two.accepted.closed is not None
    assert two.accepted.closed.reason is CloseReason.RESET


def test_closing_after_finishing_closes() -> None:
    two = Two(service=None)
    stream = two.connect()
    stream.finish()
    two.network.run(1)
    stream.close()
    two.accepted.send(bytes(8 * MEGABYTE))
    assert two.wait(lambda: everything(stream, two.accepted), 40)


def test_many_streams_go_side_by_side() -> None:
    two = Two()
    streams = [two.client.connect(two.server.info()) for _ in range(64)]
    assert two.wait(lambda: all(stream.is_open for stream in streams))
    payloads = [os.urandom(20_000 + number) for number in range(64)]
    for stream, payload in zip(streams, payloads, strict=True):
        stream.send(payload)
        stream.finish()
    assert two.wait(lambda: everything(*streams, *two.server.streams), 60)
    assert [bytes(stream.received) for stream in streams] == payloads
    assert all(stream.closed and stream.closed.reason is CloseReason.FINISHED for stream in streams)
    assert not two.client.node.streams
    assert not two.server.node.streams


def test_lost_and_reordered_packets_lose_no_byte() -> None:
    two = Two()
    for host in (two.server_host, two.client_host):
        for link in (host.up, host.down):
            assert link is not None
            link.change(loss=0.02, reorder=0.05, duplicate=0.01)
    stream = two.connect()
    payload = os.urandom(MEGABYTE // 2)
    stream.send(payload)
    stream.finish()
    assert two.wait(lambda: stream.closed, 200)
    assert stream.received == payload
    assert stream.eof


def test_unacknowledged_is_nothing_before_and_after_and_never_more_than_was_sent() -> None:
    two = Two()
    stream = two.connect()
    assert stream.stream.unacknowledged == 0
    assert two.accepted.stream.unacknowledged == 0
    stream.send(b"hello")
    assert stream.stream.unacknowledged == 5
    assert two.wait(lambda: stream.stream.unacknowledged == 0, 2)
    assert stream.received == b"hello" or two.wait(lambda: stream.received == b"hello", 1)


def test_what_could_not_be_delivered_is_counted() -> None:
    two = Two()
    stream = two.connect()
    two.server.vanish()
    stream.send(bytes(10_000))
    assert two.wait(lambda: stream.closed, 120)
    assert stream.closed is not None
    assert (stream.closed.reason, stream.closed.undelivered) == (CloseReason.TIMED_OUT, 10_000)
    assert stream.failure == "the peer does not answer"


def test_a_stream_that_is_aborted_says_what_was_lost_and_the_peer_is_told() -> None:
    two = Two()
    stream = two.connect()
    stream.send(bytes(10_000))
    stream.abort()
    assert stream.closed is not None
    assert (stream.closed.reason, stream.closed.undelivered) == (CloseReason.ABORTED, 10_000)
    assert two.wait(lambda: two.accepted.closed, 5)
    assert two.accepted.closed is not None
    assert two.accepted.closed.reason is CloseReason.RESET


def test_verbs_in_the_wrong_phase_are_the_programs_mistake() -> None:
    two = Two()
    now = two.network.now
    stream = two.client.connect(two.server.info())
    with pytest.raises(StateError):
        stream.stream.send(b"too early", now)
    assert (stream.stream.writable, stream.stream.readable, stream.stream.remote) == (0, 0, None)
    assert stream.stream.path is None
    two.wait(lambda: stream.is_open)
    assert stream.stream.writable > 0
    stream.stream.finish(now)
    stream.stream.finish(now)
    with pytest.raises(StateError):
        stream.stream.send(b"too late", now)


@pytest.mark.parametrize("verb", ["close", "abort"])
def test_a_stream_that_is_given_up_before_it_is_open_is_over_at_once(verb: str) -> None:
    two = Two()
    stream = two.client.connect(two.server.info())
    getattr(stream, verb)()
    assert stream.closed is not None
    assert stream.closed.reason is CloseReason.ABORTED
    getattr(stream, verb)()
    two.network.run(30)
    assert not two.client.node.dials
    assert len(two.client.node.utp) == 0


def test_the_wrong_key_is_refused_and_named() -> None:
    two = Two()
    other = NodeInfo(two.client.node_id, (two.server.address,))
    stranger = SimulatedNode(two.network, two.network.host())
    stream = stranger.connect(other)
    assert two.wait(lambda: stream.closed, 40)
    assert stream.failure is not None
    assert f"the peer is node {two.server.node_id}, expected was node {two.client.node_id}" in stream.failure
    assert not two.server.streams


def test_a_node_that_is_not_on_the_list_is_refused_in_words() -> None:
    two = Two(admit=lambda _: False)
    stream = two.client.connect(two.server.info())
    assert two.wait(lambda: stream.closed, 5)
    assert stream.failure == "the node refused: you are not on its list, and show no ticket that it knows"
    assert stream.closed is not None
    assert stream.closed.reason is CloseReason.REFUSED
    assert not two.server.streams
    assert two.server.node.stats.refused_streams == 1


def test_a_ticket_admits_and_the_wrong_one_does_not() -> None:
    secret, wrong = os.urandom(16), os.urandom(16)
    two = Two(admit=lambda _: False, secrets=[os.urandom(16), secret])
    for shown, is_admitted in ((secret, True), (wrong, False)):
        stream = two.client.connect(two.server.info(shown))
        two.wait(lambda: stream.is_open or stream.closed, 5)
        assert stream.is_open is is_admitted


# What a peer can do.


class Hostile(Two):
    """A node, and a peer that says what it likes."""

    def __init__(self, *, tls: bool = True, **server: Any) -> None:
        super().__init__(**server)
        self.raw = RawPeer(self.network, self.network.host("192.0.2.9", **wire()), tls=tls)

    def dial(self) -> SecureConnection:
        """Have the peer dial the node, up to where it would say Hello."""
        connection = self.raw.dial(self.server.address, self.server.node_id)
        self.network.run(0.5)
        assert connection.tls.peer == self.server.node_id
        return connection

    def call(self) -> SimulatedStream:
        """Have the node dial the peer, up to where that would say Welcome."""
        stream = self.server.connect(self.raw.info)
        self.network.run(0.5)
        assert self.raw.connections
        return stream


BAD_GREETINGS = {
    "no frame": b"GET / HTTP/1.1\r\n\r\n",
    "an empty frame": frame(b""),
    "not MessagePack": frame(b"\xc1\xc1"),
    "another conversation": messages.encode(messages.Register()),
    "an unknown message": frame(b"\x81\xa4type\xa9\x1b[2Jhello"),
    "Welcome": messages.encode(Welcome()),
    "Refused": messages.encode(Refused("no")),
    "a frame that never ends": (1 << 20).to_bytes(4) + bytes(100),
    "another version": messages.encode(Hello(99, Purpose.STREAM)),
    "no rendezvous here": messages.encode(Hello(messages.VERSION, Purpose.RENDEZVOUS)),
}


@pytest.mark.parametrize("greeting", BAD_GREETINGS.values(), ids=BAD_GREETINGS)
def test_an_initiator_that_does_not_greet_as_it_should_is_sent_away(greeting: bytes) -> None:
    hostile = Hostile()
    connection = hostile.dial()
    hostile.raw.say(greeting)
    hostile.network.run(5)
    assert connection.connection.state == "CLOSED" or connection.connection.at_eof
    assert not hostile.server.streams
    hostile.network.run(60)
    assert len(hostile.server.node.utp) == 0


BAD_ANSWERS = {
    name: greeting for name, greeting in BAD_GREETINGS.items() if name not in ("Welcome", "Refused")
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_acceptor_that_does_not_answer_as_it_should_fails_the_stream_in_printable_words(
    answer: bytes,
) -> None:
    hostile = Hostile()
    stream = hostile.call()
    hostile.raw.say(answer)
    assert hostile.wait(lambda: stream.closed, 35)
    assert stream.failure
    assert stream.failure.isprintable()


def test_an_acceptors_words_are_made_fit_for_a_terminal() -> None:
    hostile = Hostile()
    stream = hostile.call()
    hostile.raw.say(messages.encode(Refused("\x1b[2J\u202egnissim")))
    assert hostile.wait(lambda: stream.closed, 5)
    assert stream.failure == "the node refused: \\x1b[2J\\u202egnissim"


def test_an_acceptor_that_never_answers_does_not_hold_the_dial_for_ever() -> None:
    hostile = Hostile()
    stream = hostile.call()
    assert hostile.wait(lambda: stream.closed, 31)
    assert stream.failure is not None
    assert "it does not answer" in stream.failure


def test_an_acceptor_that_ends_before_it_has_answered_has_refused() -> None:
    hostile = Hostile()
    stream = hostile.call()
    hostile.raw.connections[-1].tls.send_eof()
    hostile.raw.connections[-1].reader_gone = True
    hostile.raw.attachment.kick()
    assert hostile.wait(lambda: stream.closed, 40)
    assert stream.closed is not None
    assert stream.closed.reason is not CloseReason.FINISHED
    assert stream.failure


def test_an_initiator_that_never_greets_is_given_up() -> None:
    hostile = Hostile()
    hostile.dial()
    hostile.network.run(16)
    assert hostile.server.node.stats.timed_out_streams == 1
    hostile.network.run(5)
    assert len(hostile.server.node.utp) == 0


def test_a_stream_that_is_cut_without_close_notify_is_not_taken_for_whole() -> None:
    hostile = Hostile(service=None)
    connection = hostile.dial()
    hostile.raw.say(messages.encode(Hello(messages.VERSION, Purpose.STREAM)) + b"the first half")
    hostile.network.run(1)
    connection.connection.finish(hostile.network.now)
    hostile.raw.attachment.kick()
    hostile.network.run(5)
    stream = hostile.accepted
    assert stream.received == b"the first half"
    assert not stream.eof
    assert stream.closed is not None
    assert stream.closed.reason is CloseReason.RESET
    assert stream.failure is not None
    assert "truncated" in stream.failure


def test_what_follows_close_notify_is_dropped_and_the_stream_ends() -> None:
    hostile = Hostile(service=None)
    connection = hostile.dial()
    hostile.raw.say(messages.encode(Hello(messages.VERSION, Purpose.STREAM)) + b"all of it")
    hostile.network.run(1)
    # From here on the peer drives TLS by hand: after its end come three windows of something else.
    hostile.raw.connections.remove(connection)
    connection.tls.send_eof()
    waiting = connection.tls.data_to_send() + bytes(3 * MEGABYTE)
    hostile.accepted.finish()
    for _ in range(100):
        waiting = waiting[connection.connection.send(waiting, hostile.network.now) :]
        hostile.raw.attachment.kick()
        hostile.network.run(0.2)
        if not waiting:
            break
    assert not waiting
    connection.connection.finish(hostile.network.now)
    hostile.raw.attachment.kick()
    assert hostile.wait(lambda: hostile.accepted.closed, 40)
    assert hostile.accepted.received == b"all of it"
    assert hostile.accepted.eof
    assert hostile.accepted.closed is not None
    assert hostile.accepted.closed.reason is CloseReason.FINISHED


def test_two_attempts_that_prove_the_key_at_the_same_moment_make_one_stream() -> None:
    two = Two(service=None)
    second = two.network.host("192.0.2.22", **wire())
    # The server hears two addresses with one machine; both answer at the same moment.
    socket = second.bind(1315)
    socket.attachment = two.server.attachment
    socket.handle = None
    two.server.attachment._sockets[socket] = socket
    socket.handle = socket
    info = NodeInfo(two.server.node_id, (two.server.address, socket.address))
    stream = two.client.connect(info)
    assert two.wait(lambda: stream.is_open or stream.closed, 5)
    assert stream.is_open, stream.failure
    two.network.run(5)
    assert len([end for end in two.server.streams if end.closed is None]) == 1
    assert len(two.client.node.utp) == 1


def test_events_come_in_an_order_that_makes_sense() -> None:
    two = Two(service=None)
    seen: list[UtpEvent] = []
    stream = two.client.connect(two.server.info())
    handle, stream.handle_event = stream.handle_event, lambda event: (seen.append(event), handle(event))  # type: ignore[method-assign,func-returns-value]
    two.wait(lambda: stream.is_open)
    two.accepted.send(b"data")
    two.accepted.finish()
    stream.finish()
    two.wait(lambda: stream.closed)
    names = [type(event).__name__ for event in seen]
    assert names == ["ConnectionOpened", "DataReceived", "EofReceived", "ConnectionClosed"]
    assert all(event.connection is stream.stream for event in seen)
    assert isinstance(seen[0], ConnectionOpened)
    assert isinstance(seen[2], EofReceived)


# Without TLS.


def test_utp_without_tls_is_reset_at_its_first_word() -> None:
    hostile = Hostile(tls=False)
    connection = hostile.raw.dial_plain(hostile.server.address)
    hostile.network.run(0.5)
    connection.send(b"hello", hostile.network.now)
    hostile.raw.attachment.kick()
    hostile.network.run(1)
    assert connection.close_reason is CloseReason.RESET
    assert not hostile.server.streams


@pytest.mark.parametrize("first", [b"h", b"\x16", b"\x16\x04", b"hello, " * 40_000])
def test_utp_without_tls_is_taken_as_it_is_where_that_is_allowed(first: bytes) -> None:
    hostile = Hostile(tls=False, allow_plain_utp=True)
    connection = hostile.raw.dial_plain(hostile.server.address)
    hostile.network.run(0.5)
    connection.send(first, hostile.network.now)
    connection.finish(hostile.network.now)
    hostile.raw.attachment.kick()
    hostile.network.run(5)
    echoed = b""
    while connection.readable:
        echoed += connection.read(1 << 20, hostile.network.now)
    assert echoed == first
    assert connection.at_eof
    (stream,) = hostile.server.streams
    assert stream.peer is None
    assert stream.eof
    hostile.network.run(5)
    assert stream.closed is not None
    assert stream.closed.reason is CloseReason.FINISHED


def test_nodes_meet_a_node_that_allows_plain_utp_by_tls_all_the_same() -> None:
    two = Two(allow_plain_utp=True)
    stream = two.connect()
    stream.send(b"secret")
    assert two.wait(lambda: stream.received == b"secret", 5)
    assert two.accepted.peer == two.client.node_id


def test_a_plain_stream_holds_no_more_than_a_secure_one_when_nobody_reads() -> None:
    window = 256 * 1024
    hostile = Hostile(tls=False, allow_plain_utp=True, service=None, utp=UtpConfig(receive_buffer=window))
    connection = hostile.raw.dial_plain(hostile.server.address)
    hostile.network.run(0.5)
    connection.send(b"x", hostile.network.now)
    hostile.raw.attachment.kick()
    hostile.network.run(0.5)
    hostile.accepted.is_paused = True
    connection.send(bytes(MEGABYTE), hostile.network.now)
    hostile.raw.attachment.kick()
    hostile.network.run(30)
    assert hostile.accepted.stream.readable <= RECEIVE_LIMIT + 65536
    assert connection.unacknowledged > MEGABYTE - RECEIVE_LIMIT - window - 2 * 65536
