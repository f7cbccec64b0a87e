from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.stun import (
    Attribute,
    BindingServer,
    ErrorCode,
    Message,
    MessageClass,
    Method,
    build_message,
    parse_message,
)
from tests.stun import strategies, twin, vectors

CLIENT = ("203.0.113.7", 40000)
TRANSACTION_ID = bytes(range(12))


def request(
    *attributes: tuple[int, Any],
    method: int = Method.BINDING,
    message_class: int = MessageClass.REQUEST,
    **options: Any,
) -> bytes:
    return build_message(method, message_class, TRANSACTION_ID, attributes, **options)


def answer_to(data: bytes, remote: tuple[str, int] = CLIENT) -> Message:
    server = BindingServer()
    assert server.receive_datagram(data, remote, None, 0.0)
    (transmit,) = server.transmits()
    return parse_message(transmit.data)


def counts(server: BindingServer) -> dict[str, int]:
    return {name: count for name, count in asdict(server.stats).items() if count}


@pytest.mark.parametrize("remote", [CLIENT, ("2001:db8::7", 1), ("::ffff:203.0.113.7", 65535)])
def test_whoever_asks_is_told_where_from(remote: tuple[str, int]) -> None:
    message = answer_to(request(), remote)
    assert (message.method, message.message_class) == (Method.BINDING, MessageClass.SUCCESS_RESPONSE)
    assert message.transaction_id == TRANSACTION_ID
    assert message.get(Attribute.XOR_MAPPED_ADDRESS) == remote


def test_a_link_local_client_is_told_its_address_without_a_scope() -> None:
    server = BindingServer()
    server.receive_datagram(request(), ("fe80::7%2", 1), None, 0.0)
    (transmit,) = server.transmits()
    assert transmit.remote == ("fe80::7%2", 1)
    assert parse_message(transmit.data).get(Attribute.XOR_MAPPED_ADDRESS) == ("fe80::7", 1)


def test_the_answer_goes_back_by_the_socket_that_was_asked() -> None:
    server = BindingServer()
    server.receive_datagram(request(), CLIENT, "second socket", 0.0)
    (transmit,) = server.transmits()
    assert (transmit.remote, transmit.local) == (CLIENT, "second socket")
    assert server.transmits() == []
    assert counts(server) == {"answered": 1}


def test_an_answer_says_no_more_than_was_asked() -> None:
    assert [type_ for type_, _ in answer_to(request(fingerprint=False)).attributes] == [
        Attribute.XOR_MAPPED_ADDRESS
    ]


def test_the_answer_to_an_empty_request_is_32_bytes() -> None:
    assert len(answer_to(request(fingerprint=False)).data) == 32


def test_a_fingerprint_is_answered_with_a_fingerprint() -> None:
    assert answer_to(request(fingerprint=True)).verify_fingerprint()
    assert not answer_to(request(fingerprint=False)).has_fingerprint


def test_a_wrong_fingerprint_is_not_answered() -> None:
    server = BindingServer()
    data = request(fingerprint=True)
    assert server.receive_datagram(data[:-1] + bytes([data[-1] ^ 1]), CLIENT, None, 0.0)
    assert server.transmits() == []
    assert counts(server) == {"bad_fingerprint": 1}


@pytest.mark.parametrize("fingerprint", [True, False])
def test_unknown_attributes_that_have_to_be_understood_are_refused_by_name(fingerprint: bool) -> None:
    message = answer_to(
        request(
            (0x7FFF, b"a"),
            (0x0003, bytes(4)),
            (0x7FFF, b"b"),
            (0x8055, b"optional"),
            (Attribute.PRIORITY, 1),
            fingerprint=fingerprint,
        )
    )
    assert message.message_class is MessageClass.ERROR_RESPONSE
    # Without a reason phrase: each byte of it could be reflected to somebody else.
    assert message.get(Attribute.ERROR_CODE) == ErrorCode(420, "")
    assert message.get(Attribute.UNKNOWN_ATTRIBUTES) == [0x7FFF, 0x0003, Attribute.PRIORITY]
    assert message.get(Attribute.XOR_MAPPED_ADDRESS) is None
    assert message.verify_fingerprint() is fingerprint


def test_a_refusal_is_counted_as_one() -> None:
    server = BindingServer()
    server.receive_datagram(request((0x7FFF, b"")), CLIENT, None, 0.0)
    assert counts(server) == {"unknown_attribute": 1}


def test_credentials_are_understood_and_not_asked_for() -> None:
    data = request((Attribute.USERNAME, "a:b"), integrity_key=b"key", integrity="both")
    assert answer_to(data).get(Attribute.XOR_MAPPED_ADDRESS) == CLIENT
    assert answer_to(vectors.LONG_TERM_REQUEST).message_class is MessageClass.SUCCESS_RESPONSE


@pytest.mark.parametrize(
    ("method", "message_class"),
    [
        (Method.BINDING, MessageClass.INDICATION),
        (Method.BINDING, MessageClass.SUCCESS_RESPONSE),
        (Method.BINDING, MessageClass.ERROR_RESPONSE),
        (0x003, MessageClass.REQUEST),
    ],
)
def test_only_binding_requests_are_answered(method: int, message_class: int) -> None:
    server = BindingServer()
    assert not server.receive_datagram(request(method=method, message_class=message_class), CLIENT, None, 0.0)
    assert server.transmits() == []
    assert counts(server) == {"ignored": 1}


