"""Both sides of a meeting, with hosts that the test plays, and a channel that it can tamper with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.nat import Candidate, CandidateType, Description, Mapping, PathFound
from pknet.nat.punch import PATIENCE
from pknet.network import Identity, messages
from pknet.network.framing import FrameReader, frame
from pknet.network.introduction import Offerer
from pknet.network.meeting import CONNECT_TIMEOUT, OPENER_LEAD, OPENER_TTL, ROUNDS, STEP_TIMEOUT, Meeting
from pknet.network.messages import Introduce, Prepare, Prepared, Signalling
from pknet.stun import parse_message

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from pknet import Transmit
    from pknet.network.introduction import ProofCheck

IDENTITIES = [Identity(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)) for number in range(3)]
NEAR, FAR = ("203.0.113.1", 1315), ("203.0.113.2", 1315)
INDEPENDENT = Mapping.ENDPOINT_INDEPENDENT


class Host:
    """What a node does for its meetings, as the test has it."""

    def __init__(self, number: int, public: tuple[str, int], mapping: Mapping = INDEPENDENT) -> None:
        self.identity = IDENTITIES[number]
        self.public = public
        self.mapping = mapping
        self.is_ready = True
        self.admits = True
        self.wanted: list[Meeting] = []
        self._tokens = iter(range((number + 1) << 64, 1 << 100))

    def token_bytes(self, length: int) -> bytes:
        return next(self._tokens).to_bytes(length)

    def describe(self, local: Hashable | None) -> Description | None:
        if not self.is_ready:
            return None
        port = self.public[1] if local is None else hash(local) % 1000 + 2000
        candidate = Candidate(CandidateType.SERVER_REFLEXIVE, self.public[0], port)
        return Description((candidate,), self.mapping)

    def want_socket(self, meeting: Meeting) -> None:
        self.wanted.append(meeting)

    def admit_offer(self, node_id: Any, proof_check: ProofCheck) -> bool:
        return self.admits

    def reachable(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        return list(candidates)


class Meet:
    """Two meetings and the channel between them, one way of which takes `latency` seconds."""

    def __init__(
        self,
        near: Mapping = INDEPENDENT,
        far: Mapping = INDEPENDENT,
        *,
        latency: float = 0.05,
        ready: bool = True,
    ) -> None:
        self.near_host, self.far_host = Host(0, NEAR, near), Host(1, FAR, far)
        self.near_host.is_ready = ready
        self.now = 10.0
        self.latency = latency
        self.near = Meeting(self.near_host, 1, self.now, peer=IDENTITIES[1].node_id)
        self.far = Meeting(self.far_host, 2, self.now)
        self.near.start(self.now)

    def pass_on(self) -> bool:
        """Carry what each side has to say to the other; return whether there was anything."""
        said = [
            (self.near, self.far, self.near.data_to_send()),
            (self.far, self.near, self.far.data_to_send()),
        ]
        if not any(data for _, _, data in said):
            return False
        self.now += self.latency
        for _, listener, data in said:
            listener.receive_stream_data(data, self.now)
        return True

    def introduce(self) -> None:
        """Let them talk until they have nothing more to say."""
        while self.pass_on():
            pass

    def say(self, to: Meeting, message: Any) -> None:
        to.receive_stream_data(messages.encode(message), self.now)

    def fail_to_punch(self) -> None:
        """Let time pass without any check arriving."""
        self.now += PATIENCE + OPENER_LEAD + 1
        for side in (self.far, self.near):
            side.handle_timeout(self.now)

    def give_sockets(self) -> None:
        """Answer each side's wish for a fresh socket."""
        for host in (self.near_host, self.far_host):
            for meeting in host.wanted:
                meeting.socket_ready(f"fresh {id(host)}", self.now)
            host.wanted.clear()

    def transmits(self, side: Meeting) -> list[Transmit]:
        assert side.punch is not None
        return side.punch.transmits()

    def punch(self) -> None:
        """Carry checks and answers until both have found the path."""
        for _ in range(20):
            for side, other, source in ((self.near, self.far, NEAR), (self.far, self.near, FAR)):
                if side.punch is None:
                    continue
                for transmit in side.punch.transmits():
                    if transmit.ttl is None:
                        other.receive_message(parse_message(transmit.data), source, None, self.now)
            self.now += 0.05
            for side in (self.near, self.far):
                side.handle_timeout(self.now)


