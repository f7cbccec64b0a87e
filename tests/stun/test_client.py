from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError, asdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.stun import (
    Attribute,
    BindingFailed,
    BindingServer,
    BindingSucceeded,
    BindingTimedOut,
    BindingUnreachable,
    ErrorCode,
    IntegrityKey,
    MessageClass,
    Method,
    StunClient,
    TooManyTransactionsError,
    build_message,
    parse_message,
)
from tests.stun import strategies, twin

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER = ("192.0.2.1", 3478)
MAPPED = ("203.0.113.7", 40000)
KEY = b"the key of both sides"
TYPE_0X7FFF = (0x7FFF, b"")


def make_client(**options: Any) -> StunClient:
    numbers = itertools.count(1)
    return StunClient(lambda size: next(numbers).to_bytes(size, "big"), **options)


def response(
    transaction_id: bytes,
    attributes: Sequence[tuple[int, Any]] | None = None,
    *,
    message_class: int = MessageClass.SUCCESS_RESPONSE,
    method: int = Method.BINDING,
    **options: Any,
) -> bytes:
    if attributes is None:
        attributes = [(Attribute.XOR_MAPPED_ADDRESS, MAPPED)]
    return build_message(method, message_class, transaction_id, attributes, **options)


def dropped(client: StunClient) -> dict[str, int]:
    """Return why datagrams were dropped, and how many."""
    reasons = ("malformed", "unmatched", "bad_fingerprint", "bad_integrity")
    return {name: count for name, count in asdict(client.stats).items() if name in reasons and count}


class TestAsking:
    def test_a_request_goes_to_the_server(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0)
        (transmit,) = client.transmits()
        assert (transmit.remote, transmit.local) == (SERVER, None)
        message = parse_message(transmit.data)
        assert (message.method, message.message_class) == (Method.BINDING, MessageClass.REQUEST)
        assert message.transaction_id == transaction_id
        assert message.verify_fingerprint()
        assert client.transmits() == []

    def test_a_request_carries_what_it_is_given(self) -> None:
        client = make_client()
        client.binding(
            SERVER,
            0.0,
            local="socket 2",
            attributes=[(Attribute.USERNAME, "a:b"), (Attribute.PRIORITY, 7)],
            integrity_key=KEY,
            integrity="both",
            fingerprint=False,
        )
        (transmit,) = client.transmits()
        assert transmit.local == "socket 2"
        message = parse_message(transmit.data)
        assert message.get(Attribute.USERNAME) == "a:b"
        assert message.integrity == "both"
        assert message.verify_integrity(KEY)
        assert not message.has_fingerprint

    def test_many_are_asked_at_once(self) -> None:
        client = make_client()
        asked = {client.binding(("192.0.2.1", 1000 + number), 0.0): number for number in range(100)}
        assert len(client) == 100
        for transaction_id, number in reversed(asked.items()):
            assert client.receive_datagram(
                response(transaction_id, [(Attribute.XOR_MAPPED_ADDRESS, ("203.0.113.7", number))]),
                ("192.0.2.1", 1000 + number),
                None,
                1.0,
            )
        answers = [event for event in client.events() if isinstance(event, BindingSucceeded)]
        assert {event.transaction_id: event.mapped_address[1] for event in answers} == asked
        assert len(client) == 0

    def test_the_number_of_requests_is_limited(self) -> None:
        client = make_client(max_transactions=2)
        first = client.binding(SERVER, 0.0)
        client.binding(SERVER, 0.0)
        with pytest.raises(TooManyTransactionsError):
            client.binding(SERVER, 0.0)
        assert len(client.transmits()) == 2
        client.cancel(first)
        client.binding(SERVER, 0.0)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"server_address": ("stun.example.org", 3478)},
            {"server_address": ("192.0.2.1", 0)},
            {"attributes": [(Attribute.USERNAME, "x" * 600)]},
            {"integrity_key": b""},
            {"rto": 0.0},
        ],
    )
    def test_misuse_raises_and_leaves_nothing_behind(self, wrong: dict[str, Any]) -> None:
        client = make_client()
        with pytest.raises(ValueError, match=r".+"):
            client.binding(**{"server_address": SERVER, "now": 0.0, **wrong})
        assert len(client) == 0
        assert client.transmits() == []
        assert client.next_timeout() is None
        assert client.stats.requests_sent == 0

    def test_an_rto_that_can_not_be_is_refused(self) -> None:
        with pytest.raises(ValueError, match="RTO"):
            make_client(rto=-1)

    def test_an_idle_client_waits_for_nothing(self) -> None:
        client = make_client()
        assert client.next_timeout() is None
        assert client.next_timer is None
        client.handle_timeout(1.0)
        assert client.transmits() == []
        assert client.events() == []


