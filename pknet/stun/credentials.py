"""The keys of MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256, made from passwords (RFC 8489 section 9).

Where the RFC asks for OpaqueString (RFC 8265 section 4.2), these functions do its mapping: spaces of other
scripts become U+0020, and the result is in normalization form C. They don't refuse what the profile
disallows, such as control characters: a text that no other implementation would accept makes a key like any
other here.
"""

from __future__ import annotations

import hashlib
import unicodedata
from enum import IntEnum
from typing import Final

__all__ = ["Algorithm", "long_term_key", "short_term_key", "userhash"]

_HASHES: Final = {1: "md5", 2: "sha256"}


class Algorithm(IntEnum):
    """How a long-term key is made of a password (RFC 8489 section 18.5.1)."""

    MD5 = 0x0001
    SHA_256 = 0x0002


def short_term_key(password: str) -> bytes:
    """Return the key of a short-term credential (RFC 8489 section 9.1.1)."""
    return _opaque_string(password).encode()


def long_term_key(username: str, realm: str, password: str, algorithm: Algorithm = Algorithm.MD5) -> bytes:
    """Return the key of a long-term credential, 16 bytes for MD5 and 32 for SHA-256 (RFC 8489 section 9.2.2).

    `username`: as it stands in the USERNAME attribute.
    """
    text = f"{username}:{_opaque_string(realm)}:{_opaque_string(password)}"
    # MD5 is weak, and it is what the protocol says.
    return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).digest()


def userhash(username: str, realm: str) -> bytes:
    """Return the value of USERHASH, which hides a username from others (RFC 8489 section 14.4)."""
    return hashlib.sha256(f"{_opaque_string(username)}:{_opaque_string(realm)}".encode()).digest()


def _opaque_string(text: str) -> str:
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    return unicodedata.normalize("NFC", spaced)
