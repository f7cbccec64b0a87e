"""Two endpoints, and between them a path that does whatever paths do; hypothesis chooses what, and when."""

from __future__ import annotations

import math
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pknet._core.utp_invariants import check_connection
from pknet.utp import (
    CloseReason,
    ConnectionAccepted,
    ConnectionClosed,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
)

NAMES = ("dialler", "acceptor")
# A timer that is due by one clock is not before its time by another, whatever was rounded.
ROUNDING = 1e-6
# Seconds in which no timeout doubles so often that the next one falls behind peer_timeout.
CALM = 12
START = 5.0

sides = st.sampled_from((0, 1))
indices = st.integers(0, 1 << 16)


class Flight(NamedTuple):
    """A datagram, or a run of them of `size` bytes each, on the way to one side."""

    to: int
    data: bytes
    size: int | None = None
    is_damaged: bool = False

    def datagrams(self) -> list[Flight]:
        """Return its datagrams one by one."""
        size = self.size or len(self.data)
        return [Flight(self.to, self.data[at : at + size]) for at in range(0, len(self.data), size)]


class Side:
    """One end: a process, its clock, and what its program has sent and read."""

    def __init__(self, number: int, config: UtpConfig) -> None:
        self.config = config
        # The clocks have nothing in common.
        self.ahead = 1000.0 * number
        self.latest = self.started_at = START + self.ahead
        self.sent = bytearray()
        self.read = bytearray()
        self.finished = self.discards = self.was_restarted = False
        self.closed: ConnectionClosed | None = None
        self.start(number)

    def start(self, seed: int) -> None:
        """Start the process, which knows nothing, nor what time it is."""
        self.told = -math.inf
        self.endpoint = UtpEndpoint(Random(seed).randbytes, self.config)
        self.connection: UtpConnection | None = None

    def clock(self, now: float) -> float:
        """Return what its clock shows."""
        shows = now + self.ahead
        self.latest = max(self.latest, shows)
        self.told = max(self.told, shows)
        return shows

    def due(self) -> float | None:
        """Return when, by the time of the path, its next timer is due."""
        due = self.endpoint.next_timeout()
        return None if due is None else due - self.ahead + ROUNDING


