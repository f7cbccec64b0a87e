"""The table of a node's meetings: its bounds, its timers, and who hears what."""

from __future__ import annotations

from typing import Any

import pytest

from pknet.errors import StateError
from pknet.network import SignallingData, SignallingEnded, SignallingWanted
from pknet.network.meeting import STEP_TIMEOUT
from pknet.network.meetings import MAX_ACCEPTED, MEMORY, OFFER_BURST, OFFER_RATE, Meetings
from pknet.stun import Attribute, MessageClass, Method, build_message, parse_message
from tests.network.test_meeting import FAR, IDENTITIES, NEAR, Host
from tests.network.world import World


class Telling(Host):
    """A host that keeps what it is told."""

    def __init__(self, number: int, public: tuple[str, int]) -> None:
        super().__init__(number, public)
        self.told: list[Any] = []

    def tell(self, event: object) -> None:
        self.told.append(event)

    def take(self) -> list[Any]:
        told, self.told = self.told, []
        return told


class Two:
    """Two nodes' meetings, whose signalling streams the test carries."""

    def __init__(self) -> None:
        self.near_host, self.far_host = Telling(0, NEAR), Telling(1, FAR)
        self.near, self.far = Meetings(self.near_host), Meetings(self.far_host)
        self.now = 10.0

    def meet(self) -> tuple[int, int]:
        """Have the two meet; return the numbers of the meeting on both sides."""
        meeting = self.near.begin(IDENTITIES[1].node_id, b"", self.now)
        there = self.far.accept_stream(self.now)
        self.near.stream_opened(meeting.number, self.now)
        self.carry(meeting.number, there)
        return meeting.number, there

    def carry(self, here: int, there: int) -> None:
        while True:
            said = [*self.near_host.take(), None, *self.far_host.take()]
            middle = said.index(None)
            if not any(isinstance(event, SignallingData) for event in said):
                break
            for event in said[:middle]:
                if isinstance(event, SignallingData):
                    self.far.stream_received(there, event.data, self.now)
            for event in said[middle:]:
                if isinstance(event, SignallingData):
                    self.near.stream_received(here, event.data, self.now)


def check_of(meetings: Meetings) -> bytes:
    """Return the first check that some meetings send."""
    return next(item.data for item in meetings.transmits() if item.ttl is None)


def test_checks_and_answers_find_the_meeting_that_they_are_for() -> None:
    two = Two()
    for _ in range(3):
        two.meet()
    checks = [item.data for item in two.far.transmits()]
    assert len(checks) == 3
    for check in checks:
        assert two.near.receive_message(parse_message(check), FAR, None, two.now)
    answers = [
        item.data
        for item in two.near.transmits()
        if parse_message(item.data).message_class is MessageClass.SUCCESS_RESPONSE
    ]
    assert len(answers) == 3
    for answer in answers:
        assert two.far.receive_message(parse_message(answer), NEAR, None, two.now)
    assert two.near.unproven_checks == two.far.unproven_checks == 0


def test_what_is_no_meetings_check_is_left_to_others() -> None:
    two = Two()
    two.meet()
    for attributes in ([], [(Attribute.USERNAME, "somebody:else")]):
        for message_class in MessageClass:
            message = build_message(Method.BINDING, message_class, bytes(12), attributes)
            assert not two.near.receive_message(parse_message(message), FAR, None, two.now)


def test_a_forged_check_is_counted() -> None:
    two = Two()
    two.meet()
    username = parse_message(check_of(two.far)).get(Attribute.USERNAME)
    assert username is not None
    forged = build_message(
        Method.BINDING,
        MessageClass.REQUEST,
        bytes(12),
        [(Attribute.USERNAME, username)],
        integrity_key=bytes(32),
    )
    assert two.near.receive_message(parse_message(forged), FAR, None, two.now)
    assert two.near.unproven_checks == 1


def test_a_meeting_that_is_over_answers_checks_for_a_while_and_is_forgotten() -> None:
    two = Two()
    number, _ = two.meet()
    check = check_of(two.far)
    two.near.stream_ended(number, "", two.now)
    end = two.now + 5
    while (due := two.near.next_timeout()) is not None and due < end:
        two.near.handle_timeout(due)
    two.near.handle_timeout(end)
    assert two.near.receive_message(parse_message(check), FAR, None, end) is False
    assert len(two.near) == 1
    two.near.handle_timeout(end + MEMORY)
    assert len(two.near) == 0
    assert two.near.next_timeout() is None
    assert two.near._of_username == {}