class TestBeingAnswered:
    def test_the_answer_says_what_the_server_sees(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 10.0)
        assert client.receive_datagram(response(transaction_id), SERVER, "socket", 10.125)
        (event,) = client.events()
        assert event == BindingSucceeded(
            transaction_id, SERVER, "socket", MAPPED, 0.125, parse_message(response(transaction_id))
        )
        assert client.next_timeout() is None
        assert client.events() == []
        assert client.stats.succeeded == 1

    def test_an_old_servers_plain_mapped_address_will_do(self) -> None:
        client = make_client()
        attributes = [(Attribute.MAPPED_ADDRESS, MAPPED), (0x0004, bytes(8)), (0x0005, bytes(8))]
        assert client.receive_datagram(response(client.binding(SERVER, 0.0), attributes), SERVER, None, 0.1)
        (event,) = client.events()
        assert isinstance(event, BindingSucceeded)
        assert event.mapped_address == MAPPED

    def test_the_masked_address_is_preferred(self) -> None:
        # Some NATs rewrite any address that they find in the clear.
        client = make_client()
        attributes = [(Attribute.MAPPED_ADDRESS, ("10.0.0.1", 1)), (Attribute.XOR_MAPPED_ADDRESS, MAPPED)]
        client.receive_datagram(response(client.binding(SERVER, 0.0), attributes), SERVER, None, 0.1)
        (event,) = client.events()
        assert isinstance(event, BindingSucceeded)
        assert event.mapped_address == MAPPED

    def test_after_a_retransmission_nobody_knows_the_rtt(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0)
        client.handle_timeout(0.5)
        client.receive_datagram(response(transaction_id), SERVER, None, 0.6)
        (event,) = client.events()
        assert isinstance(event, BindingSucceeded)
        assert event.rtt is None

    def test_a_second_copy_of_the_answer_is_not_an_answer(self) -> None:
        client = make_client()
        answer = response(client.binding(SERVER, 0.0))
        assert client.receive_datagram(answer, SERVER, None, 0.1)
        assert not client.receive_datagram(answer, SERVER, None, 0.1)
        assert len(client.events()) == 1
        assert dropped(client) == {"unmatched": 1}

    def test_a_refusal_is_reported_with_its_code(self) -> None:
        client = make_client()
        answer = response(
            client.binding(SERVER, 0.0),
            [(Attribute.ERROR_CODE, ErrorCode(420, "no")), (Attribute.UNKNOWN_ATTRIBUTES, [0x24])],
            message_class=MessageClass.ERROR_RESPONSE,
        )
        assert client.receive_datagram(answer, SERVER, None, 0.1)
        (event,) = client.events()
        assert isinstance(event, BindingFailed)
        assert event.error == ErrorCode(420, "no")
        assert event.response.get(Attribute.UNKNOWN_ATTRIBUTES) == [Attribute.PRIORITY]
        assert client.stats.failed == 1

    @pytest.mark.parametrize(
        ("message_class", "attributes"),
        [
            (MessageClass.SUCCESS_RESPONSE, []),
            (MessageClass.SUCCESS_RESPONSE, [(Attribute.XOR_MAPPED_ADDRESS, bytes.fromhex("00030000"))]),
            (MessageClass.SUCCESS_RESPONSE, [(Attribute.XOR_MAPPED_ADDRESS, MAPPED), TYPE_0X7FFF]),
            (MessageClass.ERROR_RESPONSE, []),
            (MessageClass.ERROR_RESPONSE, [(Attribute.ERROR_CODE, ErrorCode(400)), TYPE_0X7FFF]),
        ],
    )
    def test_an_answer_that_is_not_understood_is_a_failure(
        self, message_class: MessageClass, attributes: list[tuple[int, Any]]
    ) -> None:
        # RFC 8489 sections 6.3.3 and 6.3.4.
        client = make_client()
        answer = response(client.binding(SERVER, 0.0), attributes, message_class=message_class)
        assert client.receive_datagram(answer, SERVER, None, 0.1)
        (event,) = client.events()
        assert isinstance(event, BindingFailed)
        assert event.error is None

    def test_unknown_optional_attributes_are_ignored(self) -> None:
        client = make_client()
        attributes = [(Attribute.XOR_MAPPED_ADDRESS, MAPPED), (0x802B, bytes(8)), (0xC057, bytes(4))]
        client.receive_datagram(response(client.binding(SERVER, 0.0), attributes), SERVER, None, 0.1)
        assert isinstance(client.events()[0], BindingSucceeded)

    def test_an_event_does_not_change(self) -> None:
        client = make_client()
        client.receive_datagram(response(client.binding(SERVER, 0.0)), SERVER, None, 0.1)
        (event,) = client.events()
        with pytest.raises(FrozenInstanceError):
            event.server = SERVER  # type: ignore[misc]


