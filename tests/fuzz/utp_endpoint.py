"""A uTP endpoint among strangers: whatever they send, tables stay within their limits, nobody is flooded in
another's name, and in the end all is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from pknet.utp import (
    ConnectionAccepted,
    ConnectionClosed,
    Packet,
    PacketType,
    UtpConfig,
    UtpConnection,
    UtpEndpoint,
)
from tests.fuzz.clock import let_silence_end_it, let_time_pass
from tests.fuzz.target_input import TargetInput

MOST_SENT = 3000
CONFIG = UtpConfig(
    max_datagram=300,
    receive_buffer=2000,
    send_buffer=MOST_SENT,
    max_connections=6,
    max_connections_of_source=4,
    max_half_open=3,
    max_resets_per_second=8,
)
# A quarter more than the buffer may have come early, and is joined by what comes in order.
MOST_READABLE = 4500
REMOTES: tuple[Any, ...] = (("192.0.2.1", 1), ("192.0.2.1", 2), ("2001:db8::1", 1), "a name", None)


def one_input(data: bytes) -> None:
    strangers = Strangers(TargetInput(data))
    while strangers.source:
        strangers.step()
    let_silence_end_it([strangers.endpoint], strangers.now, strangers.collect)
    assert len(strangers.endpoint) == 0
    strangers.check_that_all_may_come()


def small_packet(source: TargetInput, type_: int) -> bytes:
    """Make a packet whose numbers are small, as those of the endpoint are here."""
    has_mask, size = divmod(source.u8(), 128)
    return bytes(
        Packet(
            PacketType(type_ % 5),
            connection_id=source.u8(),
            seq_nr=source.near_zero() & 0xFFFF,
            ack_nr=source.u8(),
            timestamp=source.u16(),
            timestamp_difference=source.u16() << 8,
            wnd_size=source.u16(),
            selective_ack=(source.take(4) or None) if has_mask else None,
            payload=source.take(size),
        )
    )


class Strangers:
    """An endpoint, its program, and what has passed between it and each remote."""

    def __init__(self, source: TargetInput) -> None:
        self.source = source
        tokens = count(1)
        self.endpoint = UtpEndpoint(lambda size: next(tokens).to_bytes(size, "big"), CONFIG)
        self.now = 100.0
        self.connections: list[UtpConnection] = []
        self.closed: set[UtpConnection] = set()
        self.discarding: set[UtpConnection] = set()
        self.received: Counter[Any] = Counter()
        self.sent: Counter[Any] = Counter()
        # Those that have shown that they receive what is sent to them, or were dialled.
        self.known: set[Any] = set()

    def step(self) -> None:
        control = self.source.u8()
        STEPS[control >> 4](self, control & 15)
        self.collect(self.now)
        self.check()

    def collect(self, now: float) -> None:
        transmits = self.endpoint.transmits()
        for event in self.endpoint.events():
            connection = event.connection
            if isinstance(event, ConnectionAccepted):
                self.connections.append(connection)
                self.known.add(connection.remote)
            if isinstance(event, ConnectionClosed):
                assert connection not in self.closed
                assert event.reason is connection.close_reason
                self.closed.add(connection)
        for transmit in transmits:
            for datagram in transmit.datagrams():
                assert 20 <= len(datagram) <= CONFIG.max_datagram
            self.sent[transmit.remote] += len(transmit.data)
            assert (
                transmit.remote in self.known or self.sent[transmit.remote] <= self.received[transmit.remote]
            )

    def check(self) -> None:
        endpoint = self.endpoint
        connections = endpoint.connections
        assert len(endpoint) == len(connections) <= CONFIG.max_connections
        states = Counter(connection.state for connection in connections)
        assert states["SYN_RECEIVED"] <= CONFIG.max_half_open
        for remote in REMOTES:
            assert set(endpoint.connections_with(remote)) <= set(connections)
        for connection in self.connections:
            assert connection.readable <= MOST_READABLE
            assert 0 <= connection.in_flight <= connection.unacknowledged <= MOST_SENT
            # Who has closed is told of the end when the peer has all, and waits for the peer's own unseen.
            if connection.state == "CLOSED" or connection not in self.discarding:
                assert (connection.state == "CLOSED") == (connection in self.closed)

    def check_that_all_may_come(self) -> None:
        """Have each remote dial once more: what was there before must not count any longer."""
        self.endpoint.accepting = True
        for remote in REMOTES:
            syn = bytes(Packet(PacketType.SYN, connection_id=1000, seq_nr=1))
            self.endpoint.receive_datagram(syn, remote, None, self.now)
            assert len(self.endpoint.connections_with(remote)) == 1

    # What strangers do.

    def give(self, data: bytes, segment_size: int | None) -> None:
        remote = REMOTES[self.source.u8() % len(REMOTES)]
        self.received[remote] += len(data)
        if segment_size is None:
            self.endpoint.receive_datagram(data, remote, None, self.now)
        else:
            self.endpoint.receive_segments(data, segment_size, remote, None, self.now)

    def receive_any(self, size: int) -> None:
        self.give(self.source.take(16 * size + self.source.u8()), None)

    def receive_run(self, size: int) -> None:
        segment_size = self.source.u8() + 1
        self.give(self.source.take(16 * size + self.source.u8()), segment_size)

    def receive_packet(self, type_: int) -> None:
        self.give(small_packet(self.source, type_), None)

    def receive_packets(self, number: int) -> None:
        packets = [small_packet(self.source, self.source.u8()) for _ in range(number)]
        self.give(b"".join(packets), max(map(len, packets), default=1))

    # What the program does.

    def connect(self, which: int) -> None:
        if len(self.endpoint) < CONFIG.max_connections:
            remote = REMOTES[which % len(REMOTES)]
            self.known.add(remote)
            self.connections.append(self.endpoint.connect(remote, self.now))

    def send(self, which: int) -> None:
        if self.connections:
            connection = self.connections[which % len(self.connections)]
            data = bytes(16 * self.source.u8())
            room = connection.writable
            if room:
                assert connection.send(data, self.now) == min(len(data), room)

    def read(self, which: int) -> None:
        if self.connections:
            connection = self.connections[which % len(self.connections)]
            readable = connection.readable
            limit = 16 * self.source.u8()
            assert len(connection.read(limit, self.now)) <= min(readable, limit)
            buffer = bytearray(limit)
            assert connection.read_into(buffer, self.now) <= min(readable, limit)

    def leave(self, how: int) -> None:
        if self.connections:
            connection = self.connections[(how >> 2) % len(self.connections)]
            verbs = (connection.finish, connection.close, connection.abort, connection.finish)
            if how & 3 == 1:
                self.discarding.add(connection)
            verbs[how & 3](self.now)

    def ask(self, which: int) -> None:
        if self.connections:
            connection = self.connections[which % len(self.connections)]
            assert connection.stats()
            assert repr(connection)

    def toggle(self, _: int) -> None:
        self.endpoint.accepting = not self.endpoint.accepting

    def wait(self, exponent: int) -> None:
        self.now = let_time_pass([self.endpoint], self.now, 2**exponent / 1000, self.collect)


STEPS: tuple[Callable[[Strangers, int], None], ...] = (
    Strangers.receive_packet,
    Strangers.receive_packet,
    Strangers.receive_packet,
    Strangers.receive_packets,
    Strangers.receive_packets,
    Strangers.receive_any,
    Strangers.receive_run,
    Strangers.connect,
    Strangers.send,
    Strangers.send,
    Strangers.read,
    Strangers.leave,
    Strangers.ask,
    Strangers.toggle,
    Strangers.wait,
    Strangers.wait,
)
