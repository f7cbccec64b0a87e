from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.errors import PknetError
from pknet.network.identity import (
    Identity,
    InvalidNodeIdError,
    NodeId,
    is_node_key,
    node_id_from_digest,
    node_id_of,
    node_id_to_digest,
    parse_node_id,
    self_signed_certificate,
    verify,
)


def key(n: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)


A = Identity(key(1))
B = Identity(key(2))


def test_a_node_id_is_the_base32_of_the_sha256_of_the_public_key() -> None:
    # The key of RFC 8032 section 7.1, test 1.
    public_key = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    private_key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    expected = base64.b32encode(hashlib.sha256(public_key).digest()).decode().lower().strip("=")
    assert len(expected) == 52
    assert node_id_of(public_key) == expected
    assert Identity(private_key).node_id == expected
    assert Identity(private_key).public_key == public_key


def test_a_public_key_of_another_size_has_no_node_id() -> None:
    with pytest.raises(PknetError):
        node_id_of(bytes(31))


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_digest_has_a_node_id_that_parses_to_it(digest: bytes) -> None:
    node_id = node_id_from_digest(digest)
    assert parse_node_id(node_id) == node_id
    assert node_id_to_digest(node_id) == digest


def test_a_digest_of_another_size_is_refused() -> None:
    with pytest.raises(PknetError):
        node_id_from_digest(bytes(20))


def test_a_node_id_may_be_typed_in_capitals_and_with_space_around_it() -> None:
    assert parse_node_id(f"  {A.node_id.upper()}\n") == A.node_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        A.node_id[:-1],
        A.node_id + "a",
        "1" + A.node_id[1:],  # no letter of base32
        A.node_id[:-1] + "b",  # bits beyond the 256th
        "\N{KELVIN SIGN}" + A.node_id[1:],  # lower() makes a k of it
        A.node_id[:20] + " " + A.node_id[21:],
    ],
)
def test_a_mistyped_node_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidNodeIdError, match="node id"):
        parse_node_id(text)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_node_id_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidNodeIdError):
        assert len(parse_node_id(text)) == 52


def test_a_certificate_is_the_same_every_time() -> None:
    first = self_signed_certificate(key(1)).public_bytes(Encoding.DER)
    assert first == self_signed_certificate(key(1)).public_bytes(Encoding.DER)
    assert first == A.certificate.public_bytes(Encoding.DER)
    assert first != B.certificate.public_bytes(Encoding.DER)


def test_a_certificate_carries_the_key_signs_itself_and_never_expires() -> None:
    certificate = A.certificate
    assert certificate.public_key() == key(1).public_key()
    certificate.verify_directly_issued_by(certificate)
    assert certificate.not_valid_before_utc.year == 1970
    assert certificate.not_valid_after_utc.year == 9999
    assert certificate.serial_number > 0
    assert certificate.serial_number != B.certificate.serial_number


def test_a_signature_holds_for_its_node_context_and_message() -> None:
    signature = A.sign(b"offer", b"message")
    assert len(signature) == 64
    assert verify(A.node_id, A.public_key, b"offer", b"message", signature)


def test_what_is_signed_begins_as_nothing_that_tls_or_x509_sign() -> None:
    signed = b"pknet signature 1\x00" + b"\x05offer" + b"message"
    assert A.sign(b"offer", b"message") == A.private_key.sign(signed)
    assert not signed.startswith(b" " * 64)  # RFC 8446 section 4.4.3
    assert not signed.startswith(b"\x30")  # the SEQUENCE of a TBSCertificate


def test_a_signature_holds_for_nothing_else() -> None:
    signature = A.sign(b"offer", b"message")
    assert not verify(B.node_id, B.public_key, b"offer", b"message", signature)
    assert not verify(B.node_id, A.public_key, b"offer", b"message", signature)
    assert not verify(A.node_id, B.public_key, b"offer", b"message", signature)
    assert not verify(A.node_id, A.public_key, b"answer", b"message", signature)
    assert not verify(A.node_id, A.public_key, b"offer", b"massage", signature)
    assert not verify(A.node_id, A.public_key, b"offer", b"message", signature[:-1])
    assert not verify(A.node_id, A.public_key[:-1], b"offer", b"message", signature)


def test_where_the_context_ends_and_the_message_begins_is_signed_too() -> None:
    assert not verify(A.node_id, A.public_key, b"of", b"fer message", A.sign(b"offer", b" message"))


def test_a_bare_ed25519_signature_is_worth_nothing_here() -> None:
    assert not verify(A.node_id, A.public_key, b"offer", b"message", A.private_key.sign(b"offermessage"))
    assert not verify(A.node_id, A.public_key, b"", b"message", A.private_key.sign(b"message"))


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=80))
def test_no_key_and_no_signature_raises(public_key: bytes, signature: bytes) -> None:
    node_id = node_id_of(public_key) if len(public_key) == 32 else NodeId("")
    assert not verify(node_id, public_key, b"offer", b"message", signature)


def small_order_points() -> set[bytes]:
    """Find the points of small order on edwards25519 (RFC 7748 section 4.1), in all their encodings."""
    p, order = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, -1, p) % p

    def add(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
        (x1, y1), (x2, y2) = first, second
        product = d * x1 * x2 * y1 * y2
        x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, p) % p
        return x, (y1 * y2 + x1 * x2) * pow(1 - product, -1, p) % p

    def multiply(n: int, point: tuple[int, int]) -> tuple[int, int]:
        result = (0, 1)
        for bit in f"{n:b}":
            result = add(result, result)
            if bit == "1":
                result = add(result, point)
        return result

    found: set[int] = set()
    y = 2
    while len(found) < 5:  # y of the points of order 1, 2, 4, 8 and again 8
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        if x * x % p != square:
            x = x * pow(2, (p - 1) // 4, p) % p
        if x * x % p == square:
            torsion = multiply(order, (x, y))  # what is left has an order that divides 8
            found |= {multiply(n, torsion)[1] for n in range(8)}
        y += 1
    values = {value for y in found for value in (y, y + p) if value < 2**255}
    return {(value | sign << 255).to_bytes(32, "little") for value in values for sign in (0, 1)}


def test_a_key_of_small_order_belongs_to_nobody() -> None:
    points = small_order_points()
    assert len(points) == 14
    for point in points:
        assert not is_node_key(point)
        for message in range(20):  # some of these signatures OpenSSL would believe
            for nonce in (bytes(32), b"\x01" + bytes(31)):
                assert not verify(node_id_of(point), point, b"", bytes([message]), nonce + bytes(32))
    assert is_node_key(A.public_key)
    assert not is_node_key(A.public_key[:-1])


def test_a_context_that_is_too_long_is_refused() -> None:
    with pytest.raises(PknetError):
        A.sign(bytes(256), b"")


def test_identities_are_equal_when_their_keys_are() -> None:
    assert Identity(key(1)) == A
    assert hash(Identity(key(1))) == hash(A)
    assert A != B


def test_an_identity_shows_its_node_id_alone() -> None:
    assert repr(A) == f"Identity(node_id={A.node_id!r})"
