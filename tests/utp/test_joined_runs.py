"""Packets of several connections to one remote leave in one run, as those of a single one do."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from pknet.utp import PacketType, UtpConfig, UtpConnection, UtpEndpoint, parse_packet

if TYPE_CHECKING:
    from pknet import Transmit

NEAR, FAR, ELSEWHERE = ("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.3", 1)
CONFIG = UtpConfig(path_mtu_discovery=False, max_connections_of_source=200)
PAYLOAD = 1402 - 20


class Ends:
    """An endpoint at NEAR that has dialled others, in memory."""

    def __init__(self, *remotes: tuple[str, int]) -> None:
        self.near = UtpEndpoint(Random(1).randbytes, CONFIG)
        self.far = {remote: UtpEndpoint(Random(2).randbytes, CONFIG) for remote in remotes}
        self.now = 1.0
        self.dialled = [self.near.connect(remote, self.now) for remote in remotes]
        for _ in range(3):
            self.deliver(self.near.transmits())
            self.answers()
        assert all(connection.state == "CONNECTED" for connection in self.dialled)

    def deliver(self, transmits: list[Transmit]) -> None:
        self.now += 0.01
        for transmit in transmits:
            for datagram in transmit.datagrams():
                self.far[transmit.remote].receive_datagram(datagram, NEAR, None, self.now)  # type: ignore[index]

    def answers(self) -> list[Transmit]:
        """Deliver what the far ends say, and return it."""
        said = []
        for remote, endpoint in self.far.items():
            for transmit in endpoint.transmits():
                said.append(transmit)
                for datagram in transmit.datagrams():
                    self.near.receive_datagram(datagram, remote, None, self.now)
        return said

    def send(self, *sizes: int) -> list[Transmit]:
        """Have each connection send so much; return what leaves."""
        for connection, size in zip(self.dialled, sizes, strict=False):
            connection.send(bytes([size % 251]) * size, self.now)
        return self.near.transmits()


def counts(transmits: list[Transmit]) -> list[int]:
    return [len(transmit.datagrams()) for transmit in transmits]


def accepted(endpoint: UtpEndpoint) -> list[UtpConnection]:
    return sorted(endpoint.connections, key=lambda connection: connection.bytes_received)


def test_what_many_connections_send_leaves_in_runs_that_fit_into_one_call_and_arrives() -> None:
    ends = Ends(*[FAR] * 100)
    sizes = [PAYLOAD] * 50 + [2 * PAYLOAD] * 50
    runs = ends.send(*sizes)
    assert counts(runs) == [44, 44, 44, 18]
    assert max(len(run.data) for run in runs) < 1 << 16
    ends.deliver(runs)
    assert [(c.readable, c.read(1 << 20, ends.now)) for c in accepted(ends.far[FAR])] == [
        (size, bytes([size % 251]) * size) for size in sizes
    ]
    # So do the acknowledgements: no more in one run than every UDP_SEGMENT takes.
    said = ends.answers()
    assert counts(said) == [64, 36]
    assert {parse_packet(datagram).type for run in said for datagram in run.datagrams()} == {PacketType.STATE}
    assert not any(connection.unacknowledged for connection in ends.dialled)


def test_a_shorter_packet_ends_a_run() -> None:
    ends = Ends(*[FAR] * 4)
    runs = ends.send(2 * PAYLOAD, 100, 100, PAYLOAD)
    assert [(run.segment_size, len(run.data)) for run in runs] == [
        (PAYLOAD + 20, 2 * (PAYLOAD + 20) + 120),
        (None, 120),
        (None, PAYLOAD + 20),
    ]


def test_packets_to_different_remotes_are_not_joined() -> None:
    ends = Ends(FAR, ELSEWHERE, ELSEWHERE, FAR)
    runs = ends.send(*[PAYLOAD] * 4)
    assert [(run.remote, len(run.datagrams())) for run in runs] == [(FAR, 1), (ELSEWHERE, 2), (FAR, 1)]
