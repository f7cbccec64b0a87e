"""Each attribute of the table: what its value is on the wire, what in Python, and what it can't be."""

from __future__ import annotations

from typing import Any

import pytest

from pknet.errors import ProtocolError
from pknet.stun import Attribute, ErrorCode, PasswordAlgorithm, build_message, parse_message
from tests.stun import twin
from tests.stun.strategies import ATTRIBUTES_BY_THEMSELVES

TRANSACTION_ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# The Python value and the bytes between the attribute's header and its padding.
WELL_FORMED: list[tuple[Attribute, Any, str]] = [
    (Attribute.MAPPED_ADDRESS, ("192.0.2.1", 32853), "0001 8055 c0000201"),
    (Attribute.MAPPED_ADDRESS, ("2001:db8::1", 80), "0002 0050 20010db8000000000000000000000001"),
    (Attribute.XOR_MAPPED_ADDRESS, ("192.0.2.1", 32853), "0001 a147 e112a643"),
    (
        Attribute.XOR_MAPPED_ADDRESS,
        ("2001:db8:1234:5678:11:2233:4455:6677", 32853),
        "0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9",
    ),
    (Attribute.ALTERNATE_SERVER, ("198.51.100.7", 3478), "0001 0d96 c6336407"),
    (Attribute.USERNAME, "evtj:h6vY", "6576746a3a68367659"),
    (Attribute.USERNAME, "", ""),
    (Attribute.USERNAME, "\u30de", "e3839e"),
    (Attribute.USERHASH, bytes(range(32)), bytes(range(32)).hex()),
    (Attribute.ERROR_CODE, ErrorCode(300, ""), "00000300"),
    (Attribute.ERROR_CODE, ErrorCode(420, "Unknown Attribute"), "00000414" + b"Unknown Attribute".hex()),
    (Attribute.ERROR_CODE, ErrorCode(699, "\u00fc"), "00000663 c3bc"),
    (Attribute.REALM, "example.org", b"example.org".hex()),
    (Attribute.NONCE, "obMatJos2AAAB//", b"obMatJos2AAAB//".hex()),
    (Attribute.PASSWORD_ALGORITHMS, [], ""),
    (Attribute.PASSWORD_ALGORITHMS, [PasswordAlgorithm(2), PasswordAlgorithm(1)], "00020000 00010000"),
    (
        Attribute.PASSWORD_ALGORITHMS,
        [PasswordAlgorithm(7, b"abcde"), PasswordAlgorithm(1, b"")],
        "00070005 6162636465000000 00010000",
    ),
    (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(2, b""), "00020000"),
    (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(9, b"abcd"), "00090004 61626364"),
    (Attribute.UNKNOWN_ATTRIBUTES, [], ""),
    (Attribute.UNKNOWN_ATTRIBUTES, [0x0025, 0x7FFF, 0x0003], "0025 7fff 0003"),
    (Attribute.SOFTWARE, "test vector", b"test vector".hex()),
    (Attribute.ALTERNATE_DOMAIN, "stun.example.org", b"stun.example.org".hex()),
    (Attribute.PRIORITY, 0x6E0001FF, "6e0001ff"),
    (Attribute.PRIORITY, 0xFFFF_FFFF, "ffffffff"),
    (Attribute.USE_CANDIDATE, True, ""),
    (Attribute.ICE_CONTROLLED, 0x932FF9B151263B36, "932ff9b151263b36"),
    (Attribute.ICE_CONTROLLING, 0xFFFF_FFFF_FFFF_FFFF, "ffffffffffffffff"),
]

# What others send that we don't: the value is read all the same.
READ_ONLY: list[tuple[Attribute, Any, str]] = [
    # Reserved bits are ignored.
    (Attribute.MAPPED_ADDRESS, ("192.0.2.1", 80), "ff01 0050 c0000201"),
    (Attribute.ERROR_CODE, ErrorCode(401, ""), "fffffc01"),
    # An address of a family nobody knows.
    (Attribute.XOR_MAPPED_ADDRESS, None, "0003 0050 c0000201"),
    (Attribute.MAPPED_ADDRESS, None, "0000 0050"),
    # Text for people is shown even if it is broken, and may be as long as RFC 5389 allowed.
    (Attribute.SOFTWARE, "a\ufffdb", "61 ff 62"),
    (Attribute.SOFTWARE, "x" * 763, "78" * 763),
    (Attribute.ERROR_CODE, ErrorCode(400, "\ufffd"), "00000400 ff"),
    (Attribute.ERROR_CODE, ErrorCode(400, "x" * 763), "00000400" + "78" * 763),
    (Attribute.USERNAME, "x" * 763, "78" * 763),
    # Padding at the end of the list that was left to the attribute's own.
    (Attribute.PASSWORD_ALGORITHMS, [PasswordAlgorithm(7, b"abcde")], "00070005 6162636465"),
    (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(7, b"abcde"), "00070005 6162636465"),
    (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(7, b"abcde"), "00070005 6162636465 000000"),
]

