from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.errors import ProtocolError
from pknet.stun import (
    MAGIC_COOKIE,
    Algorithm,
    Attribute,
    Message,
    MessageClass,
    Method,
    PasswordAlgorithm,
    build_message,
    is_stun,
    long_term_key,
    parse_message,
    short_term_key,
    userhash,
)
from tests.stun import strategies, twin, vectors

TRANSACTION_ID = bytes(range(12))
KEY = b"integrity key"
PRIORITY = [(Attribute.PRIORITY, 1)]


def binding_request(*attributes: tuple[int, Any], **options: Any) -> bytes:
    return build_message(Method.BINDING, MessageClass.REQUEST, TRANSACTION_ID, attributes, **options)


def with_attribute(data: bytes, type_: int, value: bytes) -> bytes:
    """Append an attribute to a message, as anyone on the path could."""
    longer = data + twin.attribute(type_, value)
    return twin.with_length(longer, len(longer))


class TestPublishedVectors:
    def test_the_sample_request(self) -> None:
        message = parse_message(vectors.REQUEST)
        assert (message.method, message.message_class) == (Method.BINDING, MessageClass.REQUEST)
        assert message.transaction_id == vectors.TRANSACTION_ID
        assert message.get(Attribute.SOFTWARE) == "STUN test client"
        assert message.get(Attribute.PRIORITY) == 0x6E0001FF
        assert message.get(Attribute.ICE_CONTROLLED) == 0x932FF9B151263B36
        assert message.get(Attribute.USERNAME) == vectors.SHORT_TERM_USERNAME
        assert message.verify_integrity(short_term_key(vectors.SHORT_TERM_PASSWORD))
        assert message.verify_fingerprint()

    @pytest.mark.parametrize(
        ("data", "host"),
        [
            (vectors.IPV4_RESPONSE, "192.0.2.1"),
            (vectors.IPV6_RESPONSE, "2001:db8:1234:5678:11:2233:4455:6677"),
        ],
    )
    def test_the_sample_responses(self, data: bytes, host: str) -> None:
        message = parse_message(data)
        assert (message.method, message.message_class) == (Method.BINDING, MessageClass.SUCCESS_RESPONSE)
        assert message.get(Attribute.XOR_MAPPED_ADDRESS) == (host, 32853)
        assert message.get(Attribute.SOFTWARE) == "test vector"
        assert message.verify_integrity(short_term_key(vectors.SHORT_TERM_PASSWORD))
        assert message.verify_fingerprint()

    def test_the_sample_request_with_long_term_authentication_is_built_byte_for_byte(self) -> None:
        key = long_term_key(vectors.LONG_TERM_USERNAME, vectors.LONG_TERM_REALM, vectors.LONG_TERM_PASSWORD)
        data = build_message(
            Method.BINDING,
            MessageClass.REQUEST,
            vectors.LONG_TERM_TRANSACTION_ID,
            [
                (Attribute.USERNAME, vectors.LONG_TERM_USERNAME),
                (Attribute.NONCE, vectors.LONG_TERM_NONCE),
                (Attribute.REALM, vectors.LONG_TERM_REALM),
            ],
            integrity_key=key,
            fingerprint=False,
        )
        assert data == vectors.LONG_TERM_REQUEST
        assert parse_message(data).verify_integrity(key)

    def test_the_sample_request_with_sha256_and_userhash_is_built_byte_for_byte(self) -> None:
        key = long_term_key(
            vectors.LONG_TERM_USERNAME,
            vectors.LONG_TERM_REALM,
            vectors.LONG_TERM_PASSWORD,
            Algorithm.SHA_256,
        )
        data = build_message(
            Method.BINDING,
            MessageClass.REQUEST,
            vectors.LONG_TERM_TRANSACTION_ID,
            [
                (Attribute.USERHASH, userhash(vectors.LONG_TERM_USERNAME, vectors.LONG_TERM_REALM)),
                (Attribute.NONCE, vectors.SHA256_NONCE),
                (Attribute.REALM, vectors.LONG_TERM_REALM),
                (Attribute.PASSWORD_ALGORITHM, PasswordAlgorithm(Algorithm.SHA_256)),
            ],
            integrity_key=key,
            integrity="sha256",
            fingerprint=False,
        )
        assert data == vectors.SHA256_REQUEST
        assert parse_message(data).verify_integrity(key)

    @pytest.mark.parametrize(
        "data",
        [
            vectors.REQUEST,
            vectors.IPV4_RESPONSE,
            vectors.IPV6_RESPONSE,
            vectors.LONG_TERM_REQUEST,
            vectors.SHA256_REQUEST,
        ],
    )
    def test_a_wrong_key_does_not_verify(self, data: bytes) -> None:
        assert not parse_message(data).verify_integrity(b"wrong")


