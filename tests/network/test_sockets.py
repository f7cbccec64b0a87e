"""A node's sockets, with an adapter and a STUN server that the test plays."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from pknet.errors import StateError
from pknet.nat import Candidate, CandidateType, Mapping
from pknet.network import PublicAddressChanged, SocketReleased, SocketWanted
from pknet.network.sockets import FRESH_SOCKET_PATIENCE, MAX_FRESH_SOCKETS, NodeSockets
from pknet.stun import Attribute, MessageClass, Method, build_message, parse_message

if TYPE_CHECKING:
    from collections.abc import Hashable

OWN, PUBLIC = ("10.0.0.2", 1315), ("203.0.113.7", 1315)
SERVER = ("192.0.2.1", 1315)


class User:
    """Who wants a fresh socket."""

    def __init__(self) -> None:
        self.ready: list[Hashable] = []
        self.failed: list[str] = []

    def socket_ready(self, local: Hashable, now: float) -> None:
        self.ready.append(local)

    def socket_failed(self, reason: str, now: float) -> None:
        self.failed.append(reason)


class Sockets:
    """NodeSockets behind a NAT that keeps ports; the server answers while `answers` holds."""

    def __init__(self, *, own: tuple[str, int] = OWN, server: bool = True) -> None:
        self.now = 10.0
        self.events: list[Any] = []
        self.answers = True
        self.sockets = NodeSockets(random.Random(3).randbytes, self.events.append)
        self.sockets.start([own], None)
        if server:
            self.sockets.add_server(SERVER, None, self.now)
        self.settle()

    def settle(self) -> None:
        while transmits := self.sockets.transmits():
            for transmit in transmits:
                if not self.answers:
                    continue
                port = 1315 if transmit.local is None else 2000
                answer = build_message(
                    Method.BINDING,
                    MessageClass.SUCCESS_RESPONSE,
                    parse_message(transmit.data).transaction_id,
                    [(Attribute.XOR_MAPPED_ADDRESS, (PUBLIC[0], port))],
                )
                self.sockets.receive_message(parse_message(answer), SERVER, transmit.local, self.now)
            self.sockets.work(self.now)
        self.sockets.work(self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.sockets.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.sockets.handle_timeout(self.now)
            self.settle()
        self.now = end

    def want(self, user: User) -> int:
        self.sockets.want_fresh(user, self.now)
        (wanted,) = self.take(SocketWanted)
        number: int = wanted.number
        return number

    def open(self, user: User, local: str = "fresh") -> None:
        self.sockets.opened(self.want(user), local, [(OWN[0], 2000)], self.now)
        self.settle()

    def take(self, kind: type) -> list[Any]:
        taken = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        self.sockets._tell = self.events.append
        return taken


def test_the_primary_socket_is_described_by_where_it_is_and_where_it_is_seen() -> None:
    description = Sockets().sockets.describe(None)
    assert description is not None
    assert [candidate.address for candidate in description.candidates] == [OWN, PUBLIC]
    assert [candidate.type for candidate in description.candidates] == [
        CandidateType.HOST,
        CandidateType.SERVER_REFLEXIVE,
    ]


def test_a_node_without_nat_names_its_address_once() -> None:
    description = Sockets(own=PUBLIC).sockets.describe(None)
    assert description is not None
    assert [candidate.address for candidate in description.candidates] == [PUBLIC]
    assert description.mapping is Mapping.NONE


def test_a_description_fits_its_bounds_however_many_addresses_there_are() -> None:
    sockets = NodeSockets(random.Random(3).randbytes, lambda _: None)
    sockets.start([("fe80::1%eth0", 1315), *((f"10.0.{number}.1", 1315) for number in range(40))], None)
    description = sockets.describe(None)
    assert description is not None
    assert len(description.candidates) == 6
    assert description.decode(description.encode()) == description
    assert not any("%" in candidate.host for candidate in description.candidates)


def test_the_description_waits_for_the_public_address() -> None:
    world = Sockets(server=False)
    world.answers = False
    world.sockets.add_server(SERVER, None, world.now)
    world.settle()
    assert world.sockets.describe(None) is None
    world.run(3)
    description = world.sockets.describe(None)
    assert description is not None
    assert [candidate.address for candidate in description.candidates] == [OWN]


def test_a_fresh_socket_is_handed_on_when_its_address_is_known() -> None:
    world, user = Sockets(), User()
    world.open(user)
    assert user.ready == ["fresh"]
    description = world.sockets.describe("fresh")
    assert description is not None
    assert [candidate.address for candidate in description.candidates] == [(OWN[0], 2000), (PUBLIC[0], 2000)]


def test_a_fresh_socket_is_kept_alive_by_what_it_is_used_for_not_by_stun() -> None:
    world, user = Sockets(), User()
    world.open(user)
    world.sockets.hold("fresh")
    world.run(5)
    world.answers = False
    for _ in range(10):
        world.now += 10
        world.sockets.handle_timeout(world.now)
        assert all(transmit.local is None for transmit in world.sockets.transmits())


def test_a_fresh_socket_whose_address_cannot_be_learnt_is_given_back() -> None:
    world, user = Sockets(), User()
    world.answers = False
    world.open(user)
    assert world.sockets.describe("fresh") is None
    world.run(3)
    assert user.failed == ["its public address can't be learnt, for no STUN server answers"]
    assert world.take(SocketReleased) == [SocketReleased("fresh")]
    assert world.sockets.describe("fresh") is None


def test_without_any_stun_server_a_fresh_socket_is_known_by_its_own_address() -> None:
    world, user = Sockets(server=False), User()
    world.open(user)
    assert user.ready == ["fresh"]
    description = world.sockets.describe("fresh")
    assert description is not None
    assert [candidate.address for candidate in description.candidates] == [(OWN[0], 2000)]


def test_a_fresh_socket_that_nothing_uses_is_given_back_after_a_while() -> None:
    world, user = Sockets(), User()
    world.open(user)
    world.run(FRESH_SOCKET_PATIENCE - 1)
    assert world.take(SocketReleased) == []
    world.run(2)
    assert world.take(SocketReleased) == [SocketReleased("fresh")]


def test_a_fresh_socket_is_kept_as_long_as_a_connection_uses_it() -> None:
    world, user = Sockets(), User()
    world.open(user)
    world.sockets.hold("fresh")
    world.sockets.hold("fresh")
    world.sockets.hold("unknown")
    world.run(1000)
    world.sockets.let_go("fresh", world.now)
    world.run(1000)
    assert world.take(SocketReleased) == []
    world.sockets.let_go("fresh", world.now)
    world.sockets.let_go(None, world.now)
    world.run(FRESH_SOCKET_PATIENCE + 1)
    assert world.take(SocketReleased) == [SocketReleased("fresh")]


def test_only_so_many_fresh_sockets_are_asked_for() -> None:
    world, user = Sockets(), User()
    for number in range(MAX_FRESH_SOCKETS):
        world.open(user, f"fresh {number}")
    world.sockets.want_fresh(user, world.now)
    assert user.failed == ["too many are open"]
    assert world.take(SocketWanted) == []


def test_a_socket_that_cannot_be_had_is_reported_to_who_wanted_it() -> None:
    world, user = Sockets(), User()
    number = world.want(user)
    world.sockets.failed(number, "too many open files", world.now)
    assert user.failed == ["too many open files"]
    with pytest.raises(StateError):
        world.sockets.failed(number, "again", world.now)


def test_after_the_stop_nothing_is_asked_answered_or_kept() -> None:
    world, user = Sockets(), User()
    world.open(user)
    number = world.want(user)
    world.sockets.stop(world.now)
    assert world.take(SocketReleased) == [SocketReleased("fresh")]
    world.sockets.opened(number, "late", [], world.now)
    assert world.take(SocketReleased) == [SocketReleased("late")]
    world.sockets.want_fresh(user, world.now)
    assert user.failed == ["the node was stopped"]
    world.sockets.add_server(("192.0.2.5", 1315), None, world.now)
    request = parse_message(build_message(Method.BINDING, MessageClass.REQUEST, bytes(12)))
    world.sockets.receive_message(request, SERVER, None, world.now)
    assert world.sockets.transmits() == []
    assert world.sockets.next_timeout() is None


def test_the_public_address_is_told_once_for_each_change() -> None:
    world = Sockets()
    world.run(100)
    (event,) = world.take(PublicAddressChanged)
    assert event.public_address.address == PUBLIC


def test_a_server_that_is_this_node_or_of_the_wrong_kind_is_not_asked() -> None:
    world = Sockets(server=False)
    for server in (OWN, ("2001:db8::1", 1315), ("stun.example", 3478), ("", 1)):
        world.sockets.add_server(server, None, world.now)
    assert world.sockets.transmits() == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [("192.0.2.1", True), ("127.0.0.1", True), ("2001:db8::1", False), ("example.org", False), ("", False)],
)
def test_hosts_of_the_kind_that_the_socket_has_can_be_reached(host: str, expected: bool) -> None:
    assert Sockets().sockets.can_reach(host) is expected


def test_of_a_peers_candidates_those_are_left_that_packets_may_be_sent_to() -> None:
    world, user = Sockets(), User()
    world.open(user)
    named = [
        ("192.0.2.9", 1),
        OWN,
        PUBLIC,
        (OWN[0], 2000),
        (OWN[0], 2001),
        ("127.0.0.1", 1),
        ("255.255.255.255", 1),
        ("2001:db8::1", 1),
        ("evil.example", 1),
    ]
    candidates = [Candidate(CandidateType.HOST, *address) for address in named]
    left = world.sockets.reachable(candidates)
    assert [candidate.address for candidate in left] == [("192.0.2.9", 1), (OWN[0], 2001)]
