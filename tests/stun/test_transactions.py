from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet import PknetError
from pknet.stun import (
    IntegrityKey,
    TooManyTransactionsError,
    Transaction,
    Transactions,
    build_message,
    parse_message,
)

SERVER = ("192.0.2.1", 3478)


def transaction(number: int = 0, *, rto: float = 0.5, local: object = None) -> Transaction:
    transaction_id = number.to_bytes(12, "big")
    return Transaction(transaction_id, build_message(1, 0, transaction_id), SERVER, local, rto)


def schedule(transactions: Transactions, waiting: Transaction, start: float) -> tuple[list[float], float]:
    """Return when the request was sent, and when it was given up."""
    sent = [start]
    assert transactions.start(waiting, start).data == waiting.request
    while True:
        now = transactions.next_timeout()
        assert now is not None
        again, timed_out = transactions.handle_timeout(now)
        sent += [now for transmit in again if transmit.data == waiting.request]
        if timed_out:
            assert timed_out == [waiting]
            return sent, now


def test_a_request_is_sent_when_the_standard_says() -> None:
    # RFC 8489 section 6.2.1.
    sent, given_up = schedule(Transactions(), transaction(), 0.0)
    assert sent == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert given_up == 39.5


def test_the_schedule_follows_its_numbers() -> None:
    sent, given_up = schedule(Transactions(rc=3, rm=4), transaction(rto=0.25), 100.0)
    assert sent == [100.0, 100.25, 100.75]
    assert given_up == 101.75


def test_a_single_request_is_never_sent_again() -> None:
    sent, given_up = schedule(Transactions(rc=1, rm=2), transaction(), 0.0)
    assert (sent, given_up) == ([0.0], 1.0)


def test_each_transaction_has_its_own_schedule() -> None:
    transactions = Transactions()
    transactions.start(transaction(1, rto=0.5), 0.0)
    transactions.start(transaction(2, rto=0.25), 0.125)
    assert transactions.next_timeout() == 0.375
    again, _ = transactions.handle_timeout(0.375)
    assert [transmit.data[8:20] for transmit in again] == [(2).to_bytes(12, "big")]
    assert transactions.next_timeout() == 0.5
    again, _ = transactions.handle_timeout(1.0)
    assert len(again) == 2


def test_a_spurious_timeout_changes_nothing() -> None:
    transactions = Transactions()
    transactions.start(transaction(), 0.0)
    assert transactions.handle_timeout(0.25) == ([], [])
    assert transactions.next_timeout() == 0.5


def test_after_a_long_sleep_a_request_is_sent_once_and_not_as_often_as_was_missed() -> None:
    transactions = Transactions()
    transactions.start(transaction(), 0.0)
    again, timed_out = transactions.handle_timeout(3600.0)
    assert (len(again), timed_out) == (1, [])
    assert transactions.next_timeout() == 3601.0


def test_what_has_ended_is_not_sent_again() -> None:
    transactions = Transactions()
    transactions.start(transaction(), 0.0)
    transactions.end((0).to_bytes(12, "big"))
    transactions.end((0).to_bytes(12, "big"))
    assert transactions.next_timeout() is None
    assert transactions.next_timer is None
    assert transactions.handle_timeout(100.0) == ([], [])
    assert len(transactions) == 0


def test_the_timer_has_a_name() -> None:
    transactions = Transactions(rc=2)
    transactions.start(transaction(), 0.0)
    assert transactions.next_timer == "retransmission"
    transactions.handle_timeout(0.5)
    assert transactions.next_timer == "time-out"


def test_no_more_than_the_limit_wait_at_once() -> None:
    transactions = Transactions(limit=3)
    for number in range(3):
        transactions.start(transaction(number), 0.0)
    with pytest.raises(TooManyTransactionsError) as raised:
        transactions.start(transaction(3), 0.0)
    assert isinstance(raised.value, PknetError)
    transactions.end((0).to_bytes(12, "big"))
    transactions.start(transaction(3), 0.0)
    assert len(transactions) == 3


def test_timers_of_what_has_ended_do_not_pile_up() -> None:
    transactions = Transactions()
    for number in range(10_000):
        transactions.start(transaction(number), 0.0)
        transactions.end(number.to_bytes(12, "big"))
    assert len(transactions._timers) < 100