def said(meeting: Meeting) -> list[Any]:
    """Take what a meeting has to say, as messages."""
    payloads = FrameReader().receive_stream_data(meeting.data_to_send())
    return [messages.decode(payload, Signalling) for payload in payloads]


def test_they_introduce_themselves_punch_and_find_the_path() -> None:
    meet = Meet()
    meet.introduce()
    assert meet.far.peer == IDENTITIES[0].node_id
    meet.punch()
    assert meet.near.is_over
    assert meet.near.path == PathFound(FAR, None, meet.near.path.rtt if meet.near.path else 0)
    assert meet.far.path is not None
    assert meet.far.path.remote == NEAR
    assert meet.near.failure is None


def test_the_initiator_begins_half_a_round_trip_after_go_and_a_little_more() -> None:
    meet = Meet(latency=0.2)
    meet.pass_on()
    meet.pass_on()
    # The Answer has come; Go and the opener leave together.
    (opener,) = meet.transmits(meet.near)
    assert (opener.remote, opener.ttl) == (FAR, OPENER_TTL)
    assert meet.near.next_timeout() == pytest.approx(meet.now + 0.2 + OPENER_LEAD)
    meet.pass_on()
    # Go has come: the responder begins at once, without an opener.
    (check,) = meet.transmits(meet.far)
    assert (check.remote, check.ttl) == (NEAR, None)


def test_the_time_that_the_channel_takes_to_open_is_no_part_of_the_round_trip() -> None:
    host = Host(0, NEAR)
    meeting = Meeting(host, 1, 10.0, peer=IDENTITIES[1].node_id)
    meeting.description_ready(12.0)
    assert meeting.data_to_send() == b""
    meeting.start(15.0)
    assert [type(message) for message in said(meeting)] == [Introduce]


@pytest.mark.parametrize("side", [0, 1])
def test_neither_side_describes_itself_before_its_public_address_is_known(side: int) -> None:
    meet = Meet(ready=side == 1)
    meet.far_host.is_ready = side == 0
    meet.introduce()
    assert meet.near.punch is None
    for host, meeting in ((meet.near_host, meet.near), (meet.far_host, meet.far)):
        host.is_ready = True
        meeting.description_ready(meet.now)
    meet.introduce()
    assert meet.near.punch is not None
    assert meet.far.punch is not None


def test_what_was_known_at_the_offer_serves_if_nothing_better_is_known_at_the_answer() -> None:
    meet = Meet()
    meet.pass_on()
    meet.near_host.is_ready = False
    meet.introduce()
    assert meet.far.punch is not None
    assert [transmit.remote for transmit in meet.transmits(meet.far)] == [NEAR]


def test_each_round_has_a_name_and_a_key_of_its_own_and_fresh_sockets_on_both_sides() -> None:
    meet = Meet()
    meet.introduce()
    names, ports = [], []
    for _ in range(ROUNDS):
        assert meet.near.punch is not None
        assert meet.far.punch is not None
        assert meet.near.punch.username == meet.far.punch.peer_username
        names.append(meet.near.punch.username)
        for side, punch in ((meet.near, meet.near.punch), (meet.far, meet.far.punch)):
            checks = [transmit for transmit in punch.transmits() if transmit.ttl is None]
            ports += [(side is meet.near, transmit.remote[1]) for transmit in checks]
        meet.fail_to_punch()
        meet.introduce()
        meet.give_sockets()
        meet.introduce()
    assert len(set(names)) == ROUNDS
    assert meet.near.is_over
    assert meet.near.failure is not None
    assert "no direct path, because none of" in meet.near.failure


