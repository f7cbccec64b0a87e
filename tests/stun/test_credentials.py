from __future__ import annotations

import pytest

from pknet.stun import (
    Algorithm,
    Attribute,
    MessageClass,
    Method,
    build_message,
    long_term_key,
    parse_message,
    short_term_key,
    userhash,
)
from tests.stun import vectors


def test_the_short_term_key_is_the_password() -> None:
    assert short_term_key(vectors.SHORT_TERM_PASSWORD) == b"VOkJxbRl1RmTxUk/WvJxBt"


def test_the_long_term_key_is_that_of_the_standards_example() -> None:
    # RFC 8489 section 9.2.2.
    assert long_term_key("user", "realm", "pass").hex() == "8493fbc53ba582fb4c044c456bdc40eb"


def test_the_long_term_key_verifies_the_published_request() -> None:
    key = long_term_key(vectors.LONG_TERM_USERNAME, vectors.LONG_TERM_REALM, vectors.LONG_TERM_PASSWORD)
    assert parse_message(vectors.LONG_TERM_REQUEST).verify_integrity(key)


def test_sha256_makes_a_key_of_32_bytes() -> None:
    # printf user:realm:pass | sha256sum
    assert long_term_key("user", "realm", "pass", Algorithm.SHA_256).hex() == (
        "07e934117abd40836e7c6329b54731b2b2d2a5f9a71f544922d75e0730d8251b"
    )


def test_the_userhash_hides_the_username() -> None:
    # RFC 8489 appendix B.1.
    assert userhash(vectors.LONG_TERM_USERNAME, vectors.LONG_TERM_REALM).hex() == (
        "4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
    )


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("pass\u00a0word", "pass word"),  # a no-break space
        ("pass\u3000word", "pass word"),  # an ideographic space
        ("u\u0308ber", "\u00fcber"),  # decomposed
        ("\u2168", "\u2168"),  # NFC, not NFKC: a Roman numeral stays one
        ("CaseStays", "CaseStays"),
    ],
)
def test_one_password_typed_in_two_ways_makes_one_key(typed: str, prepared: str) -> None:
    assert short_term_key(typed) == prepared.encode()
    assert long_term_key("user", "realm", typed) == long_term_key("user", "realm", prepared)
    assert long_term_key("user", typed, "pass") == long_term_key("user", prepared, "pass")
    assert userhash(typed, "realm") == userhash(prepared, "realm")


def test_the_username_goes_into_the_key_as_it_stands() -> None:
    assert long_term_key("u\u0308", "realm", "pass") != long_term_key("\u00fc", "realm", "pass")


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_either_key_goes_with_either_integrity(algorithm: Algorithm) -> None:
    key = long_term_key("user", "realm", "pass", algorithm)
    other = long_term_key("user", "realm", "word", algorithm)
    data = build_message(
        Method.BINDING,
        MessageClass.REQUEST,
        bytes(12),
        [(Attribute.USERNAME, "user")],
        integrity_key=key,
        integrity="both",
    )
    assert parse_message(data).verify_integrity(key)
    assert not parse_message(data).verify_integrity(other)