MALFORMED: list[tuple[Attribute, str]] = [
    *(
        (address, value)
        for address in (Attribute.MAPPED_ADDRESS, Attribute.XOR_MAPPED_ADDRESS, Attribute.ALTERNATE_SERVER)
        for value in (
            "",
            "000100",
            "0001 0050",
            "0001 0050 c00002",
            "0001 0050 c000020100",
            "0002 0050 c0000201",
            "0001 0050 20010db8000000000000000000000001",
            "0002 0050 20010db800000000000000000000000100",
        )
    ),
    *(
        (text, value)
        for text in (Attribute.USERNAME, Attribute.REALM, Attribute.NONCE)
        for value in ("ff", "c0af", "eda080", "61e383", "78" * 764)
    ),
    (Attribute.ALTERNATE_DOMAIN, "c3bc"),
    (Attribute.ALTERNATE_DOMAIN, "78" * 256),
    (Attribute.SOFTWARE, "78" * 764),
    (Attribute.USERHASH, "00" * 31),
    (Attribute.USERHASH, "00" * 33),
    (Attribute.MESSAGE_INTEGRITY, "00" * 19),
    (Attribute.MESSAGE_INTEGRITY, "00" * 24),
    (Attribute.MESSAGE_INTEGRITY_SHA256, "00" * 12),
    (Attribute.MESSAGE_INTEGRITY_SHA256, "00" * 18),
    (Attribute.MESSAGE_INTEGRITY_SHA256, "00" * 36),
    (Attribute.FINGERPRINT, "000000"),
    (Attribute.FINGERPRINT, "0000000000"),
    (Attribute.ERROR_CODE, ""),
    (Attribute.ERROR_CODE, "000004"),
    (Attribute.ERROR_CODE, "00000200"),
    (Attribute.ERROR_CODE, "00000700"),
    (Attribute.ERROR_CODE, "00000464"),
    (Attribute.ERROR_CODE, "00000400" + "78" * 764),
    (Attribute.UNKNOWN_ATTRIBUTES, "0025 7f"),
    (Attribute.PASSWORD_ALGORITHMS, "0001"),
    (Attribute.PASSWORD_ALGORITHMS, "00010001"),
    (Attribute.PASSWORD_ALGORITHMS, "00010000 0002"),
    (Attribute.PASSWORD_ALGORITHMS, "0001ffff 00000000"),
    (Attribute.PASSWORD_ALGORITHM, ""),
    (Attribute.PASSWORD_ALGORITHM, "00010004"),
    (Attribute.PASSWORD_ALGORITHM, "00010000 00020000"),
    (Attribute.PRIORITY, "000000"),
    (Attribute.PRIORITY, "0000000000"),
    (Attribute.USE_CANDIDATE, "00"),
    (Attribute.ICE_CONTROLLED, "00" * 4),
    (Attribute.ICE_CONTROLLING, "00" * 12),
]

NOT_TO_BE_SENT: list[tuple[Attribute, Any]] = [
    (Attribute.XOR_MAPPED_ADDRESS, ("stun.example.org", 3478)),
    (Attribute.XOR_MAPPED_ADDRESS, ("192.0.2.1", 65536)),
    (Attribute.XOR_MAPPED_ADDRESS, ("192.0.2.1", -1)),
    (Attribute.MAPPED_ADDRESS, ("192.0.2.1",)),
    (Attribute.MAPPED_ADDRESS, bytes.fromhex("00010050")),
    (Attribute.USERNAME, "x" * 509),
    (Attribute.USERNAME, "\ud800"),
    (Attribute.SOFTWARE, "x" * 510),
    (Attribute.REALM, "x" * 764),
    (Attribute.ALTERNATE_DOMAIN, "b\u00fccher.example"),
    (Attribute.ERROR_CODE, (299, "")),
    (Attribute.ERROR_CODE, (700, "")),
    (Attribute.ERROR_CODE, (400, "x" * 510)),
    (Attribute.USERHASH, bytes(31)),
    (Attribute.UNKNOWN_ATTRIBUTES, [0x10000]),
    (Attribute.UNKNOWN_ATTRIBUTES, [-1]),
    (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(0x10000)),
    (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(1, bytes(0x10000))),
    (Attribute.PRIORITY, 1 << 32),
    (Attribute.PRIORITY, -1),
    (Attribute.ICE_CONTROLLED, 1 << 64),
    (Attribute.ICE_CONTROLLED, bytes(7)),
    (Attribute.USE_CANDIDATE, b"\x00"),
]

OF_THE_WRONG_TYPE: list[tuple[int, Any]] = [
    (Attribute.XOR_MAPPED_ADDRESS, None),
    (Attribute.XOR_MAPPED_ADDRESS, (b"192.0.2.1", 80)),
    (Attribute.USERNAME, None),
    (Attribute.USERNAME, 1),
    (Attribute.PRIORITY, "1"),
    (Attribute.PRIORITY, 1.5),
    (Attribute.USE_CANDIDATE, False),
    (Attribute.USE_CANDIDATE, 1),
    (Attribute.USERHASH, "x" * 32),
    (Attribute.PASSWORD_ALGORITHM, (1, "x")),
    (Attribute.UNKNOWN_ATTRIBUTES, 3),
    (0x7FFF, "text"),
]


