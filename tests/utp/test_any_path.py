"""Under any loss, reordering, duplication and delay, a stream arrives as it was sent.

Either it arrives whole and in order, or the connection closes with a reason; nothing is ever invented.
"""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pknet.utp import (
    CloseReason,
    ConnectionAccepted,
    ConnectionClosed,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
)

LIMIT = 5000
CONFIG = UtpConfig(
    max_datagram=300,
    receive_buffer=LIMIT,
    send_buffer=4000,
    peer_timeout=30,
    half_open_timeout=30,
    keepalive=10,
)
NAMES = ("dialler", "acceptor")
sides = st.sampled_from((0, 1))


class Side:
    """One end: what was sent and read by its program."""

    def __init__(self, number: int) -> None:
        self.endpoint = UtpEndpoint(Random(number).randbytes, CONFIG)
        self.connection: UtpConnection | None = None
        self.sent = bytearray()
        self.read = bytearray()
        self.finished = self.discards = self.told_of_end = False
        self.closed: ConnectionClosed | None = None


class AnyPath(RuleBasedStateMachine):
    """Two endpoints, and the datagrams that are on their way between them."""

    @initialize()
    def dial(self) -> None:
        self.now = 5.0
        self.sides = [Side(0), Side(1)]
        # (receiver, run, segment size): as one datagram where the segment size is None.
        self.under_way: list[tuple[int, bytes, int | None]] = []
        self.counter = Random(3)
        self.sides[0].connection = self.sides[0].endpoint.connect(NAMES[1], self.now)
        self.collect()

    # The path.

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 1 << 16), in_order=st.booleans(), hold=st.booleans())
    def deliver(self, index: int, in_order: bool, hold: bool) -> None:
        self.give(self.under_way.pop(0 if in_order else index % len(self.under_way)))
        if not hold:
            self.collect()

    @rule(count=st.integers(1, 30))
    def deliver_many(self, count: int) -> None:
        for _ in range(count):
            if self.under_way:
                self.give(self.under_way.pop(0))
                self.collect()

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 1 << 16))
    def lose(self, index: int) -> None:
        self.under_way.pop(index % len(self.under_way))

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 1 << 16), part=st.integers(0, 50))
    def lose_of_a_run(self, index: int, part: int) -> None:
        to, data, size = self.under_way.pop(index % len(self.under_way))
        pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
        del pieces[part % len(pieces)]
        self.under_way += [(to, piece, None) for piece in pieces]

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 1 << 16))
    def duplicate(self, index: int) -> None:
        self.under_way.append(self.under_way[index % len(self.under_way)])

    @rule(seconds=st.sampled_from((0.001, 0.02, 0.1, 0.6, 3.0, 11.0)))
    def pass_time(self, seconds: float) -> None:
        # What is held back is so within one moment: the contract is to take transmits before time passes.
        self.collect()
        end = self.now + seconds
        while True:
            due = min(
                (d for d in (side.endpoint.next_timeout() for side in self.sides) if d is not None),
                default=end,
            )
            if due >= end:
                break
            self.now = max(self.now, due)
            self.fire()
        self.now = end
        self.fire()

    # The programs.

    @rule(side=sides, size=st.integers(0, 6000))
    def send(self, side: int, size: int) -> None:
        end = self.sides[side]
        if end.connection is None or end.connection.state == "CLOSED" or end.finished:
            return
        data = self.counter.randbytes(size)
        room = end.connection.writable
        taken = end.connection.send(data, self.now)
        assert taken == min(size, room)
        end.sent += data[:taken]
        self.collect()

    @rule(side=sides, size=st.integers(0, 6000), into_buffer=st.booleans())
    def read(self, side: int, size: int, into_buffer: bool) -> None:
        end = self.sides[side]
        if end.connection is None:
            return
        if into_buffer:
            buffer = bytearray(size)
            end.read += buffer[: end.connection.read_into(buffer, self.now)]
        else:
            end.read += end.connection.read(size, self.now)
        self.collect()

    @rule(side=sides)
    def finish(self, side: int) -> None:
        end = self.sides[side]
        if end.connection is not None:
            end.connection.finish(self.now)
            end.finished = True
            self.collect()

    @precondition(lambda self: self.now > 20)
    @rule(side=sides)
    def close(self, side: int) -> None:
        end = self.sides[side]
        if end.connection is not None:
            end.connection.close(self.now)
            end.finished = end.discards = True
            self.collect()

    @precondition(lambda self: self.now > 40)
    @rule(side=sides)
    def abort(self, side: int) -> None:
        end = self.sides[side]
        if end.connection is not None:
            end.connection.abort(self.now)
            end.finished = True
            self.collect()

    @rule(side=sides, size=st.integers(150, 600))
    def change_path(self, side: int, size: int) -> None:
        end = self.sides[side]
        if end.connection is not None and end.connection.state in ("SYN_SENT", "CONNECTED"):
            end.endpoint.rebind(end.connection, NAMES[1 - side], self.now, max_datagram=size)
            self.collect()

    # What holds at any time.

    @invariant()
    def nothing_is_invented(self) -> None:
        for side, other in (self.sides, self.sides[::-1]):
            assert other.sent.startswith(side.read)
            connection = side.connection
            if connection is None:
                continue
            assert len(side.read) + connection.readable <= len(other.sent)
            if connection.at_eof and not side.discards:
                assert other.finished
                assert side.read == other.sent
            assert 0 <= connection.in_flight <= connection.unacknowledged <= len(side.sent)
            # What came early may go beyond the limit by a quarter, and is joined by what comes in order.
            assert connection.readable <= 2.25 * LIMIT
            if connection.state == "CLOSED":
                assert connection.close_reason is not None
            elif connection.close_reason is not None:
                # The program has closed, and need not wait for the peer to finish.
                assert side.discards

    @invariant()
    def an_end_has_one_reason(self) -> None:
        for side, other in (self.sides, self.sides[::-1]):
            if side.closed is None:
                continue
            assert side.connection is not None
            assert side.closed.reason is side.connection.close_reason
            assert side.closed.undelivered == side.connection.unacknowledged
            if side.closed.reason is CloseReason.FINISHED:
                assert side.finished
                assert other.finished or side.discards
                assert side.closed.undelivered == 0

    def teardown(self) -> None:
        """Mend the path: what both programs wait for has to come about."""
        if not hasattr(self, "sides"):
            return
        for _ in range(2000):
            while self.under_way:
                self.give(self.under_way.pop(0))
                self.collect()
            for side in self.sides:
                connection = side.connection
                if connection is not None:
                    while connection.readable:
                        side.read += connection.read(1 << 20, self.now)
                    if not side.finished:
                        connection.finish(self.now)
                        side.finished = True
                    self.collect()
            if all(side.closed or side.connection is None for side in self.sides) and not self.under_way:
                break
            self.pass_time(0.2)
        self.nothing_is_invented()
        self.an_end_has_one_reason()
        near, far = self.sides
        assert near.closed is not None
        for side, other in (self.sides, self.sides[::-1]):
            if side.closed is not None and side.closed.reason is CloseReason.FINISHED and not side.discards:
                assert side.read == other.sent
        # And no trace of it is left, after the longest time that the last FIN is acknowledged again.
        self.pass_time(2 * CONFIG.max_timeout + 1)
        assert len(near.endpoint) == len(far.endpoint) == 0
        assert near.endpoint.next_timeout() is far.endpoint.next_timeout() is None
        for side in self.sides:
            assert side.endpoint.counters.malformed == 0

    # The wires.

    def give(self, item: tuple[int, bytes, int | None]) -> None:
        to, data, size = item
        endpoint = self.sides[to].endpoint
        if size is None:
            endpoint.receive_datagram(data, NAMES[1 - to], None, self.now)
        else:
            endpoint.receive_segments(data, size, NAMES[1 - to], None, self.now)

    def fire(self) -> None:
        for side in self.sides:
            side.endpoint.handle_timeout(self.now)
        self.collect()
        # A timer that is done is not due again at once.
        for side in self.sides:
            due = side.endpoint.next_timeout()
            assert due is None or due > self.now

    def collect(self) -> None:
        for number, side in enumerate(self.sides):
            for transmit in side.endpoint.transmits():
                assert transmit.remote == NAMES[1 - number]
                self.under_way.append((1 - number, transmit.data, transmit.segment_size))
            for event in side.endpoint.events():
                if isinstance(event, ConnectionAccepted) and side.connection is None:
                    side.connection = event.connection
                assert event.connection is side.connection
                if isinstance(event, ConnectionClosed):
                    assert side.closed is None
                    side.closed = event


AnyPath.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAnyPath = AnyPath.TestCase
