"""A node among strangers: whatever comes on its sockets and its signalling streams is dropped, refused or
answered, nobody is flooded in another's name, and in the end all is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pknet.network import (
    Identity,
    Node,
    NodeConfig,
    NodeInfo,
    NodeStream,
    SignallingWanted,
    SocketWanted,
)
from pknet.network.framing import frame
from pknet.stun import build_message
from pknet.utp import ConnectionAccepted, ConnectionClosed, DataReceived, UtpEvent
from tests.fuzz.clock import let_silence_end_it, let_time_pass
from tests.fuzz.stun_message import MOST_GROWTH
from tests.fuzz.target_input import TargetInput
from tests.fuzz.utp_endpoint import small_packet

ONE, OTHER = (Identity(Ed25519PrivateKey.from_private_bytes(bytes([n] * 32))) for n in (1, 2))
SECRET = bytes(range(16))
HERE = ("192.0.2.9", 1315)
REMOTES = (("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.2", 1))


def one_input(data: bytes) -> None:
    strangers = NodeStrangers(TargetInput(data))
    while strangers.source:
        strangers.step()
    let_silence_end_it([strangers.node], strangers.now, strangers.collect)
    assert len(strangers.node.utp) == len(strangers.node.meetings) == 0
    assert strangers.node.streams == set()


class NodeStrangers:
    """A node, its program and sockets, and what has passed between it and each remote."""

    def __init__(self, source: TargetInput) -> None:
        self.source = source
        self.now = 100.0
        choice = source.u8()
        tokens = count(1)
        self.node = Node(
            ONE,
            lambda size: next(tokens).to_bytes(size, "big"),
            NodeConfig(
                secrets={SECRET},
                admit=lambda _: bool(choice & 1),
                allow_plain_utp=bool(choice & 2),
                introduces=bool(choice & 4),
            ),
        )
        self.node.start([HERE], self.now)
        self.signalling: list[int] = []
        self.streams: list[NodeStream] = []
        self.allowed: Counter[Any] = Counter()
        self.known: set[Any] = set()
        self.collect(self.now)

    def step(self) -> None:
        control = self.source.u8()
        STEPS[control >> 4](self, control & 15)
        self.collect(self.now)

    def collect(self, now: float) -> None:
        while True:
            for transmit in self.node.transmits():
                self.allowed[transmit.remote] -= len(transmit.data)
                assert transmit.remote in self.known or self.allowed[transmit.remote] >= 0
            events = self.node.events()
            if not events:
                break
            for event in events:
                self.handle_event(event, now)

    def handle_event(self, event: Any, now: float) -> None:
        match event:
            case SocketWanted(number):
                if number % 2:
                    self.node.socket_opened(number, number, [(HERE[0], 2000 + number)], now)
                else:
                    self.node.socket_failed(number, "there is none", now)
            case SignallingWanted(number):
                self.signalling.append(number)
            case ConnectionAccepted(stream):
                self.streams.append(stream)
            case DataReceived(stream):
                while stream.readable:
                    assert stream.read(1 << 16, now)
            case ConnectionClosed(stream):
                assert not stream.is_open
            case UtpEvent():
                assert event.connection.context is None

    # What strangers do.

    def give(self, data: bytes, segment_size: int | None = None) -> None:
        remote = REMOTES[self.source.u8() % len(REMOTES)]
        self.allowed[remote] += len(data) + MOST_GROWTH * (1 + len(data) // (segment_size or len(data) or 1))
        if segment_size is None:
            self.node.receive_datagram(data, remote, None, self.now)
        else:
            self.node.receive_segments(data, segment_size, remote, None, self.now)
        if any(connection.state != "SYN_RECEIVED" for connection in self.node.utp.connections_with(remote)):
            # It has shown that it receives what is sent to it, and TLS may say more than it hears.
            self.known.add(remote)

    def receive_packet(self, type_: int) -> None:
        self.give(small_packet(self.source, type_))

    def receive_stun(self, kind: int) -> None:
        """Receive a STUN message of any class, with two attributes."""
        attributes = [(self.source.u16(), self.source.take(self.source.u8() & 63)) for _ in range(2)]
        key = SECRET if kind & 4 else None
        try:
            message = build_message(
                1, kind & 3, self.source.take(12).ljust(12, b"\0"), attributes, integrity_key=key
            )
        except ValueError:
            return
        self.give(message)

    def receive_any(self, size: int) -> None:
        self.give(self.source.take(16 * size + self.source.u8()))

    def receive_run(self, size: int) -> None:
        segment_size = self.source.u8() + 1
        self.give(self.source.take(16 * size + self.source.u8()), segment_size)

    def accept_signalling(self, _: int) -> None:
        if len(self.signalling) < 20:
            self.signalling.append(self.node.accept_signalling(self.now))

    def receive_signalling(self, which: int) -> None:
        if self.signalling:
            number = self.signalling[which % len(self.signalling)]
            payload = self.source.take(self.source.u16() & 511)
            self.node.receive_signalling(number, frame(payload), self.now)

    def receive_bare_signalling(self, which: int) -> None:
        if self.signalling:
            number = self.signalling[which % len(self.signalling)]
            self.node.receive_signalling(number, self.source.take(self.source.u8()), self.now)

    def signalling_changes(self, which: int) -> None:
        if self.signalling:
            number = self.signalling[which // 2 % len(self.signalling)]
            if which % 2:
                self.node.signalling_opened(number, self.now)
            else:
                self.node.signalling_ended(number, "why", self.now)

    # What the program does.

    def connect(self, which: int) -> None:
        if len(self.streams) < 8:
            remote = REMOTES[which % len(REMOTES)]
            self.known.add(remote)
            self.streams.append(self.node.connect(NodeInfo(OTHER.node_id, (remote,)), self.now))

    def leave(self, which: int) -> None:
        if self.streams:
            stream = self.streams[which // 4 % len(self.streams)]
            verbs = (stream.finish, stream.close, stream.abort, stream.close)
            verbs[which % 4](self.now)

    def send(self, which: int) -> None:
        if self.streams:
            stream = self.streams[which % len(self.streams)]
            if stream.writable and not stream.is_closing:
                stream.send(bytes(16 * self.source.u8()), self.now)

    def wait(self, exponent: int) -> None:
        self.now = let_time_pass([self.node], self.now, 2**exponent / 1000, self.collect)


STEPS: tuple[Callable[[NodeStrangers, int], None], ...] = (
    NodeStrangers.receive_packet,
    NodeStrangers.receive_packet,
    NodeStrangers.receive_packet,
    NodeStrangers.receive_stun,
    NodeStrangers.receive_stun,
    NodeStrangers.receive_any,
    NodeStrangers.receive_run,
    NodeStrangers.accept_signalling,
    NodeStrangers.receive_signalling,
    NodeStrangers.receive_signalling,
    NodeStrangers.receive_bare_signalling,
    NodeStrangers.signalling_changes,
    NodeStrangers.connect,
    NodeStrangers.leave,
    NodeStrangers.send,
    NodeStrangers.wait,
)