def test_only_the_first_round_has_an_opener() -> None:
    meet = Meet()
    meet.introduce()
    assert any(transmit.ttl for transmit in meet.transmits(meet.near))
    meet.fail_to_punch()
    meet.introduce()
    meet.give_sockets()
    meet.introduce()
    meet.now += 1
    meet.near.handle_timeout(meet.now)
    later = meet.transmits(meet.near)
    assert later
    assert not any(transmit.ttl for transmit in later)
    assert all(transmit.local is not None for transmit in later)


@pytest.mark.parametrize(
    ("near", "far"),
    [
        (Mapping.ADDRESS_AND_PORT_DEPENDENT, INDEPENDENT),
        (INDEPENDENT, Mapping.ADDRESS_DEPENDENT),
        (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_DEPENDENT),
    ],
)
def test_where_theory_forbids_a_path_one_round_is_enough(near: Mapping, far: Mapping) -> None:
    meet = Meet(near, far)
    meet.introduce()
    meet.fail_to_punch()
    assert meet.near.failure is not None
    assert "symmetric" in meet.near.failure
    assert meet.near_host.wanted == []


def test_how_the_own_nat_maps_is_asked_anew_when_the_round_has_failed() -> None:
    meet = Meet(Mapping.UNKNOWN)
    meet.introduce()
    meet.near_host.mapping = Mapping.ADDRESS_AND_PORT_DEPENDENT
    meet.fail_to_punch()
    assert meet.near.failure is not None
    assert "this side's NAT" in meet.near.failure


def test_a_responder_that_has_found_the_path_is_there_for_another_round_until_the_channel_ends() -> None:
    meet = Meet()
    meet.introduce()
    for transmit in meet.transmits(meet.far):
        meet.near.receive_message(parse_message(transmit.data), FAR, None, meet.now)
    answers = [item for item in meet.transmits(meet.near) if item.ttl is None]
    for transmit in answers:
        meet.far.receive_message(parse_message(transmit.data), NEAR, None, meet.now)
    assert meet.far.path is not None
    assert not meet.far.is_over
    # What the responder answers is lost, so the initiator wants another round.
    meet.transmits(meet.far)
    meet.fail_to_punch()
    meet.introduce()
    assert len(meet.far_host.wanted) == len(meet.near_host.wanted) == 1
    meet.far.channel_failed("", meet.now)
    assert meet.far.is_over
    assert meet.far.failure is None


def test_after_a_path_was_found_the_checks_of_the_other_are_still_answered() -> None:
    meet = Meet()
    meet.introduce()
    meet.punch()
    assert meet.near.is_over
    assert meet.near.punch is not None
    assert meet.far.punch is not None
    meet.far.punch._send_check(next(iter(meet.far.punch._remotes.values())), meet.now)
    (check,) = meet.transmits(meet.far)
    assert meet.near.receive_message(parse_message(check.data), FAR, None, meet.now)
    assert len(meet.transmits(meet.near)) == 1


# Who is let in.


def test_who_is_not_admitted_is_told_and_nothing_is_sent_to_it() -> None:
    meet = Meet()
    meet.far_host.admits = False
    meet.introduce()
    assert meet.far.is_over
    assert meet.far.failure == "the peer was not admitted"
    assert meet.near.failure == (
        "the node refused: this node is not on the list, and its ticket does not admit it"
    )
    assert meet.near.punch is None
    assert meet.far.punch is None