class TestForgery:
    @pytest.mark.parametrize(
        "remote", [("192.0.2.2", 3478), ("192.0.2.1", 3479), ("::ffff:192.0.2.1", 3478), ("::1", 1)]
    )
    def test_an_answer_from_another_address_is_ignored(self, remote: tuple[str, int]) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0)
        assert not client.receive_datagram(response(transaction_id), remote, None, 0.1)
        assert client.events() == []
        assert dropped(client) == {"unmatched": 1}
        assert client.receive_datagram(response(transaction_id), SERVER, None, 0.2)

    def test_an_answer_by_another_socket_is_ignored(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0, local="a")
        assert not client.receive_datagram(response(transaction_id), SERVER, "b", 0.1)
        assert client.receive_datagram(response(transaction_id), SERVER, "a", 0.1)

    def test_an_answer_to_nothing_is_ignored(self) -> None:
        client = make_client()
        client.binding(SERVER, 0.0)
        assert not client.receive_datagram(response(b"x" * 12), SERVER, None, 0.1)
        assert dropped(client) == {"unmatched": 1}

    @pytest.mark.parametrize(
        ("method", "message_class"),
        [
            (Method.BINDING, MessageClass.REQUEST),
            (Method.BINDING, MessageClass.INDICATION),
            (0x003, MessageClass.SUCCESS_RESPONSE),
        ],
    )
    def test_what_is_no_binding_response_is_ignored(self, method: int, message_class: int) -> None:
        client = make_client()
        answer = response(client.binding(SERVER, 0.0), method=method, message_class=message_class)
        assert not client.receive_datagram(answer, SERVER, None, 0.1)
        assert dropped(client) == {"unmatched": 1}

    def test_a_wrong_fingerprint_is_ignored(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0)
        answer = response(transaction_id)
        assert not client.receive_datagram(answer[:-1] + bytes([answer[-1] ^ 1]), SERVER, None, 0.1)
        assert dropped(client) == {"bad_fingerprint": 1}
        # A server that doesn't know FINGERPRINT is answered to all the same.
        assert client.receive_datagram(response(transaction_id, fingerprint=False), SERVER, None, 0.1)

    @pytest.mark.parametrize(
        "forged",
        [
            {},
            {"integrity_key": b"a guess"},
            {"integrity_key": KEY, "integrity": "sha256"},
            {"integrity_key": KEY, "integrity": "both"},
        ],
    )
    def test_an_answer_that_does_not_prove_the_key_is_as_if_it_had_never_come(
        self, forged: dict[str, Any]
    ) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0, integrity_key=KEY)
        assert not client.receive_datagram(response(transaction_id, **forged), SERVER, None, 0.1)
        assert client.events() == []
        assert dropped(client) == {"bad_integrity": 1}
        # It is still sent again, and the right answer still counts.
        client.transmits()
        client.handle_timeout(0.5)
        assert len(client.transmits()) == 1
        assert client.receive_datagram(response(transaction_id, integrity_key=KEY), SERVER, None, 0.6)
        assert isinstance(client.events()[0], BindingSucceeded)

    def test_a_refusal_has_to_prove_the_key_too(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0, integrity_key=KEY)
        refusal = {"message_class": MessageClass.ERROR_RESPONSE}
        error = [(Attribute.ERROR_CODE, ErrorCode(401))]
        assert not client.receive_datagram(response(transaction_id, error, **refusal), SERVER, None, 0.1)
        proved = response(transaction_id, error, integrity_key=KEY, **refusal)
        assert client.receive_datagram(proved, SERVER, None, 0.1)

    def test_the_time_out_says_if_answers_were_forged(self) -> None:
        # RFC 8489 section 9.1.4.
        client = make_client(rc=1, rm=1)
        forged_for = client.binding(SERVER, 0.0, integrity_key=KEY)
        client.binding(SERVER, 0.0, integrity_key=KEY)
        client.receive_datagram(response(forged_for), SERVER, None, 0.1)
        client.handle_timeout(0.5)
        timed_out = [event for event in client.events() if isinstance(event, BindingTimedOut)]
        assert [event.integrity_violated for event in timed_out] == [True, False]

    def test_an_address_added_behind_the_integrity_is_not_believed(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0, integrity_key=KEY)
        proved = response(transaction_id, [], integrity_key=KEY, fingerprint=False)
        longer = proved + twin.attribute(Attribute.MAPPED_ADDRESS, bytes.fromhex("000104d2c6336401"))
        assert client.receive_datagram(twin.with_length(longer, len(longer)), SERVER, None, 0.1)
        assert isinstance(client.events()[0], BindingFailed)

    @pytest.mark.parametrize("key", [KEY, IntegrityKey(KEY)])
    @pytest.mark.parametrize("integrity", ["sha1", "sha256"])
    def test_an_answer_that_proves_the_key_is_believed(self, key: Any, integrity: Any) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0, integrity_key=key, integrity=integrity)
        answer = response(transaction_id, integrity_key=KEY, integrity=integrity)
        assert client.receive_datagram(answer, SERVER, None, 0.1)