class AnyPath(RuleBasedStateMachine):
    """The path loses, repeats, reorders and damages datagrams, and changes how long they may be.

    The ends sleep, their clocks are set, and they are started anew. The stream arrives whole and in order, or
    each end that is left learns that it did not; nothing is ever invented.

    Damage is loss here: UDP has a checksum, which finds each flipped bit, and uTP has none of its own.
    """

    @initialize(
        ceiling=st.sampled_from((300, 1402)), pace=st.sampled_from((1.0, 0.02, 0.02)), opens=st.booleans()
    )
    def dial(self, ceiling: int, pace: float, opens: bool) -> None:
        # Where all goes fast, nobody loses patience.
        self.pace = pace
        self.limit = 16 * ceiling
        config = UtpConfig(
            max_datagram=ceiling,
            receive_buffer=self.limit,
            send_buffer=12 * ceiling,
            peer_timeout=30,
            half_open_timeout=30,
            idle_timeout=60,
            keepalive=10,
        )
        self.now = START
        self.sides = [Side(0, config), Side(1, config)]
        self.under_way: list[Flight] = []
        # By receiver: the longest datagram that passes whole.
        self.mtus: list[int | None] = [None, None]
        self.routers_tell = False
        self.counter = Random(3)
        near = self.sides[0]
        near.connection = near.endpoint.connect(NAMES[1], near.clock(self.now))
        self.collect()
        if opens:
            self.deliver_many(3)

    # The path.

    @precondition(lambda self: self.under_way)
    @rule(index=indices, in_order=st.booleans(), hold=st.booleans())
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
    @rule(index=indices)
    def lose(self, index: int) -> None:
        self.under_way.pop(index % len(self.under_way))

    @precondition(lambda self: self.under_way)
    @rule(index=indices, part=st.integers(0, 50))
    def lose_of_a_run(self, index: int, part: int) -> None:
        datagrams = self.under_way.pop(index % len(self.under_way)).datagrams()
        del datagrams[part % len(datagrams)]
        self.under_way += datagrams

    @precondition(lambda self: self.under_way)
    @rule(index=indices, part=st.integers(0, 50), bit=st.integers(0, 8 * 20 - 1) | indices)
    def damage(self, index: int, part: int, bit: int) -> None:
        datagrams = self.under_way.pop(index % len(self.under_way)).datagrams()
        flight = datagrams[part % len(datagrams)]
        data = bytearray(flight.data)
        data[bit // 8 % len(data)] ^= 1 << bit % 8
        datagrams[part % len(datagrams)] = Flight(flight.to, bytes(data), is_damaged=True)
        self.under_way += datagrams

    @precondition(lambda self: self.under_way)
    @rule(index=indices)
    def duplicate(self, index: int) -> None:
        self.under_way.append(self.under_way[index % len(self.under_way)])

    @rule(to=sides, mtu=st.none() | st.integers(548, 1402), routers_tell=st.booleans())
    def change_mtu(self, to: int, mtu: int | None, routers_tell: bool) -> None:
        self.mtus[to] = mtu
        self.routers_tell = routers_tell

    # Time. What is held back is so within one moment: the contract is to take transmits before time passes.

    @rule(seconds=st.sampled_from((0.001, 0.02, 0.1, 0.6, 3.0, 11.0)))
    def pass_time(self, seconds: float) -> None:
        self.wait(self.pace * seconds, self.sides)

    @rule(side=sides, seconds=st.sampled_from((0.3, 4.0, 20.0, 100.0)))
    def sleep(self, side: int, seconds: float) -> None:
        """Stop a process; what comes for it meanwhile waits."""
        self.wait(self.pace * seconds, [self.sides[1 - side]])

    @rule(side=sides, seconds=st.sampled_from((-3.0, -0.05, 0.05, 2.0, 70.0)))
    def set_clock(self, side: int, seconds: float) -> None:
        self.collect()
        self.sides[side].ahead += self.pace * seconds
        self.fire(self.sides)

    @precondition(lambda self: self.now > START + CALM)
    @rule(side=sides)
    def restart(self, side: int) -> None:
        end = self.sides[side]
        if end.closed is None and not end.was_restarted:
            end.was_restarted = True
            end.start(side + 100)

    # The programs.

    @rule(side=sides, size=st.sampled_from((20_000, 3000, 100, 0)))
    def send(self, side: int, size: int) -> None:
        end = self.sides[side]
        if end.connection is None or end.connection.state == "CLOSED" or end.finished:
            return
        data = self.counter.randbytes(size)
        room = end.connection.writable
        taken = end.connection.send(data, end.clock(self.now))
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
            end.read += buffer[: end.connection.read_into(buffer, end.clock(self.now))]
        else:
            end.read += end.connection.read(size, end.clock(self.now))
        self.collect()

    @rule(side=sides)
    def finish(self, side: int) -> None:
        end = self.sides[side]
        if end.connection is not None:
            end.connection.finish(end.clock(self.now))
            end.finished = True
            self.collect()

    @precondition(lambda self: self.now > 20)
    @rule(side=sides)
    def close(self, side: int) -> None:
        end = self.sides[side]
        if end.connection is not None:
            end.connection.close(end.clock(self.now))
            end.finished = end.discards = True
            self.collect()

    @precondition(lambda self: self.now > 40)
    @rule(side=sides)
    def abort(self, side: int) -> None:
        end = self.sides[side]
        if end.connection is not None:
            end.connection.abort(end.clock(self.now))
            end.finished = True
            self.collect()

    @rule(side=sides, size=st.integers(150, 600))
    def change_path(self, side: int, size: int) -> None:
        end = self.sides[side]
        if end.connection is not None and end.connection.state in ("SYN_SENT", "CONNECTED"):
            now = end.clock(self.now)
            end.endpoint.rebind(end.connection, NAMES[1 - side], now, max_datagram=size)
            self.collect()

    # What holds at any time.

    @invariant()
    def everything_is_in_bounds(self) -> None:
        for side in self.sides:
            connection = side.connection
            if connection is None:
                continue
            check_connection(connection)
            assert 0 <= connection.in_flight <= connection.unacknowledged <= len(side.sent)
            # What came early may go beyond the limit by a quarter, and what it waited for by another.
            assert connection.readable <= 1.5 * self.limit
            if connection.state == "CLOSED":
                assert connection.close_reason is not None
            elif connection.close_reason is not None:
                # The program has closed, and need not wait for the peer to finish.
                assert side.discards
            if side.closed is not None:
                assert side.closed.reason is connection.close_reason
                assert side.closed.undelivered == connection.unacknowledged

    @invariant()
    def nothing_is_invented(self) -> None:
        for side, other in (self.sides, self.sides[::-1]):
            self.check_stream(side, other)

    def check_stream(self, side: Side, other: Side) -> None:
        """Check what a side has read, and what it was told of the end, against what the other has sent."""
        assert other.sent.startswith(side.read)
        if side.connection is None:
            return
        assert len(side.read) + side.connection.readable <= len(other.sent)
        if side.connection.at_eof and not side.discards:
            assert other.finished
            assert side.read == other.sent
        if side.closed is None or side.closed.reason is not CloseReason.FINISHED:
            return
        assert side.finished
        assert other.finished or side.discards
        assert side.closed.undelivered == 0
        if other.connection is not None and not other.discards:
            assert len(other.read) + other.connection.readable == len(side.sent)

    def teardown(self) -> None:
        """Mend the path, narrow as it may be: what both programs wait for has to come about."""
        if not hasattr(self, "sides"):
            return
        # By no clock so long that the next packet to be sent again may come too late.
        passed = max([self.now - START, *(side.latest - side.started_at for side in self.sides)])
        for _ in range(2000):
            while self.under_way:
                self.give(self.under_way.pop(0))
                self.collect()
            for side in self.sides:
                connection = side.connection
                if connection is not None:
                    while connection.readable:
                        side.read += connection.read(1 << 20, side.clock(self.now))
                    if not side.finished:
                        connection.finish(side.clock(self.now))
                        side.finished = True
                    self.collect()
            if all(side.closed or side.connection is None for side in self.sides) and not self.under_way:
                break
            self.wait(0.2, self.sides)
        self.everything_is_in_bounds()
        self.nothing_is_invented()
        self.check_end(is_all_to_arrive=passed < CALM)
        # And no trace of it is left, after the longest time that the last FIN is acknowledged again.
        self.wait(2 * self.sides[0].config.max_timeout + 1, self.sides)
        for side in self.sides:
            assert len(side.endpoint) == 0
            assert side.endpoint.next_timeout() is None

    def check_end(self, *, is_all_to_arrive: bool) -> None:
        """Check that each end that is left knows how it went."""
        for side, other in (self.sides, self.sides[::-1]):
            assert side.closed is not None or side.connection is None
            if side.closed is not None and side.closed.reason is CloseReason.FINISHED and not side.discards:
                assert side.read == other.sent
            assert side.endpoint.counters.malformed == 0
            if is_all_to_arrive:
                assert side.closed is not None
                # Who has all, and was told so, forgets the connection in the end; that a peer which slept has
                # not heard of it then is all that may go wrong.
                assert side.closed.reason is CloseReason.FINISHED or (
                    side.closed.reason is CloseReason.RESET
                    and other.closed is not None
                    and other.closed.reason is CloseReason.FINISHED
                    and other.read == side.sent
                )
        assert self.sides[0].closed is not None or self.sides[0].was_restarted

    # The wires.

    def give(self, flight: Flight) -> None:
        """Hand over what has arrived."""
        if flight.is_damaged and self.has_checksum():
            return
        side, remote = self.sides[flight.to], NAMES[1 - flight.to]
        now = side.clock(self.now)
        if flight.size is None:
            side.endpoint.receive_datagram(flight.data, remote, None, now)
        else:
            side.endpoint.receive_segments(flight.data, flight.size, remote, None, now)

    def has_checksum(self) -> bool:
        """Return whether what is damaged does not arrive."""
        return True

    def wait(self, seconds: float, awake: list[Side]) -> None:
        """Let time pass for those that are awake, with each of their timers fired at its moment."""
        self.collect()
        end = self.now + seconds
        while (due := min([end, *(due for side in awake if (due := side.due()) is not None)])) < end:
            self.now = max(self.now, due)
            self.fire(awake)
        self.now = end
        self.fire(self.sides)

    def fire(self, awake: list[Side]) -> None:
        """Tell what time it is."""
        for side in awake:
            side.endpoint.handle_timeout(side.clock(self.now))
        self.collect()
        # A timer that is done is not due again at once.
        for side in awake:
            due = side.endpoint.next_timeout()
            assert due is None or due > side.told

    def collect(self) -> None:
        """Take what both ends send, and what they tell."""
        for number, side in enumerate(self.sides):
            while transmits := side.endpoint.transmits():
                for transmit in transmits:
                    assert transmit.remote == NAMES[1 - number]
                    flight = Flight(1 - number, transmit.data, transmit.segment_size)
                    self.send_off(side, flight, transmit.dont_fragment)
            for event in side.endpoint.events():
                if isinstance(event, ConnectionAccepted) and side.connection is None:
                    side.connection = event.connection
                self.take_event(side, event)

    def send_off(self, side: Side, flight: Flight, dont_fragment: bool | None) -> None:
        """Put on the way what the path carries; say what is too long for it, if routers do."""
        mtu = self.mtus[flight.to]
        if mtu is None or not dont_fragment or max(len(piece.data) for piece in flight.datagrams()) <= mtu:
            self.under_way.append(flight)
            return
        for datagram in flight.datagrams():
            if len(datagram.data) <= mtu:
                self.under_way.append(datagram)
            elif self.routers_tell:
                side.endpoint.receive_packet_too_big(
                    datagram.data[:20], mtu, NAMES[flight.to], None, side.clock(self.now)
                )

    def take_event(self, side: Side, event: Any) -> None:
        """Note that a connection has ended; there is only one."""
        assert event.connection is side.connection
        if isinstance(event, ConnectionClosed):
            assert side.closed is None
            side.closed = event


class DamagedPath(AnyPath):
    """The path's damage comes through, as from a program that sends what it likes, or a broken network card.

    What the programs read can be anything then. But nothing raises, all stays in bounds, all ends, and
    nothing is left.
    """

    def has_checksum(self) -> bool:
        return False

    def check_stream(self, side: Side, other: Side) -> None:
        pass

    def check_end(self, *, is_all_to_arrive: bool) -> None:
        for side in self.sides:
            assert side.closed is not None or side.connection is None

    def take_event(self, side: Side, event: Any) -> None:
        # A SYN with another connection id makes another connection, which is left alone.
        if event.connection is side.connection:
            super().take_event(side, event)