def test_no_second_offer_is_looked_at_after_a_refusal() -> None:
    host = Host(1, FAR)
    host.admits = False
    asked = 0

    def admit_offer(node_id: Any, proof_check: ProofCheck) -> bool:
        nonlocal asked
        asked += 1
        return False

    host.admit_offer = admit_offer  # type: ignore[method-assign]
    meeting = Meeting(host, 2, 10.0)
    offers = [Offerer(IDENTITIES[0], IDENTITIES[1].node_id, Host(0, NEAR).token_bytes).offer()] * 50
    meeting.receive_stream_data(b"".join(messages.encode(Introduce(0, offer)) for offer in offers), 10.0)
    assert asked == 1


@pytest.mark.parametrize("when", ["before the offer", "after the offer"])
def test_no_socket_is_opened_for_who_has_not_shown_that_it_is_there(when: str) -> None:
    meet = Meet()
    if when == "after the offer":
        meet.pass_on()
    meet.say(meet.far, Prepare(1))
    assert meet.far_host.wanted == []
    assert meet.far.is_over


def test_a_replayed_offer_makes_nobody_send_a_packet() -> None:
    meet = Meet()
    offer = meet.near.data_to_send()
    meet.far.receive_stream_data(offer, meet.now)
    meet.introduce()
    again = Meeting(meet.far_host, 3, meet.now)
    again.receive_stream_data(offer, meet.now)
    assert said(again)
    again.handle_timeout(meet.now + STEP_TIMEOUT)
    assert again.is_over
    assert again.punch is None


def test_an_offer_for_a_third_node_is_none() -> None:
    third = Meeting(Host(2, ("203.0.113.3", 1)), 3, 10.0)
    third.receive_stream_data(Meet().near.data_to_send(), 10.0)
    assert third.is_over
    assert third.data_to_send() == b""


def test_another_node_cannot_take_the_place_of_the_initiator_in_a_later_round() -> None:
    meet = Meet()
    meet.introduce()
    meet.fail_to_punch()
    meet.introduce()
    meet.give_sockets()
    assert said(meet.far) == [Prepared(1)]
    other = Offerer(IDENTITIES[2], IDENTITIES[1].node_id, Host(2, NEAR).token_bytes)
    meet.say(meet.far, Introduce(1, other.offer()))
    assert meet.far.failure is not None
    assert "another node than in the round before" in meet.far.failure


# Messages out of order.


def garbage() -> list[bytes]:
    return [
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b""),
        frame(b"\xc1"),
        frame(b"\x81\xa4type\xa9\x1b[2Jhello"),
        messages.encode(messages.Register()),
        messages.encode(Introduce(0, b"")),
        messages.encode(Introduce(0, b"\x01" + bytes(100))),
        messages.encode(Introduce(9, b"\x01")),
        messages.encode(Prepare(0)),
        messages.encode(Prepare(16)),
        messages.encode(Prepared(0)),
        messages.encode(Prepared(7)),
        (1 << 31).to_bytes(4),
    ]


@pytest.mark.parametrize("data", garbage())
@pytest.mark.parametrize("side", ["near", "far"])
@pytest.mark.parametrize("step", range(3))
def test_garbage_ends_the_introduction_in_printable_words_but_not_a_punch(
    data: bytes, side: str, step: int
) -> None:
    meet = Meet()
    for _ in range(step):
        meet.pass_on()
    meeting: Meeting = getattr(meet, side)
    was_punching = meeting.punch is not None
    meeting.receive_stream_data(data, meet.now)
    if was_punching:
        assert not meeting.is_over
    else:
        assert meeting.is_over
        assert meeting.failure is not None
        assert meeting.failure.startswith("the introduction broke off: ")
        assert meeting.failure.isprintable()
    # And nothing after it is heard.
    meeting.receive_stream_data(data, meet.now)


def test_copies_of_what_was_said_do_not_disturb_the_punch() -> None:
    meet = Meet()
    history: list[tuple[Meeting, bytes]] = []
    while True:
        both = ((meet.near, meet.far), (meet.far, meet.near))
        spoken = [(listener, speaker.data_to_send()) for speaker, listener in both]
        if not any(data for _, data in spoken):
            break
        history += spoken
        for listener, data in spoken:
            listener.receive_stream_data(data, meet.now)
    for listener, data in history:
        listener.receive_stream_data(data, meet.now)
    # Nor the round after it.
    meet.fail_to_punch()
    meet.introduce()
    meet.give_sockets()
    meet.introduce()
    meet.punch()
    assert meet.near.path is not None