class TestUnreachable:
    def test_a_port_that_nobody_has_ends_the_request_at_once(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0, local="socket")
        (request,) = client.transmits()
        client.receive_unreachable(request.data[:20], SERVER, "socket", 0.1)
        assert client.events() == [BindingUnreachable(transaction_id, SERVER, "socket")]
        assert client.next_timeout() is None
        assert client.stats.unreachable == 1

    @pytest.mark.parametrize(
        ("quoted", "remote", "local"),
        [
            (slice(0, 19), SERVER, "socket"),
            (slice(0, 0), SERVER, "socket"),
            (slice(1, None), SERVER, "socket"),
            (slice(0, None), ("192.0.2.2", 3478), "socket"),
            (slice(0, None), SERVER, "another socket"),
        ],
        ids=["cut short", "nothing", "another transaction", "another server", "another socket"],
    )
    def test_a_word_of_a_port_that_does_not_quote_the_request_is_not_believed(
        self, quoted: slice, remote: tuple[str, int], local: str
    ) -> None:
        client = make_client()
        client.binding(SERVER, 0.0, local="socket")
        (request,) = client.transmits()
        client.receive_unreachable(request.data[quoted], remote, local, 0.1)
        assert client.events() == []
        assert len(client) == 1
        assert client.stats.unmatched == 1


