"""Who a node is: its Ed25519 key, the node id that names it, and the certificate that carries it into TLS.

A node id is the SHA-256 of the raw public key (RFC 8032 section 5.1.5) in lower-case base32 (RFC 4648 section
6) without padding: 52 characters. Whoever knows a node id can check a key by it, so no authority is needed.
"""

from __future__ import annotations

import base64
import datetime  # noqa: TID251 (two constant dates; no clock is read)
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, NewType

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pknet.errors import PknetError

__all__ = [
    "Identity",
    "InvalidNodeIdError",
    "NodeId",
    "is_node_key",
    "node_id_from_digest",
    "node_id_of",
    "node_id_to_digest",
    "parse_node_id",
    "self_signed_certificate",
    "verify",
]

NodeId = NewType("NodeId", str)

PUBLIC_KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
NODE_ID_LENGTH: Final = 52

_NODE_ID = re.compile(r"[a-z2-7]{51}[aq]")  # 256 bits fill 51 characters and one bit of the last
# The y coordinates of the points of small order; p and p + 1 are 0 and 1 in encodings beyond the field.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
_SIGNATURE_PREFIX: Final = b"pknet signature 1\x00"
_NOT_BEFORE: Final = datetime.datetime(1970, 1, 1)
_NOT_AFTER: Final = datetime.datetime(9999, 12, 31, 23, 59, 59)  # RFC 5280 section 4.1.2.5: no expiration


class InvalidNodeIdError(PknetError, ValueError):
    """A text that was given as a node id is none."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Identity:
    """Hold a node's private key and what follows from it.

    Two identities are equal when their public keys are.
    """

    private_key: Ed25519PrivateKey = field(repr=False, compare=False)
    public_key: bytes = field(init=False, repr=False)
    node_id: NodeId = field(init=False, compare=False)
    certificate: x509.Certificate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        public_key = self.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        object.__setattr__(self, "public_key", public_key)
        object.__setattr__(self, "node_id", node_id_of(public_key))
        object.__setattr__(self, "certificate", self_signed_certificate(self.private_key))

    def sign(self, context: bytes, message: bytes) -> bytes:
        """Sign `message` for the use that `context` names, in at most 255 bytes (RFC 8032 section 5.1.6).

        A signature made in one context is worth nothing in another, nor in TLS or X.509, whose signed data
        begin differently (RFC 8446 section 4.4.3).
        """
        return self.private_key.sign(_signed_data(context, message))


def verify(node_id: NodeId, public_key: bytes, context: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `public_key` is that of `node_id` and made `signature` over `message` in this context."""
    if not is_node_key(public_key) or node_id_of(public_key) != node_id:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _signed_data(context, message))
    except (InvalidSignature, ValueError):
        return False
    return True


def is_node_key(public_key: bytes) -> bool:
    """Tell whether a raw public key can be somebody's own.

    With a key of small order it cannot: the eight points whose order divides the cofactor (RFC 8032 section
    5.1) have no private key, and anybody can make signatures that verify under them.
    """
    if len(public_key) != PUBLIC_KEY_SIZE:
        return False
    y = public_key[:-1] + bytes([public_key[-1] & 0x7F])  # the last bit is the sign of x
    return y not in _SMALL_ORDER


def node_id_of(public_key: bytes) -> NodeId:
    """Return the node id of a raw Ed25519 public key (32 bytes)."""
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise PknetError(f"an Ed25519 public key has {PUBLIC_KEY_SIZE} bytes, not {len(public_key)}")
    return node_id_from_digest(hashlib.sha256(public_key).digest())


def node_id_from_digest(digest: bytes) -> NodeId:
    """Return the node id for the SHA-256 of a public key (32 bytes)."""
    if len(digest) != hashlib.sha256().digest_size:
        raise PknetError(f"a SHA-256 digest has 32 bytes, not {len(digest)}")
    return NodeId(base64.b32encode(digest).decode("ascii").rstrip("=").lower())


def node_id_to_digest(node_id: NodeId) -> bytes:
    """Return the 32 bytes that a node id spells."""
    return base64.b32decode(parse_node_id(node_id).upper() + "====")


def parse_node_id(text: str) -> NodeId:
    """Read a node id as a person may have typed it: white space around it and capitals are forgiven.

    Raises InvalidNodeIdError.
    """
    candidate = text.strip()
    if len(candidate) != NODE_ID_LENGTH:
        raise InvalidNodeIdError(f"a node id has {NODE_ID_LENGTH} characters, not {len(candidate)}")
    candidate = candidate.lower() if candidate.isascii() else ""
    if not _NODE_ID.fullmatch(candidate):
        raise InvalidNodeIdError(
            "a node id is made of letters and the digits 2-7, and ends in a or q: this one is mistyped"
        )
    return NodeId(candidate)


def self_signed_certificate(private_key: Ed25519PrivateKey) -> x509.Certificate:
    """Make the certificate that carries the public key into TLS (RFC 8410); the same for the same key.

    It is an envelope. Its dates span all time, so that no clock matters; a peer looks at nothing but the key.
    """
    public_key = private_key.public_key()
    node_id = node_id_of(public_key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, node_id)])
    # RFC 5280 section 4.1.2.2: positive and at most 20 octets.
    serial_number = int.from_bytes(node_id_to_digest(node_id)[:16]) + 1
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(serial_number)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .sign(private_key, algorithm=None)
    )


def _signed_data(context: bytes, message: bytes) -> bytes:
    if len(context) > 255:
        raise PknetError(f"a signature context has at most 255 bytes, not {len(context)}")
    return _SIGNATURE_PREFIX + bytes([len(context)]) + context + message
