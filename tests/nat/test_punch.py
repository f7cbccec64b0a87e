"""One attempt of two sides to punch, their datagrams carried by the test."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet import Transmit
from pknet.nat import HolePunch, PathFound, PunchFailed
from pknet.nat.punch import MAX_ANSWERS, MAX_CHECKS, MAX_LEARNT, PATIENCE, SCHEDULE
from pknet.stun import Attribute, Message, MessageClass, Method, build_message, parse_message

Address = tuple[str, int]

NAME, KEY = b"sixteen byte name", bytes(range(32))
OURS, THEIRS = ("203.0.113.1", 1315), ("203.0.113.2", 1315)
STRANGER = ("198.51.100.9", 9)


def tokens(seed: int) -> Callable[[int], bytes]:
    counter = iter(range(seed << 32, 1 << 90))
    return lambda length: next(counter).to_bytes(length)


def punch(controlling: bool = True, remotes: list[Address] | None = None, **options: Any) -> HolePunch:
    """Return one side, which starts now."""
    options = {"start": 0.0, "now": 0.0, **options}
    return HolePunch(
        options.pop("name", NAME),
        options.pop("key", KEY),
        [THEIRS if controlling else OURS] if remotes is None else remotes,
        tokens(1 if controlling else 2),
        controlling=controlling,
        **options,
    )


def run(side: HolePunch, until: float) -> list[tuple[float, Transmit]]:
    """Let time pass for a side that hears nothing; return what it sent, and when."""
    sent = [(0.0, transmit) for transmit in side.transmits()]
    while (due := side.next_timeout()) is not None and due <= until:
        side.handle_timeout(due)
        sent += [(due, transmit) for transmit in side.transmits()]
    return sent


def give(side: HolePunch, data: bytes, remote: Address, now: float = 0.0, local: Any = None) -> bool:
    """Hand a datagram to a side, as its node would."""
    message = parse_message(data)
    return side.owns(message) and side.receive_message(message, remote, local, now)


def message_of(transmit: Transmit) -> Message:
    return parse_message(transmit.data)


def test_a_check_is_a_binding_request_that_proves_the_key() -> None:
    (transmit,) = punch().transmits()
    check = message_of(transmit)
    assert (check.method, check.message_class) == (Method.BINDING, MessageClass.REQUEST)
    assert check.verify_integrity(KEY)
    assert not check.verify_integrity(bytes(32))
    assert transmit.remote == THEIRS


def test_checks_leave_by_the_schedule_and_then_the_attempt_has_failed() -> None:
    side = punch()
    sent = run(side, 60)
    assert [when for when, _ in sent] == pytest.approx(SCHEDULE)
    assert side.events() == [PunchFailed(len(SCHEDULE))]
    assert side.next_timeout() is None


def test_nothing_leaves_before_the_start() -> None:
    side = punch(start=1.5)
    sent = run(side, 60)
    assert [when for when, _ in sent] == pytest.approx([1.5 + offset for offset in SCHEDULE])


def test_no_two_checks_have_the_same_transaction_id() -> None:
    ids = [message_of(transmit).transaction_id for _, transmit in run(punch(), 60)]
    assert len(set(ids)) == len(ids) == len(SCHEDULE)


def test_an_address_that_never_answers_gets_a_handful_of_packets_and_no_more() -> None:
    remotes = [(f"192.0.2.{number + 1}", 1315) for number in range(20)]
    side = punch(remotes=remotes, openers=remotes)
    count = Counter(transmit.remote for _, transmit in run(side, 60))
    assert len(count) == 8
    assert set(count.values()) == {len(SCHEDULE) + 1}


def test_a_clock_that_jumped_does_not_send_all_that_was_missed() -> None:
    side = punch()
    side.transmits()
    side.handle_timeout(1.0)
    assert len(side.transmits()) == 1
    side.handle_timeout(1.0)
    assert side.transmits() == []


def test_a_timeout_before_its_time_changes_nothing() -> None:
    side = punch()
    side.transmits()
    before = side.next_timeout()
    side.handle_timeout(0.04)
    assert (side.transmits(), side.events(), side.next_timeout()) == ([], [], before)


def test_an_opener_leaves_at_once_and_does_not_get_far() -> None:
    side = punch(start=0.5, openers=[THEIRS], opener_ttl=2)
    (opener,) = side.transmits()
    assert (opener.remote, opener.ttl) == (THEIRS, 2)
    assert all(transmit.ttl is None for _, transmit in run(side, 60))


def test_an_opener_is_for_a_candidate_alone() -> None:
    assert punch(start=0.5, openers=[STRANGER]).transmits() == []


def test_two_sides_find_the_path() -> None:
    ours, theirs = punch(), punch(controlling=False, remotes=[])
    (check,) = ours.transmits()
    assert give(theirs, check.data, OURS, 0.02)
    answer, in_return = theirs.transmits()
    assert answer.remote == in_return.remote == OURS
    assert give(ours, answer.data, THEIRS, 0.04)
    assert ours.events() == [PathFound(THEIRS, None, 0.04)]
    assert give(ours, in_return.data, THEIRS, 0.04)
    (answer,) = ours.transmits()
    assert give(theirs, answer.data, OURS, 0.06)
    assert theirs.events() == [PathFound(OURS, None, pytest.approx(0.04))]


def test_the_answer_says_where_the_check_came_from() -> None:
    theirs = punch(controlling=False)
    theirs.transmits()
    give(theirs, punch().transmits()[0].data, STRANGER)
    answer = message_of(theirs.transmits()[0])
    assert answer.get(Attribute.XOR_MAPPED_ADDRESS) == STRANGER
    assert answer.verify_integrity(KEY)


def test_the_source_of_a_check_is_learnt_and_checked_at_once() -> None:
    theirs = punch(controlling=False, remotes=[])
    give(theirs, punch().transmits()[0].data, STRANGER, 0.3)
    assert [transmit.remote for transmit in theirs.transmits()] == [STRANGER, STRANGER]
    theirs.handle_timeout(0.3)
    assert theirs.transmits() == []
    sent = run(theirs, 60)
    assert {transmit.remote for _, transmit in sent} == {STRANGER}


def test_a_candidate_that_checks_is_checked_before_its_time() -> None:
    ours = punch(start=5.0)
    theirs = punch(controlling=False)
    give(ours, theirs.transmits()[0].data, THEIRS, 0.1)
    kinds = [message_of(transmit).message_class for transmit in ours.transmits()]
    assert kinds == [MessageClass.SUCCESS_RESPONSE, MessageClass.REQUEST]


def test_what_comes_by_another_socket_is_answered_by_it() -> None:
    theirs = punch(controlling=False, local="primary")
    theirs.transmits()
    give(theirs, punch().transmits()[0].data, STRANGER, local="other")
    assert {transmit.local for transmit in theirs.transmits()} == {"other"}


def test_a_check_with_the_wrong_key_is_not_answered() -> None:
    theirs = punch(controlling=False, remotes=[])
    forged = punch(key=bytes(32)).transmits()[0].data
    assert theirs.owns(parse_message(forged))
    assert not give(theirs, forged, STRANGER)
    assert theirs.transmits() == []
    assert theirs.checks_received == 0


def test_a_check_without_integrity_is_not_answered() -> None:
    theirs = punch(controlling=False, remotes=[])
    username = theirs.peer_username
    bare = build_message(Method.BINDING, MessageClass.REQUEST, bytes(12), [(Attribute.USERNAME, username)])
    assert not give(theirs, bare, STRANGER)
    assert theirs.transmits() == []


def test_a_check_of_another_attempt_is_not_owned() -> None:
    theirs = punch(controlling=False)
    assert not theirs.owns(message_of(punch(name=b"another attempt").transmits()[0]))


def test_a_check_of_ours_that_is_reflected_is_no_check() -> None:
    ours = punch()
    (check,) = ours.transmits()
    assert ours.owns(message_of(check))
    assert not give(ours, check.data, THEIRS, 0.02)
    assert ours.transmits() == []
    assert ours.events() == []


def test_a_check_that_is_replayed_from_elsewhere_makes_nobody_send_there() -> None:
    theirs = punch(controlling=False, remotes=[])
    (check,) = punch().transmits()
    assert give(theirs, check.data, OURS)
    theirs.transmits()
    assert not give(theirs, check.data, STRANGER, 0.02)
    assert all(transmit.remote == OURS for _, transmit in run(theirs, 60))


def test_a_check_that_the_network_duplicates_is_answered_twice_and_counts_once() -> None:
    theirs = punch(controlling=False, remotes=[])
    (check,) = punch().transmits()
    assert give(theirs, check.data, OURS)
    assert give(theirs, check.data, OURS, 0.05)
    kinds = [message_of(transmit).message_class for transmit in theirs.transmits()]
    assert kinds.count(MessageClass.SUCCESS_RESPONSE) == 2
    assert kinds.count(MessageClass.REQUEST) == 1


def test_an_answer_from_elsewhere_is_no_path_and_does_not_spoil_the_right_one() -> None:
    ours, theirs = punch(), punch(controlling=False)
    theirs.transmits()
    give(theirs, ours.transmits()[0].data, OURS)
    answer = theirs.transmits()[0].data
    assert not give(ours, answer, STRANGER, 0.02)
    assert ours.events() == []
    assert give(ours, answer, THEIRS, 0.03)
    assert isinstance(ours.events()[0], PathFound)


def test_an_answer_by_another_socket_is_no_path() -> None:
    ours, theirs = punch(local="fresh"), punch(controlling=False)
    theirs.transmits()
    give(theirs, ours.transmits()[0].data, OURS)
    answer = theirs.transmits()[0].data
    assert not give(ours, answer, THEIRS, 0.02, local="primary")
    assert give(ours, answer, THEIRS, 0.02, local="fresh")


def test_a_forged_answer_is_no_path() -> None:
    ours = punch()
    check = message_of(ours.transmits()[0])
    for key in (None, bytes(32)):
        forged = build_message(
            Method.BINDING,
            MessageClass.SUCCESS_RESPONSE,
            check.transaction_id,
            [(Attribute.XOR_MAPPED_ADDRESS, OURS)],
            integrity_key=key,
        )
        assert not give(ours, forged, THEIRS)
    assert ours.events() == []


def test_an_error_response_is_no_path() -> None:
    ours = punch()
    check = message_of(ours.transmits()[0])
    error = build_message(
        Method.BINDING, MessageClass.ERROR_RESPONSE, check.transaction_id, integrity_key=KEY
    )
    assert not give(ours, error, THEIRS)
    assert ours.events() == []


def test_the_second_answer_changes_nothing() -> None:
    ours, theirs = punch(remotes=[THEIRS, STRANGER]), punch(controlling=False)
    theirs.transmits()
    for transmit in ours.transmits():
        give(theirs, transmit.data, OURS)
    answers = [
        transmit.data
        for transmit in theirs.transmits()
        if message_of(transmit).message_class is MessageClass.SUCCESS_RESPONSE
    ]
    assert give(ours, answers[0], THEIRS, 0.02)
    assert give(ours, answers[1], STRANGER, 0.03)
    assert [event.remote for event in ours.events() if isinstance(event, PathFound)] == [THEIRS]


def test_after_the_end_checks_are_still_answered_but_none_are_sent() -> None:
    ours, theirs = punch(), punch(controlling=False)
    run(ours, 60)
    ours.events()
    assert give(ours, theirs.transmits()[0].data, THEIRS, 61)
    kinds = [message_of(transmit).message_class for transmit in ours.transmits()]
    assert kinds == [MessageClass.SUCCESS_RESPONSE]


def test_a_late_answer_does_not_undo_the_failure() -> None:
    ours, theirs = punch(), punch(controlling=False)
    (check, *_) = ours.transmits()
    run(ours, 60)
    assert isinstance(ours.events()[0], PunchFailed)
    give(theirs, check.data, OURS)
    answer = theirs.transmits()[-2].data
    give(ours, answer, THEIRS, 61)
    assert ours.events() == []


def test_an_admitted_peer_that_forges_its_sources_gets_few_packets_sent_for_it() -> None:
    ours = punch(remotes=[])
    for number in range(1000):
        check = build_message(
            Method.BINDING,
            MessageClass.REQUEST,
            number.to_bytes(12),
            [(Attribute.USERNAME, ours.peer_username)],
            integrity_key=KEY,
        )
        give(ours, check, (f"198.51.100.{number % 20}", 9), number / 1000)
    transmits = ours.transmits()
    checks = Counter(
        transmit.remote
        for transmit in transmits
        if message_of(transmit).message_class is MessageClass.REQUEST
    )
    assert len(checks) == MAX_LEARNT
    assert max(checks.values()) <= MAX_CHECKS
    assert len(transmits) - checks.total() == MAX_ANSWERS


def test_an_address_that_checks_often_is_not_checked_more_often_than_is_allowed() -> None:
    ours = punch()
    ours.transmits()
    for number in range(100):
        check = build_message(
            Method.BINDING,
            MessageClass.REQUEST,
            number.to_bytes(12),
            [(Attribute.USERNAME, ours.peer_username)],
            integrity_key=KEY,
        )
        give(ours, check, THEIRS, 0.001 * number)
    checks = [item for item in ours.transmits() if message_of(item).message_class is MessageClass.REQUEST]
    assert len(checks) <= 10
    later = [item for _, item in run(ours, 60)]
    assert 1 + len(checks) + len(later) <= MAX_CHECKS


@settings(max_examples=200)
@given(
    st.floats(0, 0.3),
    st.floats(0, 0.6),
    st.sets(st.integers(0, 60), max_size=40),
)
def test_whatever_is_lost_both_sides_come_to_an_end_and_agree_with_what_arrived(
    latency: float, skew: float, lost: set[int]
) -> None:
    sides = {OURS: punch(start=0.0), THEIRS: punch(controlling=False, start=skew)}
    under_way: list[tuple[float, int, Address, Address, bytes]] = []
    events: dict[Address, list[Any]] = {OURS: [], THEIRS: []}
    now, count = 0.0, 0
    while True:
        for address, side in sides.items():
            events[address] += side.events()
            for transmit in side.transmits():
                count += 1
                if count not in lost:
                    under_way.append((now + latency, count, address, transmit.remote, transmit.data))
        due = [when for side in sides.values() if (when := side.next_timeout()) is not None]
        arrivals = [item[0] for item in under_way]
        if not due and not arrivals:
            break
        now = max(now, min(due + arrivals))
        assert now < skew + PATIENCE + 2
        for side in sides.values():
            side.handle_timeout(now)
        for item in sorted(under_way):
            if item[0] <= now:
                under_way.remove(item)
                give(sides[item[3]], item[4], item[2], now)
    for address, other in ((OURS, THEIRS), (THEIRS, OURS)):
        (event,) = events[address]
        if isinstance(event, PathFound):
            assert event.remote == other
        else:
            assert event.checks_sent >= 1
    if not lost:
        assert all(isinstance(found[0], PathFound) for found in events.values())
