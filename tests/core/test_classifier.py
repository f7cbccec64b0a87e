"""One socket carries STUN and uTP, which begin alike: each overlap by its name."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet._core.classifier import DatagramKind, classify, classify_segments, is_utp
from pknet.errors import ProtocolError
from pknet.stun import MAGIC_COOKIE, Attribute, MessageClass, Method, build_message, parse_message

ST_DATA, ST_FIN, ST_STATE, ST_RESET, ST_SYN = range(5)
TRANSACTION = bytes(range(12))


def utp(
    type_: int,
    *,
    extension: int = 0,
    connection_id: int = 7,
    timestamp: int = 1,
    payload: bytes = b"",
    version: int = 1,
) -> bytes:
    """Return a uTP packet (BEP 29)."""
    return (
        struct.pack(">BBHIIIHH", type_ << 4 | version, extension, connection_id, timestamp, 0, 1 << 20, 5, 6)
        + payload
    )


def stun(message_class: MessageClass) -> bytes:
    """Return a STUN message."""
    return build_message(
        Method.BINDING, message_class, TRANSACTION, [(Attribute.XOR_MAPPED_ADDRESS, ("192.0.2.1", 1))]
    )


@pytest.mark.parametrize("message_class", MessageClass)
def test_stun_of_every_class_is_stun(message_class: MessageClass) -> None:
    assert classify(stun(message_class)) == DatagramKind.STUN


@pytest.mark.parametrize("type_", range(5))
def test_utp_of_every_type_is_utp(type_: int) -> None:
    assert classify(utp(type_)) == DatagramKind.UTP
    assert is_utp(utp(type_))


def test_a_utp_data_packet_that_begins_as_a_stun_binding_success_is_utp() -> None:
    packet = utp(ST_DATA, extension=1)
    assert packet[:2] == stun(MessageClass.SUCCESS_RESPONSE)[:2] == b"\x01\x01"
    assert classify(packet) == DatagramKind.UTP


def test_a_stun_binding_success_is_not_taken_for_utp_though_it_has_its_form() -> None:
    message = stun(MessageClass.SUCCESS_RESPONSE)
    assert is_utp(message)
    assert classify(message) == DatagramKind.STUN


@pytest.mark.parametrize("type_", [ST_DATA, ST_FIN, ST_STATE, ST_RESET])
def test_a_utp_packet_with_the_cookie_for_its_time_passes_for_stun_only_if_its_id_is_the_length(
    type_: int,
) -> None:
    payload = bytes(16)
    with_cookie = utp(type_, timestamp=MAGIC_COOKIE, payload=payload)
    assert classify(with_cookie) == DatagramKind.UTP
    as_stun = utp(type_, timestamp=MAGIC_COOKIE, connection_id=len(payload), payload=payload)
    assert classify(as_stun) == DatagramKind.STUN
    assert is_utp(as_stun)


def test_a_utp_packet_that_passes_for_stun_is_malformed_stun_unless_its_payload_is_attributes() -> None:
    text = b"GET / HTTP/1.1\r\n"
    packet = utp(ST_DATA, extension=1, timestamp=MAGIC_COOKIE, connection_id=len(text), payload=text)
    assert classify(packet) == DatagramKind.STUN
    with pytest.raises(ProtocolError):
        parse_message(packet)


def test_a_utp_syn_is_never_stun_whatever_else_it_holds() -> None:
    packet = utp(ST_SYN, timestamp=MAGIC_COOKIE, connection_id=4, payload=bytes(4))
    assert classify(packet) == DatagramKind.UTP


def test_channel_data_is_unknown_but_for_the_channels_that_begin_as_a_utp_syn_does() -> None:
    for number in (0x4000, 0x40FF, 0x4200, 0x4FFF):
        assert classify(struct.pack(">HH", number, 40) + bytes(40)) == DatagramKind.UNKNOWN
    # That is why a TURN client binds none of these.
    assert classify(struct.pack(">HH", 0x4100, 40) + bytes(40)) == DatagramKind.UTP


def test_a_binding_request_is_not_utp_even_without_its_cookie() -> None:
    request = bytearray(stun(MessageClass.REQUEST))
    request[4:8] = bytes(4)
    assert classify(request) == DatagramKind.UNKNOWN


def test_a_binding_success_of_rfc_3489_passes_for_utp() -> None:
    old = bytearray(stun(MessageClass.SUCCESS_RESPONSE))
    old[4:8] = b"\x12\x34\x56\x78"
    assert classify(old) == DatagramKind.UTP


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(19),
        utp(ST_DATA)[:19],
        utp(5),
        utp(15),
        utp(ST_DATA, version=0),
        utp(ST_DATA, version=2),
        b"\x16\x03\x01" + bytes(40),
        b"\x80\x00" + bytes(40),
        b"d1:ad2:id20:" + bytes(40),
    ],
    ids=["empty", "zeros", "short", "type 5", "type 15", "version 0", "version 2", "TLS", "RTP", "DHT"],
)
def test_what_is_neither_is_unknown(packet: bytes) -> None:
    assert classify(packet) == DatagramKind.UNKNOWN


@given(st.binary(max_size=64))
def test_any_datagram_is_something(data: bytes) -> None:
    assert classify(data) in set(DatagramKind)
    assert classify(memoryview(data)) == classify(bytearray(data)) == classify(data)


def test_a_run_of_one_protocol_is_one_stretch() -> None:
    run = utp(ST_DATA, payload=bytes(20)) * 5 + utp(ST_FIN)
    assert classify_segments(run, 40) == [(DatagramKind.UTP, 0, len(run))]


def test_a_run_of_both_protocols_is_cut_where_they_change_and_stun_stands_alone() -> None:
    message = build_message(Method.BINDING, MessageClass.REQUEST, TRANSACTION, fingerprint=False)
    packet = utp(ST_STATE)
    assert len(message) == len(packet) == 20
    run = packet * 2 + message * 2 + packet + bytes(20) * 3 + packet
    assert classify_segments(run, 20) == [
        (DatagramKind.UTP, 0, 40),
        (DatagramKind.STUN, 40, 60),
        (DatagramKind.STUN, 60, 80),
        (DatagramKind.UTP, 80, 100),
        (DatagramKind.UNKNOWN, 100, 160),
        (DatagramKind.UTP, 160, 180),
    ]


@given(
    st.lists(st.sampled_from([utp(ST_STATE), TRANSACTION + bytes(8), stun(MessageClass.REQUEST)[:20]])),
    st.data(),
)
def test_a_run_is_cut_into_what_its_segments_are_by_themselves(
    parts: list[bytes], data: st.DataObject
) -> None:
    run = b"".join(parts)
    if parts:
        run = run[: len(run) - data.draw(st.integers(0, 19))]
    stretches = classify_segments(run, 20)
    assert b"".join(run[start:stop] for _, start, stop in stretches) == run
    for kind, start, stop in stretches:
        assert start < stop
        for offset in range(start, stop, 20):
            assert classify(run[offset : min(offset + 20, stop)]) == kind


def test_an_empty_run_has_no_stretches() -> None:
    assert classify_segments(b"", 1200) == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_segment_size_that_is_not_positive_is_the_callers_mistake(size: int) -> None:
    with pytest.raises(ValueError, match="segment_size"):
        classify_segments(b"data", size)


def test_a_segment_size_beyond_the_buffer_makes_one_segment() -> None:
    assert classify_segments(utp(ST_DATA), 1 << 62) == [(DatagramKind.UTP, 0, 20)]
