"""STUN messages: what is read is what the slow twin reads, and written again it says the same."""

from __future__ import annotations

import struct

from pknet.errors import ProtocolError
from pknet.stun import (
    Attribute,
    BindingServer,
    IntegrityKey,
    Message,
    build_message,
    is_stun,
    parse_message,
    short_term_key,
)
from tests.stun import twin, vectors

KEY = short_term_key(vectors.SHORT_TERM_PASSWORD)
PREPARED_KEY = IntegrityKey(KEY)
MADE_BY_ITSELF = {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256, Attribute.FINGERPRINT}
# Longer texts are read (RFC 8489 section 14.3, and what RFC 5389 allowed) than are written.
LONGEST_TEXT_SENT = 508
# An answer may be so much longer than what it answers (SECURITY.md).
MOST_GROWTH = 24
REMOTE = ("2001:db8::1", 1315)


def one_input(data: bytes) -> None:
    expected = twin_of(data)
    try:
        message = parse_message(data)
    except ProtocolError:
        assert expected is None
        return
    assert expected is not None
    assert is_stun(data)
    compare(message, expected, data)
    write_again(message)
    answer(data)


def twin_of(data: bytes) -> twin.Parsed | None:
    try:
        return twin.parse(data)
    except (twin.MalformedError, struct.error):
        return None


def compare(message: Message, expected: twin.Parsed, data: bytes) -> None:
    """Ask all that a message can be asked."""
    assert (message.method, message.message_class, message.transaction_id) == (
        expected.method,
        expected.message_class,
        expected.transaction_id,
    )
    assert message.attributes == expected.attributes
    types = list(dict.fromkeys(type_ for type_, _ in expected.attributes))
    for type_ in types:
        values = [value for other, value in expected.values if other == type_]
        assert message.get_all(type_) == values
        assert message.get(type_) == values[0]
    assert message.unknown_comprehension_required(()) == [type_ for type_ in types if type_ < 0x8000]
    assert message.verify_fingerprint() == twin.verify_fingerprint(data)
    for allow in (False, True):
        assert message.verify_integrity(PREPARED_KEY, allow_truncation=allow) == twin.verify_integrity(
            data, KEY, allow_truncation=allow
        )
    assert repr(message)


def write_again(message: Message) -> None:
    """Write the attributes once as they stood on the wire, once as values of Python."""
    attributes = [(type_, value) for type_, value in message.attributes if type_ not in MADE_BY_ITSELF]
    if any(len(value) > LONGEST_TEXT_SENT for _, value in attributes):
        return
    values = {type_: message.get_all(type_) for type_, _ in attributes}
    readable = [(type_, values[type_].pop(0)) for type_, _ in attributes]
    # An address of a family that is unknown has no value, and a text for people is mended as it is read.
    readable = [
        (type_, value)
        for type_, value in readable
        if value is not None and type_ not in (Attribute.SOFTWARE, Attribute.ERROR_CODE)
    ]
    for chosen in (attributes, readable):
        written = build_message(
            message.method, message.message_class, message.transaction_id, chosen, integrity_key=PREPARED_KEY
        )
        again = parse_message(written)
        assert (again.method, again.message_class) == (message.method, message.message_class)
        assert again.verify_integrity(KEY)
        assert again.verify_fingerprint()
        if chosen is attributes:
            assert [pair for pair in again.attributes if pair[0] not in MADE_BY_ITSELF] == attributes
        else:
            for type_ in {type_ for type_, _ in readable}:
                assert again.get_all(type_) == [value for other, value in readable if other == type_]


def answer(data: bytes) -> None:
    """Have a server answer: one answer at most, and no help for flooding others."""
    server = BindingServer()
    server.receive_datagram(data, REMOTE, None, 0.0)
    transmits = server.transmits()
    assert len(transmits) <= 1
    for transmit in transmits:
        assert transmit.remote == REMOTE
        assert len(transmit.data) <= len(data) + MOST_GROWTH
        parse_message(transmit.data)