def test_a_transaction_id_is_not_used_twice() -> None:
    transactions = Transactions()
    transactions.start(transaction(), 0.0)
    with pytest.raises(ValueError, match="repeats"):
        transactions.start(transaction(), 0.0)


@pytest.mark.parametrize(
    "server", [("stun.example.org", 3478), ("192.0.2.1", 0), ("192.0.2.1", 65536), ("192.0.2.1", -1)]
)
def test_a_server_is_an_ip_address_with_a_port(server: tuple[str, int]) -> None:
    transactions = Transactions()
    waiting = transaction()
    waiting.server = server
    with pytest.raises(ValueError, match="not a"):
        transactions.start(waiting, 0.0)
    assert len(transactions) == 0


def test_a_schedule_that_can_not_be_is_refused() -> None:
    for options in ({"rc": 0}, {"rm": 0}, {"limit": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Transactions(**options)
    with pytest.raises(ValueError, match="RTO"):
        Transactions().start(transaction(rto=0.0), 0.0)


@pytest.mark.parametrize(
    ("server", "remote", "is_the_server"),
    [
        (("192.0.2.1", 3478), ("192.0.2.1", 3478), True),
        (("192.0.2.1", 3478), ("192.0.2.1", 3479), False),
        (("192.0.2.1", 3478), ("192.0.2.2", 3478), False),
        (("2001:DB8:0::1", 3478), ("2001:db8::1", 3478), True),
        (("fe80::1%eth0", 3478), ("fe80::1%2", 3478), True),
        (("fe80::1%eth0", 3478), ("fe80::2%eth0", 3478), False),
    ],
)
def test_a_server_is_known_by_its_address_however_it_is_written(
    server: tuple[str, int], remote: tuple[str, int], is_the_server: bool
) -> None:
    waiting = Transaction(bytes(12), b"", server, None, 0.5)
    assert waiting.accepts_source(remote, None) is is_the_server


def test_an_answer_has_to_come_by_the_socket_that_was_asked_from() -> None:
    assert transaction(local="a").accepts_source(SERVER, "a")
    assert not transaction(local="a").accepts_source(SERVER, "b")
    assert not transaction(local="a").accepts_source(SERVER, None)
    # The primary socket may have several names.
    assert transaction(local=None).accepts_source(SERVER, "a")


@pytest.mark.parametrize("asked", ["sha1", "sha256", "both"])
@pytest.mark.parametrize("answered", [None, "sha1", "sha256"])
def test_an_answer_proves_the_key_by_the_algorithm_that_was_asked_with(
    asked: str, answered: str | None
) -> None:
    key = IntegrityKey(b"key")
    waiting = Transaction(bytes(12), b"", SERVER, None, 0.5, key, asked)  # type: ignore[arg-type]
    response = build_message(
        1,
        2,
        bytes(12),
        integrity_key=None if answered is None else key,
        integrity=answered or "sha1",  # type: ignore[arg-type]
    )
    is_accepted = answered is not None and asked in ("both", answered)
    assert waiting.accepts_integrity(parse_message(response)) is is_accepted


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "end", "wait"]), st.integers(0, 9), st.floats(0, 10)), max_size=80
    )
)
def test_every_transaction_ends_once_and_is_sent_at_most_rc_times(
    steps: list[tuple[str, int, float]],
) -> None:
    transactions = Transactions(rc=3, rm=2)
    now = 0.0
    waiting: dict[int, Transaction] = {}
    ended: list[Transaction] = []

    def wait(until: float) -> None:
        while (due := transactions.next_timeout()) is not None and due <= until:
            _, timed_out = transactions.handle_timeout(due)
            for done in timed_out:
                assert due == pytest.approx(done.started_at + 2.5)
                del waiting[int.from_bytes(done.transaction_id, "big")]
            ended.extend(timed_out)
            assert all(other.requests_sent <= 3 for other in waiting.values())

    for verb, number, seconds in steps:
        if verb == "start" and number not in waiting:
            waiting[number] = transaction(number)
            transactions.start(waiting[number], now)
        elif verb == "end":
            waiting.pop(number, None)
            transactions.end(number.to_bytes(12, "big"))
        else:
            now += seconds
            wait(now)
        assert len(transactions) == len(waiting)
    wait(float("inf"))
    assert not waiting
    assert len(set(map(id, ended))) == len(ended)