class TestHeader:
    @pytest.mark.parametrize(
        ("method", "message_class", "wire"),
        [
            (0x001, MessageClass.REQUEST, 0x0001),
            (0x001, MessageClass.INDICATION, 0x0011),
            (0x001, MessageClass.SUCCESS_RESPONSE, 0x0101),
            (0x001, MessageClass.ERROR_RESPONSE, 0x0111),
            (0x003, MessageClass.ERROR_RESPONSE, 0x0113),
            (0x010, MessageClass.REQUEST, 0x0020),
            (0x080, MessageClass.REQUEST, 0x0200),
            (0xFFF, MessageClass.REQUEST, 0x3EEF),
            (0xFFF, MessageClass.ERROR_RESPONSE, 0x3FFF),
        ],
    )
    def test_method_and_class_share_the_type(self, method: int, message_class: int, wire: int) -> None:
        data = build_message(method, message_class, TRANSACTION_ID)
        assert int.from_bytes(data[:2], "big") == wire
        message = parse_message(data)
        assert (message.method, message.message_class) == (method, message_class)

    @given(st.integers(0, 0xFFF), st.sampled_from(MessageClass), strategies.transaction_ids)
    def test_every_header_comes_back(self, method: int, message_class: int, transaction_id: bytes) -> None:
        data = build_message(method, message_class, transaction_id, fingerprint=False)
        assert len(data) == 20
        assert int.from_bytes(data[4:8], "big") == MAGIC_COOKIE
        message = parse_message(data)
        assert (message.method, message.message_class, message.transaction_id) == (
            method,
            message_class,
            transaction_id,
        )

    def test_a_known_method_and_class_have_their_names(self) -> None:
        message = parse_message(binding_request())
        assert message.method is Method.BINDING
        assert message.message_class is MessageClass.REQUEST

    @pytest.mark.parametrize(
        ("method", "message_class", "transaction_id"),
        [(0x1000, 0, TRANSACTION_ID), (-1, 0, TRANSACTION_ID), (1, 4, TRANSACTION_ID), (1, 0, b"short")],
    )
    def test_a_header_that_can_not_be_is_refused(
        self, method: int, message_class: int, transaction_id: bytes
    ) -> None:
        with pytest.raises(ValueError, match=r".+"):
            build_message(method, message_class, transaction_id)