def test_an_answer_is_taken_once() -> None:
    meet = Meet()
    meet.pass_on()
    answer = meet.far.data_to_send()
    meet.near.receive_stream_data(answer, meet.now)
    punch = meet.near.punch
    meet.near.receive_stream_data(answer, meet.now)
    assert meet.near.punch is punch


def test_a_second_wish_for_a_round_does_not_open_a_second_socket() -> None:
    meet = Meet()
    meet.introduce()
    meet.say(meet.far, Prepare(1))
    meet.say(meet.far, Prepare(2))
    assert len(meet.far_host.wanted) == 1
    meet.give_sockets()
    assert said(meet.far) == [Prepared(2)]


def test_a_round_that_was_left_is_not_gone_back_to() -> None:
    meet = Meet()
    meet.introduce()
    meet.say(meet.far, Prepare(2))
    meet.give_sockets()
    said(meet.far)
    meet.say(meet.far, Prepare(1))
    assert meet.far.is_over


# What fails.


@pytest.mark.parametrize(
    ("step", "side", "reason"),
    [
        ("connecting", "near", "no signalling channel to the node could be opened in time"),
        ("gathering", "near", "the public address could not be learnt: no STUN server answers"),
        ("offered", "near", "the peer does not answer on the signalling channel"),
        ("waiting", "far", "the peer does not answer on the signalling channel"),
        ("preparing", "near", "a fresh socket for another try was not opened in time"),
        ("prepared", "near", "the peer does not answer on the signalling channel"),
    ],
)
def test_each_step_has_its_time_and_its_words_when_that_has_passed(step: str, side: str, reason: str) -> None:
    meet = Meet()
    if step == "connecting":
        meet.near = Meeting(meet.near_host, 1, meet.now, peer=IDENTITIES[1].node_id)
    elif step == "gathering":
        meet.near = Meeting(meet.near_host, 1, meet.now, peer=IDENTITIES[1].node_id)
        meet.near_host.is_ready = False
        meet.near.start(meet.now)
    elif step in ("preparing", "prepared"):
        meet.introduce()
        meet.fail_to_punch()
        if step == "prepared":
            meet.near_host.wanted[0].socket_ready("fresh", meet.now)
    meeting: Meeting = getattr(meet, side)
    due = meeting.next_timeout()
    assert due == pytest.approx(meet.now + (CONNECT_TIMEOUT if step == "connecting" else STEP_TIMEOUT))
    assert due is not None
    meeting.handle_timeout(due - 0.01)
    assert not meeting.is_over
    meeting.handle_timeout(due)
    assert meeting.is_over
    assert meeting.failure is not None
    assert reason in meeting.failure
    assert meeting.next_timeout() is None


@pytest.mark.parametrize("step", range(3))
def test_a_channel_that_ends_ends_what_needs_it(step: int) -> None:
    meet = Meet()
    for _ in range(step):
        meet.pass_on()
    for meeting in (meet.near, meet.far):
        was_punching = meeting.punch is not None
        meeting.channel_failed("the rope broke", meet.now)
        assert meeting.is_over is not was_punching
        if not was_punching:
            assert meeting.failure == "the rope broke"


def test_punching_goes_on_without_the_channel_and_its_failure_says_that_there_was_no_other_try() -> None:
    meet = Meet()
    meet.introduce()
    for meeting in (meet.near, meet.far):
        meeting.channel_failed("", meet.now)
    meet.fail_to_punch()
    assert meet.near.failure is not None
    assert "no direct path, because none of" in meet.near.failure
    assert meet.near.failure.endswith("there was no other try: the peer closed the signalling channel")
    assert meet.far.is_over