def test_signalling_is_wanted_used_and_ended_in_that_order() -> None:
    two = Two()
    meeting = two.near.begin(IDENTITIES[1].node_id, b"", two.now)
    assert two.near_host.take() == [SignallingWanted(meeting.number, IDENTITIES[1].node_id)]
    two.near.work(two.now)
    assert two.near_host.take() == []
    two.near.stream_opened(meeting.number, two.now)
    (data,) = two.near_host.take()
    assert isinstance(data, SignallingData)
    two.near.cancel(meeting, "not wanted any more", two.now)
    two.near.cancel(meeting, "not wanted any more", two.now)
    assert two.near_host.take() == [SignallingEnded(meeting.number)]


def test_nothing_is_said_on_a_signalling_stream_that_has_ended() -> None:
    two = Two()
    two.near_host.is_ready = False
    meeting = two.near.begin(IDENTITIES[1].node_id, b"", two.now)
    two.near.stream_opened(meeting.number, two.now)
    two.near.stream_ended(meeting.number, "the rope broke", two.now)
    two.near_host.is_ready = True
    two.near.work(two.now)
    two.near.handle_timeout(two.now + 100)
    assert two.near_host.take() == [SignallingWanted(meeting.number, IDENTITIES[1].node_id)]
    assert meeting.failure == "the rope broke"


def test_meetings_that_others_begin_are_rationed() -> None:
    two = Two()
    for _ in range(int(OFFER_BURST)):
        two.far.accept_stream(two.now)
    with pytest.raises(StateError, match="too many"):
        two.far.accept_stream(two.now)
    two.far.accept_stream(two.now + 1 / OFFER_RATE)
    assert two.far.refused == 1
    # What a rendezvous node brings has a ration of its own.
    channel: Any = object()
    assert two.far.accept_channel(channel, IDENTITIES[2].node_id, two.now) == ""


def test_there_are_never_more_than_so_many_and_own_ones_do_not_count() -> None:
    two = Two()
    for _ in range(MAX_ACCEPTED + 10):
        two.far.begin(IDENTITIES[0].node_id, b"", two.now)
    accepted = 0
    for second in range(200):
        # All of them are nodes that may come in, and stay at it.
        for entry in two.far._entries.values():
            entry.meeting.peer = IDENTITIES[0].node_id
            entry.meeting._deadline = two.now + second + STEP_TIMEOUT
        try:
            two.far.accept_stream(two.now + second)
        except StateError:
            break
        accepted += 1
    assert accepted == MAX_ACCEPTED


def test_of_strangers_that_say_nothing_the_oldest_makes_room() -> None:
    two = Two()
    number, there = two.meet()
    silent = [two.far.accept_stream(two.now + second / OFFER_RATE) for second in range(MAX_ACCEPTED - 1)]
    two.far_host.take()
    late = two.far.accept_stream(two.now + MAX_ACCEPTED)
    assert len(two.far) == MAX_ACCEPTED
    assert two.far_host.take() == [SignallingEnded(silent[0])]
    # Neither the one that has shown who it is, nor the one that has just come.
    assert there in two.far._entries
    assert late in two.far._entries
    assert number


def test_meetings_that_are_over_and_forgotten_make_room_for_others() -> None:
    two = Two()
    for _ in range(2 * MAX_ACCEPTED):
        two.far.accept_stream(two.now)
        two.now += 2 / OFFER_RATE
        two.far.handle_timeout(two.now)
    assert len(two.far) < 2 * OFFER_RATE * (STEP_TIMEOUT + MEMORY)


def test_after_the_stop_there_are_none_and_no_more() -> None:
    two = Two()
    number, there = two.meet()
    two.far.stop(two.now)
    assert len(two.far) == 0
    assert two.far.next_timeout() is None
    assert two.far_host.take() == [SignallingEnded(there)]
    with pytest.raises(StateError, match="stopping"):
        two.far.accept_stream(two.now)
    two.far.stream_received(there, b"hello?", two.now)
    assert number


def test_unknown_numbers_are_ignored() -> None:
    two = Two()
    two.near.stream_opened(9, two.now)
    two.near.stream_received(9, b"data", two.now)
    two.near.stream_ended(9, "reason", two.now)
    assert two.near_host.take() == []


def test_a_peer_that_uses_the_names_of_another_meeting_does_no_harm() -> None:
    world = World("cone", "cone")
    other = world.behind(world.network.nat("cone", **world.wire()))
    for client in (world.client, other):
        real = client.node.token_bytes
        # The name of an attempt has 16 bytes; whoever begins a meeting chooses it.
        client.node.token_bytes = lambda n, real=real: b"A" * 16 if n == 16 else real(n)  # type: ignore[misc]
    info = world.server.info(direct=False)
    first, second = world.client.connect(info), other.connect(info)
    world.wait(lambda: first.is_open or first.closed, 30)
    world.wait(lambda: second.is_open or second.closed, 30)
    assert first.is_open
    world.run(120)
    assert len(world.server.node.meetings) == 0