class TestFraming:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            bytes(19),
            # RFC 3489: no cookie.
            bytes.fromhex("00010000 00000000") + TRANSACTION_ID,
            # The two leading bits are not zero.
            bytes.fromhex("40010000 2112a442") + TRANSACTION_ID,
            bytes.fromhex("80010000 2112a442") + TRANSACTION_ID,
            # A length that is not that of the datagram, or no multiple of 4.
            bytes.fromhex("00010004 2112a442") + TRANSACTION_ID,
            bytes.fromhex("00010000 2112a442") + TRANSACTION_ID + bytes(4),
            bytes.fromhex("00010002 2112a442") + TRANSACTION_ID + bytes(2),
        ],
    )
    def test_what_is_not_stun_is_told_by_its_header(self, data: bytes) -> None:
        assert not is_stun(data)
        with pytest.raises(ProtocolError):
            parse_message(data)

    @pytest.mark.parametrize(
        "attributes",
        [
            # Beyond the end: by its length, by its padding, by the largest length there is.
            "7fff0004",
            "7fff0005 00000000",
            "7fffffff 00000000",
            "7ffffffd 00000000",
            "7fff0000 7fff0008 00000000",
        ],
    )
    def test_an_attribute_that_overruns_makes_the_message_malformed(self, attributes: str) -> None:
        data = bytes.fromhex("00010000 2112a442") + TRANSACTION_ID + bytes.fromhex(attributes)
        data = twin.with_length(data, len(data))
        assert is_stun(data)
        with pytest.raises(ProtocolError):
            parse_message(data)

    def test_every_prefix_of_a_message_is_malformed(self) -> None:
        data = binding_request(*PRIORITY, integrity_key=KEY)
        for size in range(len(data)):
            with pytest.raises(ProtocolError):
                parse_message(data[:size])

    def test_the_largest_message_is_built_and_read(self) -> None:
        value = bytes(0xFFFC - 4)
        data = binding_request((0x7FFF, value), fingerprint=False)
        assert len(data) == 20 + 0xFFFC
        assert parse_message(data).get(0x7FFF) == value

    @pytest.mark.parametrize("size", [0xFFFC - 3, 0xFFFF, 0x10000, 1 << 20])
    def test_a_message_that_is_too_large_is_refused(self, size: int) -> None:
        with pytest.raises(ValueError, match="at most"):
            binding_request((0x7FFF, bytes(size)), fingerprint=False)

    def test_there_may_be_no_room_left_for_the_fingerprint(self) -> None:
        with pytest.raises(ValueError, match="at most"):
            binding_request((0x7FFF, bytes(0xFFFC - 4)), fingerprint=True)

    def test_many_attributes_make_a_message_too_large(self) -> None:
        with pytest.raises(ValueError, match="at most"):
            binding_request(*[(0x7FFF, bytes(1000))] * 66)

    def test_a_message_of_empty_attributes_is_read(self) -> None:
        data = binding_request(*[(0x7FFF, b"")] * (0xFFFC // 4), fingerprint=False)
        assert parse_message(data).get_all(0x7FFF) == [b""] * (0xFFFC // 4)

    @pytest.mark.parametrize("size", range(1, 9))
    def test_padding_is_zeros_and_not_part_of_the_value(self, size: int) -> None:
        data = binding_request((0x7FFF, b"\xff" * size), fingerprint=False)
        assert data[24 + size :] == bytes(-size % 4)
        assert parse_message(data).get(0x7FFF) == b"\xff" * size

    def test_padding_of_any_content_is_read(self) -> None:
        # The sample request of RFC 5769 pads its USERNAME with spaces.
        assert vectors.REQUEST[-40:-32].endswith(b"Y   ")
        assert parse_message(vectors.REQUEST).get(Attribute.USERNAME) == "evtj:h6vY"

    @pytest.mark.parametrize("wrap", [bytearray, memoryview, lambda data: memoryview(bytearray(data))])
    def test_any_buffer_is_read_and_copied(self, wrap: Any) -> None:
        buffer = wrap(vectors.REQUEST)
        assert is_stun(buffer)
        message = parse_message(buffer)
        if not memoryview(buffer).readonly:
            memoryview(buffer)[:] = bytes(len(buffer))
        assert message.data == vectors.REQUEST

    @pytest.mark.parametrize("data", [None, 20, "text"])
    def test_what_is_no_buffer_is_refused(self, data: Any) -> None:
        with pytest.raises(TypeError):
            parse_message(data)
        with pytest.raises(TypeError):
            is_stun(data)


class TestAttributesThatCount:
    def test_the_first_of_several_is_taken(self) -> None:
        message = parse_message(binding_request((Attribute.PRIORITY, 1), (Attribute.PRIORITY, 2)))
        assert message.get(Attribute.PRIORITY) == 1
        assert message.get_all(Attribute.PRIORITY) == [1, 2]

    def test_there_may_be_none(self) -> None:
        message = parse_message(binding_request())
        assert message.get(Attribute.PRIORITY) is None
        assert message.get_all(Attribute.PRIORITY) == []

    @pytest.mark.parametrize("integrity", ["sha1", "sha256", "both"])
    def test_what_follows_the_integrity_is_not_there(self, integrity: Any) -> None:
        data = binding_request(integrity_key=KEY, integrity=integrity, fingerprint=False)
        message = parse_message(with_attribute(data, Attribute.PRIORITY, bytes(4)))
        assert message.get(Attribute.PRIORITY) is None
        assert message.verify_integrity(KEY)

    @pytest.mark.parametrize("integrity", ["sha1", "sha256", "both"])
    def test_what_follows_the_integrity_may_be_malformed(self, integrity: Any) -> None:
        data = binding_request(integrity_key=KEY, integrity=integrity, fingerprint=False)
        assert parse_message(with_attribute(data, Attribute.PRIORITY, b"")).verify_integrity(KEY)

    def test_an_attribute_added_behind_the_integrity_is_not_acted_upon(self) -> None:
        data = binding_request((0x7FFF, b"mine"), integrity_key=KEY, fingerprint=False)
        message = parse_message(with_attribute(data, 0x7FFF, b"not mine"))
        assert message.get_all(0x7FFF) == [b"mine"]
        assert message.unknown_comprehension_required(()) == [0x7FFF, Attribute.MESSAGE_INTEGRITY]

    def test_sha256_counts_behind_sha1_and_decides(self) -> None:
        data = binding_request(integrity_key=KEY, fingerprint=False)
        message = parse_message(with_attribute(data, Attribute.MESSAGE_INTEGRITY_SHA256, bytes(32)))
        assert message.integrity == "both"
        assert not message.verify_integrity(KEY)

    def test_sha1_behind_sha256_does_not_count(self) -> None:
        data = binding_request(integrity_key=KEY, integrity="sha256", fingerprint=False)
        message = parse_message(with_attribute(data, Attribute.MESSAGE_INTEGRITY, bytes(20)))
        assert message.integrity == "sha256"
        assert message.verify_integrity(KEY)

    def test_a_second_integrity_does_not_count(self) -> None:
        data = binding_request(integrity_key=KEY, fingerprint=False)
        message = parse_message(with_attribute(data, Attribute.MESSAGE_INTEGRITY, bytes(20)))
        assert message.verify_integrity(KEY)

    def test_nothing_counts_behind_the_fingerprint(self) -> None:
        data = with_attribute(binding_request(), Attribute.PRIORITY, bytes(4))
        message = parse_message(data)
        assert message.get(Attribute.PRIORITY) is None

    def test_a_fingerprint_that_is_not_the_last_is_wrong(self) -> None:
        data = with_attribute(binding_request(), 0x7FFF, b"")
        message = parse_message(data)
        assert message.has_fingerprint
        assert not message.verify_fingerprint()

    def test_the_fingerprint_may_follow_an_ignored_attribute(self) -> None:
        # The FINGERPRINT protects nothing: whoever added the attribute could compute it too.
        data = with_attribute(
            binding_request(integrity_key=KEY, fingerprint=False), Attribute.PRIORITY, bytes(4)
        )
        parsed = twin.parse(data)
        fingerprinted = twin.build(1, 0, TRANSACTION_ID, [*parsed.attributes, (Attribute.PRIORITY, bytes(4))])
        message = parse_message(fingerprinted)
        assert message.verify_fingerprint()
        assert message.verify_integrity(KEY)
        assert message.get(Attribute.PRIORITY) is None

    def test_unknown_comprehension_required_attributes_are_listed_once(self) -> None:
        message = parse_message(
            binding_request(
                (0x7FFF, b""), (0x0003, b"1234"), (0x7FFF, b""), (0x8055, b""), (Attribute.PRIORITY, 1)
            )
        )
        assert message.unknown_comprehension_required({Attribute.PRIORITY}) == [0x7FFF, 0x0003]


class TestVerification:
    @pytest.mark.parametrize("integrity", ["sha1", "sha256", "both"])
    @pytest.mark.parametrize("fingerprint", [True, False])
    def test_what_is_built_verifies(self, integrity: Any, fingerprint: bool) -> None:
        data = binding_request(*PRIORITY, integrity_key=KEY, integrity=integrity, fingerprint=fingerprint)
        message = parse_message(data)
        assert message.integrity == integrity
        assert message.verify_integrity(KEY)
        assert not message.verify_integrity(b"another key")
        assert message.has_fingerprint is message.verify_fingerprint() is fingerprint

    def test_without_integrity_no_key_verifies(self) -> None:
        message = parse_message(binding_request())
        assert message.integrity is None
        assert not message.verify_integrity(KEY)

    def test_without_a_fingerprint_none_verifies(self) -> None:
        message = parse_message(binding_request(fingerprint=False))
        assert not message.has_fingerprint
        assert not message.verify_fingerprint()

    @pytest.mark.parametrize("size", [16, 20, 24, 28])
    def test_a_truncated_sha256_verifies_only_where_that_is_allowed(self, size: int) -> None:
        data = binding_request(integrity_key=KEY, integrity="sha256", sha256_size=size)
        message = parse_message(data)
        assert len(message.get(Attribute.MESSAGE_INTEGRITY_SHA256) or b"") == size
        assert not message.verify_integrity(KEY)
        assert message.verify_integrity(KEY, allow_truncation=True)
        assert not message.verify_integrity(b"another key", allow_truncation=True)

    @pytest.mark.parametrize("size", [0, 12, 15, 17, 36])
    def test_sha256_is_not_truncated_to_just_any_size(self, size: int) -> None:
        with pytest.raises(ValueError, match="sha256_size"):
            binding_request(integrity_key=KEY, integrity="sha256", sha256_size=size)

    def test_an_unknown_integrity_is_refused(self) -> None:
        with pytest.raises(ValueError, match="integrity"):
            binding_request(integrity_key=KEY, integrity="md5")


class TestMessageAsAnObject:
    def test_a_message_is_its_bytes(self) -> None:
        one, same = parse_message(vectors.REQUEST), parse_message(bytearray(vectors.REQUEST))
        assert one == same
        assert hash(one) == hash(same)
        assert one != parse_message(vectors.IPV4_RESPONSE)
        assert one != vectors.REQUEST
        assert pickle.loads(pickle.dumps(one)) == one

    def test_its_text_says_what_it_is(self) -> None:
        assert repr(parse_message(binding_request((0x7FFF, b""), fingerprint=False))) == (
            "Message(BINDING REQUEST, 000102030405060708090a0b, [0x7fff])"
        )

    def test_it_does_not_change(self) -> None:
        message = parse_message(vectors.REQUEST)
        with pytest.raises(AttributeError):
            message.data = b""  # type: ignore[misc]
        message.attributes.clear()
        assert message.attributes

    def test_it_comes_only_from_the_parser(self) -> None:
        with pytest.raises(TypeError, match="parse_message"):
            Message()
        assert Message.__new__(Message).attributes == []


class TestAgainstTheTwin:
    @settings(max_examples=500)
    @given(strategies.datagrams)
    def test_both_read_the_same_in_any_datagram(self, data: bytes) -> None:
        try:
            expected = twin.parse(data)
        except twin.MalformedError:
            with pytest.raises(ProtocolError):
                parse_message(data)
            return
        message = parse_message(data)
        assert is_stun(data)
        assert message.method == expected.method
        assert message.message_class == expected.message_class
        assert message.transaction_id == expected.transaction_id
        assert message.attributes == expected.attributes
        for type_, _ in expected.attributes:
            values = [value for other, value in expected.values if other == type_]
            assert message.get_all(type_) == values
            assert message.get(type_) == values[0]

    @settings(max_examples=300)
    @given(strategies.raw_messages(), strategies.few_keys, st.booleans())
    def test_both_believe_the_same_messages(self, data: bytes, key: bytes, allow_truncation: bool) -> None:
        try:
            message = parse_message(data)
        except ProtocolError:
            return
        assert message.verify_fingerprint() == twin.verify_fingerprint(data)
        assert message.verify_integrity(key, allow_truncation=allow_truncation) == twin.verify_integrity(
            data, key, allow_truncation=allow_truncation
        )

    @settings(max_examples=300)
    @given(
        st.integers(0, 0xFFF),
        st.integers(0, 3),
        strategies.transaction_ids,
        st.lists(st.tuples(st.integers(0x0030, 0x7FFF), st.binary(max_size=70)), max_size=20),
        strategies.keys,
        st.sampled_from(["sha1", "sha256", "both"]),
        st.sampled_from([16, 20, 24, 28, 32]),
        st.booleans(),
    )
    def test_both_build_the_same(
        self,
        method: int,
        message_class: int,
        transaction_id: bytes,
        attributes: list[tuple[int, bytes]],
        key: bytes,
        integrity: Any,
        sha256_size: int,
        fingerprint: bool,
    ) -> None:
        data = build_message(
            method,
            message_class,
            transaction_id,
            attributes,
            integrity_key=key,
            integrity=integrity,
            sha256_size=sha256_size,
            fingerprint=fingerprint,
        )
        assert data == twin.build(
            method,
            message_class,
            transaction_id,
            attributes,
            integrity_key=key,
            integrity=integrity,
            sha256_size=sha256_size,
            fingerprint=fingerprint,
        )
        assert parse_message(data).verify_integrity(key, allow_truncation=True)
        assert parse_message(data).verify_fingerprint() is fingerprint

    @given(strategies.addresses, strategies.transaction_ids)
    def test_an_address_survives_the_masking(self, address: tuple[str, int], transaction_id: bytes) -> None:
        data = build_message(
            1,
            2,
            transaction_id,
            [(Attribute.XOR_MAPPED_ADDRESS, address), (Attribute.MAPPED_ADDRESS, address)],
        )
        message = parse_message(data)
        assert message.get(Attribute.XOR_MAPPED_ADDRESS) == address
        assert message.get(Attribute.MAPPED_ADDRESS) == address
        assert twin.parse(data).values[0] == (Attribute.XOR_MAPPED_ADDRESS, address)