def framed(attribute: Attribute, value: str) -> bytes:
    return twin.build(1, 0, TRANSACTION_ID, [(attribute, bytes.fromhex(value))], fingerprint=False)


def test_the_table_here_has_every_attribute() -> None:
    assert {attribute for attribute, _, _ in WELL_FORMED} == set(Attribute) - set(ATTRIBUTES_BY_THEMSELVES)
    assert set(Attribute) - {attribute for attribute, _ in MALFORMED} == set()


@pytest.mark.parametrize(("attribute", "value", "wire"), WELL_FORMED)
def test_a_value_goes_to_the_wire_and_comes_back(attribute: Attribute, value: Any, wire: str) -> None:
    data = build_message(1, 0, TRANSACTION_ID, [(attribute, value)], fingerprint=False)
    assert data == framed(attribute, wire)
    message = parse_message(data)
    assert message.get(attribute) == value
    assert type(message.get(attribute)) is type(value)
    assert message.attributes == [(attribute, bytes.fromhex(wire))]


@pytest.mark.parametrize(("attribute", "value", "wire"), WELL_FORMED)
def test_a_value_may_be_given_as_its_bytes(attribute: Attribute, value: Any, wire: str) -> None:
    data = build_message(1, 0, TRANSACTION_ID, [(attribute, bytes.fromhex(wire))], fingerprint=False)
    assert parse_message(data).get(attribute) == value


@pytest.mark.parametrize(("attribute", "value", "wire"), READ_ONLY)
def test_more_is_read_than_is_written(attribute: Attribute, value: Any, wire: str) -> None:
    message = parse_message(framed(attribute, wire))
    assert message.get(attribute) == value
    assert message.get_all(attribute) == [value]


@pytest.mark.parametrize(("attribute", "wire"), MALFORMED)
def test_a_broken_value_makes_the_message_malformed(attribute: Attribute, wire: str) -> None:
    with pytest.raises(ProtocolError):
        parse_message(framed(attribute, wire))


@pytest.mark.parametrize(("attribute", "value"), NOT_TO_BE_SENT)
def test_a_value_that_no_one_may_send_is_refused(attribute: Attribute, value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        build_message(1, 0, TRANSACTION_ID, [(attribute, value)])


@pytest.mark.parametrize(("attribute", "value"), OF_THE_WRONG_TYPE)
def test_a_value_of_the_wrong_type_is_refused(attribute: int, value: Any) -> None:
    with pytest.raises(TypeError):
        build_message(1, 0, TRANSACTION_ID, [(attribute, value)])


def test_a_refusal_names_the_attribute() -> None:
    with pytest.raises(ValueError, match="not a value of ICE-CONTROLLED"):
        build_message(1, 0, TRANSACTION_ID, [(Attribute.ICE_CONTROLLED, b"1234567")])
    with pytest.raises(TypeError, match="attribute 0x7fff takes bytes"):
        build_message(1, 0, TRANSACTION_ID, [(0x7FFF, "text")])


@pytest.mark.parametrize("attribute", ATTRIBUTES_BY_THEMSELVES)
def test_integrity_and_fingerprint_are_not_given_as_attributes(attribute: Attribute) -> None:
    with pytest.raises(ValueError, match="is added by"):
        build_message(1, 0, TRANSACTION_ID, [(attribute, bytes(20))])


def test_the_scope_of_an_address_is_not_sent() -> None:
    data = build_message(1, 2, TRANSACTION_ID, [(Attribute.XOR_MAPPED_ADDRESS, ("fe80::1%eth0", 80))])
    assert parse_message(data).get(Attribute.XOR_MAPPED_ADDRESS) == ("fe80::1", 80)


def test_the_integrity_attributes_have_values_too() -> None:
    data = build_message(1, 0, TRANSACTION_ID, integrity_key=b"key", integrity="both", sha256_size=20)
    message = parse_message(data)
    assert message.get(Attribute.MESSAGE_INTEGRITY) == data[24:44]
    assert message.get(Attribute.MESSAGE_INTEGRITY_SHA256) == data[48:68]
    assert message.get(Attribute.FINGERPRINT) == int.from_bytes(data[-4:], "big")


@pytest.mark.parametrize(
    "type_", [0x0000, 0x0002, 0x0007, 0x00FF, 0x0108, 0x7FFF, 0x8000, 0x80FF, 0xC001, 0xFFFF]
)
def test_unknown_attributes_are_kept_as_bytes(type_: int) -> None:
    message = parse_message(build_message(1, 0, TRANSACTION_ID, [(type_, b"abcde")]))
    assert message.get(type_) == b"abcde"
    assert message.attributes[0] == (type_, b"abcde")