class TestTime:
    def test_a_request_without_an_answer_is_sent_seven_times_and_given_up(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0, local="socket")
        sent = [(0, transmit) for transmit in client.transmits()]
        while (now := client.next_timeout()) is not None:
            client.handle_timeout(now)
            sent += [(round(now * 1000), transmit) for transmit in client.transmits()]
        assert [milliseconds for milliseconds, _ in sent] == [0, 500, 1500, 3500, 7500, 15500, 31500]
        assert len({transmit for _, transmit in sent}) == 1
        assert client.events() == [
            BindingTimedOut(transaction_id, SERVER, "socket", integrity_violated=False)
        ]
        assert len(client) == 0
        assert (client.stats.requests_sent, client.stats.requests_sent_again, client.stats.timed_out) == (
            1,
            6,
            1,
        )

    def test_it_is_given_up_after_39500_milliseconds(self) -> None:
        client = make_client()
        client.binding(SERVER, 0.0)
        for now in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5):
            client.handle_timeout(now)
        assert client.next_timeout() == 39.5
        assert client.next_timer == "time-out"
        client.handle_timeout(39.499)
        assert client.events() == []
        client.handle_timeout(39.5)
        assert isinstance(client.events()[0], BindingTimedOut)

    def test_a_request_may_have_an_rto_of_its_own(self) -> None:
        client = make_client(rto=1.0)
        client.binding(SERVER, 0.0)
        assert client.next_timeout() == 1.0
        client.binding(SERVER, 0.0, rto=0.1)
        assert client.next_timeout() == 0.1

    def test_an_answer_to_the_last_request_still_counts(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0)
        while client.next_timer == "retransmission":
            client.handle_timeout(client.next_timeout() or 0.0)
        assert client.receive_datagram(response(transaction_id), SERVER, None, 39.4)
        client.handle_timeout(39.5)
        assert len(client.events()) == 1

    def test_a_cancelled_request_makes_no_event(self) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0)
        client.cancel(transaction_id)
        client.cancel(transaction_id)
        assert client.next_timeout() is None
        assert not client.receive_datagram(response(transaction_id), SERVER, None, 0.1)
        client.handle_timeout(100.0)
        assert client.events() == []

    def test_a_clock_that_steps_back_stands_still_for_the_client(self) -> None:
        client = make_client()
        client.handle_timeout(10.0)
        transaction_id = client.binding(SERVER, 9.0)
        assert client.next_timeout() == 10.5
        client.receive_datagram(response(transaction_id), SERVER, None, 9.5)
        (event,) = client.events()
        assert isinstance(event, BindingSucceeded)
        assert event.rtt == 0.0


class TestHostileInput:
    @settings(max_examples=300)
    @given(st.lists(strategies.datagrams, max_size=20))
    def test_no_datagram_raises_and_each_is_counted(self, datagrams: list[bytes]) -> None:
        client = make_client()
        client.binding(SERVER, 0.0, integrity_key=KEY)
        for data in datagrams:
            assert not client.receive_datagram(data, SERVER, None, 0.1)
        assert sum(dropped(client).values()) == len(datagrams)
        assert client.events() == []
        assert len(client) == 1

    @settings(max_examples=300)
    @given(strategies.raw_attributes, st.sampled_from(MessageClass))
    def test_no_response_raises_whatever_it_holds(
        self, attributes: list[tuple[int, bytes]], message_class: MessageClass
    ) -> None:
        client = make_client()
        transaction_id = client.binding(SERVER, 0.0)
        data = twin.build(Method.BINDING, message_class, transaction_id, attributes)
        answered = client.receive_datagram(data, SERVER, None, 0.1)
        assert answered == (len(client) == 0) == (len(client.events()) == 1)
        assert answered or sum(dropped(client).values()) == 1

    @pytest.mark.parametrize("size", [0, 1, 19, 65535, 65555, 100_000])
    def test_datagrams_of_any_size_are_dropped(self, size: int) -> None:
        client = make_client()
        assert not client.receive_datagram(bytes(size), SERVER, None, 0.0)
        assert dropped(client) == {"malformed": 1}


@given(strategies.addresses.filter(lambda address: address[1] > 0), st.booleans())
def test_a_server_of_ours_answers_a_client_of_ours(address: tuple[str, int], fingerprint: bool) -> None:
    client, server = make_client(), BindingServer()
    transaction_id = client.binding(SERVER, 0.0, fingerprint=fingerprint)
    (request,) = client.transmits()
    assert server.receive_datagram(request.data, address, None, 0.0)
    (answer,) = server.transmits()
    assert client.receive_datagram(answer.data, SERVER, None, 0.25)
    assert client.events() == [
        BindingSucceeded(transaction_id, SERVER, None, address, 0.25, parse_message(answer.data))
    ]