def test_punching_succeeds_without_the_channel() -> None:
    meet = Meet()
    meet.introduce()
    for meeting in (meet.near, meet.far):
        meeting.channel_failed("", meet.now)
    meet.punch()
    assert meet.near.path is not None
    assert meet.far.path is not None
    assert meet.far.is_over


def test_a_fresh_socket_that_cannot_be_had_ends_the_meeting_in_words() -> None:
    meet = Meet()
    meet.introduce()
    meet.fail_to_punch()
    meet.near.socket_failed("too many open files", meet.now)
    assert meet.near.failure is not None
    assert meet.near.failure.endswith("another try with a fresh socket failed: too many open files")


def test_a_socket_that_comes_too_late_changes_nothing() -> None:
    meet = Meet()
    meet.introduce()
    meet.fail_to_punch()
    meet.near.cancel("not wanted any more")
    meet.near.data_to_send()
    meet.near.socket_ready("late", meet.now)
    meet.near.socket_failed("later", meet.now)
    assert meet.near.failure == "not wanted any more"
    assert meet.near.data_to_send() == b""


def test_a_meeting_that_is_called_off_sends_no_more_checks() -> None:
    meet = Meet()
    meet.introduce()
    meet.near.cancel("not wanted any more")
    assert meet.near.punch is None
    assert meet.near.next_timeout() is None
    meet.near.handle_timeout(meet.now + 100)
    assert meet.near.is_over


def test_a_peer_that_names_no_address_gets_one_round() -> None:
    meet = Meet()
    meet.near_host.reachable = lambda candidates: []  # type: ignore[method-assign]
    meet.introduce()
    meet.now += 5
    meet.near.handle_timeout(meet.now)
    assert meet.near.failure == ("no direct path, because the peer named no address that can be tried")


ACTIONS = (
    "pass",
    "pass",
    "pass",
    "drop",
    "twice",
    "swap",
    "corrupt",
    "punch",
    "wait",
    "sockets",
    "no socket",
    "end",
)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(ACTIONS), max_size=25), st.data())
def test_whatever_the_channel_does_a_meeting_ends_and_nothing_raises(
    actions: list[str], data: st.DataObject
) -> None:
    meet = Meet()
    meetings = (meet.near, meet.far)
    for action in actions:
        spoken = [(meet.far, meet.near.data_to_send()), (meet.near, meet.far.data_to_send())]
        if action == "swap":
            spoken = [(listener, spoken[1 - index][1]) for index, (listener, _) in enumerate(spoken)]
        for listener, words in spoken:
            if action == "drop" or not words:
                continue
            if action == "corrupt":
                at = data.draw(st.integers(0, len(words) - 1))
                words = words[:at] + bytes([words[at] ^ data.draw(st.integers(1, 255))]) + words[at + 1 :]
            listener.receive_stream_data(words, meet.now)
            if action == "twice":
                listener.receive_stream_data(words, meet.now)
        if action == "punch":
            meet.punch()
        elif action == "wait":
            meet.fail_to_punch()
        elif action == "sockets":
            meet.give_sockets()
        elif action == "no socket":
            for host in (meet.near_host, meet.far_host):
                for meeting in host.wanted:
                    meeting.socket_failed("none", meet.now)
                host.wanted.clear()
        elif action == "end":
            data.draw(st.sampled_from(meetings)).channel_failed("", meet.now)
        meet.now += 0.01
    for _ in range(200):
        due = [when for meeting in meetings if (when := meeting.next_timeout()) is not None]
        if not due:
            break
        meet.now = max(meet.now, min(due))
        for meeting in meetings:
            meeting.handle_timeout(meet.now)
    for meeting in meetings:
        assert meeting.is_over
        assert (meeting.path is None) == (meeting.failure is not None)
        assert meeting.failure is None or meeting.failure.isprintable()