def test_two_servers_do_not_answer_each_other() -> None:
    one, other = BindingServer(), BindingServer()
    one.receive_datagram(request(), CLIENT, None, 0.0)
    (transmit,) = one.transmits()
    assert not other.receive_datagram(transmit.data, CLIENT, None, 0.0)
    assert other.transmits() == []


def test_port_0_is_not_answered() -> None:
    server = BindingServer()
    assert server.receive_datagram(request(), ("203.0.113.7", 0), None, 0.0)
    assert server.transmits() == []
    assert counts(server) == {"no_port": 1}


def test_a_flood_from_one_source_is_met_with_silence() -> None:
    server = BindingServer(rate=10, burst=20)
    for _ in range(100):
        assert server.receive_datagram(request(), CLIENT, None, 0.0)
    assert len(server.transmits()) == 20
    assert counts(server) == {"answered": 20, "rate_limited": 80}
    # Others are answered meanwhile, and so is the source after a while.
    server.receive_datagram(request(), ("203.0.113.8", 1), None, 0.0)
    server.receive_datagram(request(), CLIENT, None, 1.0)
    assert len(server.transmits()) == 2


def test_a_refusal_is_limited_as_an_answer_is() -> None:
    server = BindingServer(rate=1, burst=1)
    for _ in range(5):
        server.receive_datagram(request((0x7FFF, b"")), CLIENT, None, 0.0)
    assert len(server.transmits()) == 1


def test_what_is_not_answered_costs_a_source_nothing() -> None:
    server = BindingServer(rate=1, burst=1)
    for _ in range(5):
        server.receive_datagram(request(message_class=MessageClass.INDICATION), CLIENT, None, 0.0)
        server.receive_datagram(b"not stun", CLIENT, None, 0.0)
    server.receive_datagram(request(), CLIENT, None, 0.0)
    assert len(server.transmits()) == 1


def test_many_sources_do_not_fill_the_memory() -> None:
    server = BindingServer(max_sources=50)
    for number in range(1000):
        server.receive_datagram(request(), (f"10.0.{number // 250}.{number % 250}", 1), None, 0.0)
    assert len(server.transmits()) == 1000
    assert len(server._limiter) == 50


def test_by_default_a_busy_nat_is_answered() -> None:
    # 256 sockets that ask at once, as in a birthday attempt, and each once more.
    server = BindingServer()
    for port in range(1, 513):
        server.receive_datagram(request(), ("203.0.113.7", port), None, 0.0)
    assert len(server.transmits()) == 512


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    server = BindingServer(rate=1, burst=1)
    for now in (10.0, 5.0, 10.0, 5.0):
        server.receive_datagram(request(), CLIENT, None, now)
    assert len(server.transmits()) == 1


def test_a_clock_that_steps_back_silences_nobody() -> None:
    server = BindingServer(rate=1, burst=2)
    server.receive_datagram(request(), CLIENT, None, 3600.0)
    server.receive_datagram(request(), CLIENT, None, 0.0)
    assert len(server.transmits()) == 2


def test_a_server_waits_for_nothing() -> None:
    server = BindingServer()
    server.receive_datagram(request(), CLIENT, None, 0.0)
    assert server.next_timeout() is None
    server.handle_timeout(1.0)
    assert server.events() == []
    assert len(server.transmits()) == 1


@settings(max_examples=300)
@given(st.lists(strategies.datagrams, max_size=20), strategies.addresses)
def test_no_datagram_raises_and_each_is_counted(datagrams: list[bytes], remote: tuple[str, int]) -> None:
    server = BindingServer()
    for data in datagrams:
        server.receive_datagram(data, remote, None, 0.0)
    answers = server.transmits()
    assert sum(asdict(server.stats).values()) == len(datagrams)
    assert server.stats.answered + server.stats.unknown_attribute == len(answers)
    for transmit in answers:
        assert transmit.remote == remote
        message = parse_message(transmit.data)
        assert message.message_class in (MessageClass.SUCCESS_RESPONSE, MessageClass.ERROR_RESPONSE)


@settings(max_examples=300)
@given(strategies.raw_attributes)
def test_no_request_raises_whatever_it_holds(attributes: list[tuple[int, bytes]]) -> None:
    server = BindingServer()
    data = twin.build(Method.BINDING, MessageClass.REQUEST, TRANSACTION_ID, attributes)
    server.receive_datagram(data, CLIENT, None, 0.0)
    for transmit in server.transmits():
        # A forged source gets little more than was spent on it.
        assert len(transmit.data) <= max(2 * len(data), 44)


@pytest.mark.parametrize("size", [0, 1, 19, 65535, 65555, 100_000])
def test_datagrams_of_any_size_are_dropped(size: int) -> None:
    server = BindingServer()
    assert not server.receive_datagram(bytes(size), CLIENT, None, 0.0)
    assert counts(server) == {"malformed": 1}


@pytest.mark.parametrize("wrap", [bytearray, memoryview])
def test_any_buffer_is_taken(wrap: Any) -> None:
    server = BindingServer()
    assert server.receive_datagram(wrap(request()), CLIENT, None, 0.0)
    assert len(server.transmits()) == 1
