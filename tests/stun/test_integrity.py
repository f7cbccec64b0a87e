"""HMAC and CRC against the standard library's, for every way a message can fill their blocks."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet.stun import IntegrityKey, build_message, parse_message
from tests.stun import strategies, twin

TRANSACTION_ID = bytes(range(12))
UNKNOWN_TYPE = 0x7FFF


def message_of(size: int) -> list[tuple[int, bytes]]:
    return [(UNKNOWN_TYPE, bytes(index & 0xFF for index in range(size)))]


@pytest.mark.parametrize("integrity", ["sha1", "sha256", "both"])
@pytest.mark.parametrize("key_size", [1, 20, 63, 64, 65, 200])
def test_the_hmac_is_right_for_messages_of_all_sizes(integrity: Any, key_size: int) -> None:
    key = bytes(range(256))[:key_size]
    prepared = IntegrityKey(key)
    for size in [*range(0, 200, 4), 1200, 65000]:
        data = build_message(
            1, 0, TRANSACTION_ID, message_of(size), integrity_key=prepared, integrity=integrity
        )
        assert data == twin.build(
            1, 0, TRANSACTION_ID, message_of(size), integrity_key=key, integrity=integrity
        )
        assert parse_message(data).verify_integrity(prepared)


@given(strategies.keys)
def test_a_prepared_key_and_its_bytes_do_the_same(key: bytes) -> None:
    plain = build_message(1, 0, TRANSACTION_ID, integrity_key=key, integrity="both")
    assert plain == build_message(1, 0, TRANSACTION_ID, integrity_key=IntegrityKey(key), integrity="both")
    assert parse_message(plain).verify_integrity(key)
    assert parse_message(plain).verify_integrity(IntegrityKey(key))


@pytest.mark.parametrize("integrity", ["sha1", "sha256"])
@given(data=st.data(), key=strategies.keys)
def test_one_changed_bit_is_noticed(integrity: Any, data: st.DataObject, key: bytes) -> None:
    message = bytearray(
        build_message(
            1,
            0,
            TRANSACTION_ID,
            message_of(60),
            integrity_key=key,
            integrity=integrity,
            fingerprint=False,
        )
    )
    # The header but for cookie and length, the attribute's value, or the HMAC.
    hmac_size = 20 if integrity == "sha1" else 32
    places = [1, *range(8, 20), *range(24, 84), *range(len(message) - hmac_size, len(message))]
    place = data.draw(st.sampled_from(places))
    message[place] ^= 1 << data.draw(st.integers(0, 3 if place == 1 else 7))
    assert not parse_message(bytes(message)).verify_integrity(key)


@given(st.data())
def test_one_changed_bit_is_noticed_by_the_fingerprint(data: st.DataObject) -> None:
    message = bytearray(build_message(1, 0, TRANSACTION_ID, message_of(60)))
    place = data.draw(st.sampled_from([1, *range(8, 20), *range(24, 84), *range(88, 92)]))
    message[place] ^= 1 << data.draw(st.integers(0, 3 if place == 1 else 7))
    assert not parse_message(bytes(message)).verify_fingerprint()


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        IntegrityKey(b"")
    with pytest.raises(ValueError, match="empty"):
        parse_message(build_message(1, 0, TRANSACTION_ID, integrity_key=b"k")).verify_integrity(b"")


def test_a_key_is_not_pickled_and_not_shown() -> None:
    key = IntegrityKey(b"secret")
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(key)
    assert "secret" not in repr(key)


def test_a_text_is_not_a_key() -> None:
    with pytest.raises(TypeError):
        IntegrityKey("secret")  # type: ignore[arg-type]
