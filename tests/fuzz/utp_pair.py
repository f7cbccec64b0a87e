"""Two uTP endpoints, their programs, and a path that loses, repeats, reorders, changes and invents packets.

An input is a list of steps: a byte whose upper half says what happens and whose lower half to whom and how
much, then what that step reads. What is delivered is what was sent, unless a packet was forged; and whatever
happened, nothing raises, no buffer grows beyond its limit, no timer spins, and in the end all is forgotten.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from itertools import count
from typing import Any

from pknet._core.utp_invariants import check_connection
from pknet.utp import (
    CloseReason,
    ConnectionAccepted,
    ConnectionClosed,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
    parse_packet,
)
from tests.fuzz.clock import let_silence_end_it, let_time_pass, next_due
from tests.fuzz.target_input import TargetInput

NAMES = ("dialler", "acceptor")
CONTROLLERS = ("ledbat", "ledbat++", "cubic", "bbr")
SMALL = {"receive_buffer": 5000, "send_buffer": 4000}
# Buffers that grow from 1 MiB.
GROWING = {"buffer_growth": 1 << 20}
# What may wait to be read, and to be acknowledged: the receive buffer, a quarter more that came early, and as
# much again when it is joined by what comes in order.
LIMITS_OF_SMALL = (11_250, 4000)
LIMITS_OF_GROWING = (9 << 19, 32 << 20)
MOST_UNDER_WAY = 300
MAX_CONNECTIONS = 6
# So many times a mended path may deliver: a window at its least takes as many for what waits.
MOST_ROUNDS = 20_000
LONGEST_DATAGRAM = 1402

HEADER = struct.Struct(">BBHIIIHH")
Field = IntEnum(
    "Field",
    "TYPE CONNECTION_ID SEQ_NR TIMESTAMP TIMESTAMP_DIFFERENCE WND_SIZE ACK_NR SELECTIVE_ACK",
    start=0,
)
PLACES = {
    Field.TYPE: 0,
    Field.CONNECTION_ID: 2,
    Field.TIMESTAMP: 3,
    Field.TIMESTAMP_DIFFERENCE: 4,
    Field.WND_SIZE: 5,
    Field.SEQ_NR: 6,
    Field.ACK_NR: 7,
}
# What may be changed in a packet without a word of its payload getting another place or meaning.
HARMLESS_TO_PAYLOAD = set(Field) - {Field.TYPE, Field.CONNECTION_ID, Field.SEQ_NR}


def one_input(data: bytes) -> None:
    world = World(TargetInput(data))
    while world.source:
        world.step()
    world.end()


class Side:
    """One end, and what its program has sent and read on the first connection."""

    def __init__(self, number: int, config: UtpConfig, token_bytes: Callable[[int], bytes]) -> None:
        self.number = number
        self.endpoint = UtpEndpoint(token_bytes, config)
        self.connection: UtpConnection | None = None
        self.strays: list[UtpConnection] = []
        self.sent = bytearray()
        self.read = 0
        self.finished = self.discards = False
        self.closed: dict[UtpConnection, ConnectionClosed] = {}
        # Datagrams that are on their way to this side.
        self.under_way: list[bytes] = []


class World:
    """Both sides and the path between them."""

    def __init__(self, source: TargetInput) -> None:
        self.source = source
        choice = source.u8()
        config = UtpConfig(
            congestion_control=CONTROLLERS[choice & 3],
            nagle=bool(choice & 4),
            keepalive=None if choice & 8 else 10,
            max_connections=MAX_CONNECTIONS,
            max_datagram=1402 if choice & 64 else 300,
            **(GROWING if choice & 16 else SMALL),
        )
        self.most_readable, self.most_sent = LIMITS_OF_GROWING if choice & 16 else LIMITS_OF_SMALL
        first_number = source.u16()
        self.now = 1000.0 if choice & 32 else 4294.0
        self.sides = [Side(number, config, numbers_from(first_number + 1000 * number)) for number in range(2)]
        self.pieces = count()
        # Whether acknowledgements and windows are to be believed, and whether payload is.
        self.is_honest = self.payload_is_honest = True
        near = self.sides[0]
        near.connection = near.endpoint.connect(NAMES[1], self.now)
        self.collect(self.now)

    def step(self) -> None:
        control = self.source.u8()
        side = self.sides[control & 1]
        STEPS[control >> 4](self, side, control >> 1 & 7)
        self.collect(self.now)
        self.check()

    # The path.

    def deliver(self, side: Side, number: int) -> None:
        for _ in range(number + 1):
            if side.under_way:
                self.give(side, side.under_way.pop(0), None)

    def deliver_run(self, side: Side, exponent: int) -> None:
        """Deliver many at once, as GRO does: runs of equal datagrams, of which the last may be shorter."""
        for _ in range(2**exponent):
            run = side.under_way[:1]
            if not run:
                break
            while len(run) < len(side.under_way) and len(run[-1]) == len(run[0]):
                following = side.under_way[len(run)]
                if len(following) > len(run[0]):
                    break
                run.append(following)
            del side.under_way[: len(run)]
            self.give(side, b"".join(run), len(run[0]))

    def lose(self, side: Side, index: int) -> None:
        if side.under_way:
            side.under_way.pop(index % len(side.under_way))

    def repeat(self, side: Side, index: int) -> None:
        if side.under_way:
            side.under_way.append(side.under_way[index % len(side.under_way)])

    def delay(self, side: Side, index: int) -> None:
        if side.under_way:
            side.under_way.append(side.under_way.pop(index % len(side.under_way)))

    def change(self, side: Side, number: int) -> None:
        """Change one field of a packet that is under way."""
        if not side.under_way:
            return
        index = self.source.u8() % len(side.under_way)
        side.under_way[index] = self.changed(side.under_way[index], Field(number))

    def changed(self, datagram: bytes, field: Field) -> bytes:
        self.is_honest = False
        if field not in HARMLESS_TO_PAYLOAD:
            self.payload_is_honest = False
        fields = list(HEADER.unpack_from(datagram))
        rest = datagram[HEADER.size :]
        if field is Field.TYPE:
            fields[0] = (self.source.u8() % 5) << 4 | 1
        elif field is Field.SELECTIVE_ACK:
            mask = self.source.take(1 + self.source.u8() % 40)
            rest = bytes((fields[1], len(mask))) + mask + rest
            fields[1] = 1
        elif field in (Field.CONNECTION_ID, Field.SEQ_NR, Field.ACK_NR):
            place = PLACES[field]
            fields[place] = (fields[place] + self.source.near_zero()) & 0xFFFF
        else:
            fields[PLACES[field]] = self.source.number(4)
        return HEADER.pack(*fields) + rest

    def invent(self, side: Side, form: int) -> None:
        """Give a side bytes that nobody sent."""
        self.is_honest = self.payload_is_honest = False
        segment_size = self.source.u8() + 1 if form & 1 else None
        self.give(side, self.source.take(self.source.u8()), segment_size)

    def work(self, side: Side, exponent: int) -> None:
        """Let the path work as it should for a while, 10 ms each way, with both programs reading."""
        end = self.now + 0.01 * 2**exponent
        while self.now < end:
            for other in self.sides:
                self.deliver_run(other, 3)
                self.read_all(other)
                self.collect(self.now)
            is_busy = any(other.under_way for other in self.sides)
            self.pass_time(0.01 if is_busy else end - self.now)

    # The programs.

    def send(self, side: Side, exponent: int) -> None:
        connection = side.connection
        if connection is None or connection.state == "CLOSED" or side.finished:
            return
        piece = next(self.pieces).to_bytes(4, "big") * 4**exponent
        room = connection.writable
        taken = connection.send(piece, self.now)
        assert taken == min(len(piece), room)
        side.sent += piece[:taken]

    def read(self, side: Side, exponent: int) -> None:
        if side.connection is not None:
            self.take(side, side.connection.read(5 * 4**exponent, self.now))

    def read_into(self, side: Side, exponent: int) -> None:
        if side.connection is not None:
            buffer = bytearray(5 * 4**exponent)
            self.take(side, bytes(buffer[: side.connection.read_into(buffer, self.now)]))

    def read_all(self, side: Side) -> None:
        while side.connection is not None and side.connection.readable:
            self.take(side, side.connection.read(1 << 20, self.now))

    def take(self, side: Side, data: bytes) -> None:
        """Compare what was read with what the other side has sent."""
        if self.payload_is_honest:
            sent = self.sides[1 - side.number].sent
            assert data == sent[side.read : side.read + len(data)], "what was read was never sent"
        side.read += len(data)

    def leave(self, side: Side, how: int) -> None:
        connection = side.connection
        if connection is None:
            return
        side.finished = True
        if how < 4:
            connection.finish(self.now)
        elif how < 6:
            connection.close(self.now)
            side.discards = True
        else:
            connection.abort(self.now)

    def change_path(self, side: Side, number: int) -> None:
        connection = side.connection
        if connection is not None and connection.state in ("SYN_SENT", "CONNECTED"):
            side.endpoint.rebind(
                connection, NAMES[1 - side.number], self.now, max_datagram=150 + 150 * number
            )

    def change_controller(self, side: Side, number: int) -> None:
        if side.connection is not None:
            side.connection.congestion_control = CONTROLLERS[number & 3]

    def wait(self, side: Side, exponent: int) -> None:
        self.pass_time(2 ** (2 * exponent + side.number) / 1000)

    def pass_time(self, seconds: float) -> None:
        self.now = let_time_pass([side.endpoint for side in self.sides], self.now, seconds, self.collect)

    # What goes both ways.

    def give(self, side: Side, data: bytes, segment_size: int | None) -> None:
        remote = NAMES[1 - side.number]
        if segment_size is None:
            side.endpoint.receive_datagram(data, remote, None, self.now)
        else:
            side.endpoint.receive_segments(data, segment_size, remote, None, self.now)

    def collect(self, now: float) -> None:
        for side in self.sides:
            other = self.sides[1 - side.number]
            for transmit in side.endpoint.transmits():
                assert transmit.remote == NAMES[other.number]
                for datagram in transmit.datagrams():
                    assert len(datagram) <= LONGEST_DATAGRAM
                    parse_packet(datagram)
                    if len(other.under_way) < MOST_UNDER_WAY:
                        other.under_way.append(datagram)
            for event in side.endpoint.events():
                self.handle_event(side, event)

    def handle_event(self, side: Side, event: Any) -> None:
        connection = event.connection
        if isinstance(event, ConnectionAccepted):
            if side.connection is None:
                side.connection = connection
            else:
                side.strays.append(connection)
        assert connection is side.connection or connection in side.strays
        if isinstance(event, ConnectionClosed):
            assert connection not in side.closed
            side.closed[connection] = event

    # What holds at any time.

    def check(self) -> None:
        for side in self.sides:
            assert len(side.endpoint) <= MAX_CONNECTIONS
            for connection in (side.connection, *side.strays):
                if connection is not None:
                    self.check_connection(side, connection)

    def check_connection(self, side: Side, connection: UtpConnection) -> None:
        stats = connection.stats()
        check_connection(connection)
        assert 0 <= connection.in_flight <= connection.unacknowledged <= self.most_sent
        assert connection.readable <= self.most_readable
        assert stats.rtt is None or 0 < stats.rtt <= self.now
        assert stats.window > 0
        # Who has closed is told of the end when the peer has all, and waits for the peer's own unseen.
        if connection.state == "CLOSED" or not side.discards:
            assert (connection.state == "CLOSED") == (connection.close_reason is not None)
        closed = side.closed.get(connection)
        if closed is not None:
            assert closed.reason is connection.close_reason
            assert closed.undelivered == connection.unacknowledged

    # The end.

    def end(self) -> None:
        if self.is_honest:
            self.mend()
        self.now += 1e-3
        let_silence_end_it([side.endpoint for side in self.sides], self.now, self.collect)
        assert not any(len(side.endpoint) for side in self.sides)

    def mend(self) -> None:
        """Let the path work again until both programs have what they wait for."""
        machines = [side.endpoint for side in self.sides]
        for _ in range(MOST_ROUNDS):
            for side in self.sides:
                self.deliver_run(side, 7)
                self.read_all(side)
                if side.connection is not None and not side.finished:
                    side.connection.finish(self.now)
                    side.finished = True
                self.collect(self.now)
            is_busy = any(side.under_way for side in self.sides)
            due = next_due(machines)
            if not is_busy and (due is None or self.is_over()):
                break
            self.pass_time(0.01 if is_busy or due is None else max(due - self.now, 0))
        self.check()
        assert self.is_over(), "two programs that have finished wait for ever"
        for side in self.sides:
            closed = None if side.connection is None else side.closed.get(side.connection)
            if closed is not None and closed.reason is CloseReason.FINISHED and not side.discards:
                assert side.read == len(self.sides[1 - side.number].sent)

    def is_over(self) -> bool:
        return all(side.connection is None or side.connection in side.closed for side in self.sides)


def numbers_from(first: int) -> Callable[[int], bytes]:
    """Return a source of bytes that makes connection ids and sequence numbers near `first`."""
    numbers = count(first, 3)
    return lambda size: (next(numbers) & 0xFFFF).to_bytes(size, "big")


STEPS: tuple[Callable[[World, Side, int], None], ...] = (
    World.deliver,
    World.deliver_run,
    World.lose,
    World.repeat,
    World.delay,
    World.change,
    World.invent,
    World.work,
    World.send,
    World.read,
    World.read_into,
    World.leave,
    World.change_path,
    World.change_controller,
    World.wait,
    World.wait,
)
