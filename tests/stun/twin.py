"""A slow plain-Python twin of the codec, written from the RFC alone, to compare the compiled one with."""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import struct
from dataclasses import dataclass

COOKIE = 0x2112A442
INTEGRITY, INTEGRITY_SHA256, FINGERPRINT = 0x0008, 0x001C, 0x8028

Value = object


class MalformedError(Exception):
    pass


def require(condition: bool) -> None:
    if not condition:
        raise MalformedError


@dataclass
class Parsed:
    method: int
    message_class: int
    transaction_id: bytes
    attributes: list[tuple[int, bytes]]
    values: list[tuple[int, Value]]
    # Where an attribute starts in the message.
    at: dict[int, int]


def parse(data: bytes) -> Parsed:
    require(len(data) >= 20)
    type_, length, cookie = struct.unpack("!HHI", data[:8])
    require(type_ < 0x4000 and cookie == COOKIE and length % 4 == 0 and length == len(data) - 20)
    bits = f"{type_:014b}"
    # Figure 3: two bits of class among twelve of method.
    message_class = int(bits[5] + bits[9], 2)
    method = int(bits[:5] + bits[6:9] + bits[10:], 2)
    parsed = Parsed(method, message_class, data[8:20], [], [], {})
    rest = data[20:]
    everything = []
    while rest:
        at = len(data) - len(rest)
        type_, size = struct.unpack("!HH", rest[:4])
        padded = -(-size // 4) * 4
        require(len(rest) >= 4 + padded)
        everything.append((type_, rest[4 : 4 + size], at))
        rest = rest[4 + padded :]
    allowed: set[int] | None = None
    for type_, value, at in everything:
        if allowed is not None and type_ not in allowed:
            continue
        parsed.attributes.append((type_, value))
        parsed.values.append((type_, read(type_, value, data[8:20])))
        parsed.at.setdefault(type_, at)
        if type_ == INTEGRITY:
            allowed = {INTEGRITY_SHA256, FINGERPRINT}
        elif type_ == INTEGRITY_SHA256:
            allowed = {FINGERPRINT}
        elif type_ == FINGERPRINT:
            allowed = set()
    return parsed


def read(type_: int, value: bytes, transaction_id: bytes) -> Value:
    match type_:
        case 0x0001 | 0x8023:
            return read_address(value, bytes(16))
        case 0x0020:
            return read_address(value, struct.pack("!I", COOKIE) + transaction_id)
        case 0x0006 | 0x0014 | 0x0015:
            require(len(value) <= 763)
            return decode(value, "utf-8")
        case 0x8003:
            require(len(value) <= 255)
            return decode(value, "ascii")
        case 0x8022:
            require(len(value) <= 763)
            return value.decode(errors="replace")
        case 0x0024 | 0x8028:
            require(len(value) == 4)
            return int.from_bytes(value, "big")
        case 0x8029 | 0x802A:
            require(len(value) == 8)
            return int.from_bytes(value, "big")
        case 0x0025:
            require(value == b"")
            return True
        case 0x0008:
            require(len(value) == 20)
            return value
        case 0x001C:
            require(len(value) in (16, 20, 24, 28, 32))
            return value
        case 0x001E:
            require(len(value) == 32)
            return value
        case 0x0009:
            require(4 <= len(value) <= 767)
            hundreds, number = value[2] % 8, value[3]
            require(3 <= hundreds <= 6 and number < 100)
            return (100 * hundreds + number, value[4:].decode(errors="replace"))
        case 0x000A:
            require(len(value) % 2 == 0)
            return [number for (number,) in struct.iter_unpack("!H", value)]
        case 0x001D:
            algorithms = read_algorithms(value)
            require(len(algorithms) == 1)
            return algorithms[0]
        case 0x8002:
            return read_algorithms(value)
        case _:
            return value


def decode(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        raise MalformedError from None


def read_address(value: bytes, key: bytes) -> tuple[str, int] | None:
    require(4 <= len(value) <= 20)
    family = value[1]
    if family not in (1, 2):
        return None
    require(len(value) == (8 if family == 1 else 20))
    port = int.from_bytes(value[2:4], "big") ^ int.from_bytes(key[:2], "big")
    packed = bytes(a ^ b for a, b in zip(value[4:], key, strict=False))
    return host_of(packed), port


def host_of(packed: bytes) -> str:
    address = ipaddress.ip_address(packed)
    # RFC 5952 section 5, which the ipaddress module follows in later versions of Python only.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return f"::ffff:{address.ipv4_mapped}"
    return str(address)


def read_algorithms(value: bytes) -> list[tuple[int, bytes]]:
    algorithms = []
    while value:
        require(len(value) >= 4)
        number, size = struct.unpack("!HH", value[:4])
        require(len(value) >= 4 + size)
        algorithms.append((number, value[4 : 4 + size]))
        # Padding may be missing at the end: the slice is empty then.
        value = value[4 + -(-size // 4) * 4 :]
    return algorithms


def with_length(data: bytes, end: int) -> bytes:
    return data[:2] + struct.pack("!H", end - 20) + data[4:]


def verify_integrity(data: bytes, key: bytes, *, allow_truncation: bool = False) -> bool:
    at = parse(data).at
    values = dict(reversed(parse(data).attributes))
    if INTEGRITY_SHA256 in at:
        start, value, digest = at[INTEGRITY_SHA256], values[INTEGRITY_SHA256], "sha256"
        if len(value) < 32 and not allow_truncation:
            return False
    elif INTEGRITY in at:
        start, value, digest = at[INTEGRITY], values[INTEGRITY], "sha1"
    else:
        return False
    covered = with_length(data[:start], start + 4 + len(value))
    return hmac.digest(key, covered, digest)[: len(value)] == value


def verify_fingerprint(data: bytes) -> bool:
    at = parse(data).at.get(FINGERPRINT)
    if at is None or at != len(data) - 8:
        return False
    return int.from_bytes(data[-4:], "big") == binascii.crc32(data[:at]) ^ 0x5354554E


def attribute(type_: int, value: bytes) -> bytes:
    return struct.pack("!HH", type_, len(value)) + value + bytes(-len(value) % 4)


def build(
    method: int,
    message_class: int,
    transaction_id: bytes,
    attributes: list[tuple[int, bytes]],
    *,
    integrity_key: bytes | None = None,
    integrity: str = "sha1",
    sha256_size: int = 32,
    fingerprint: bool = True,
) -> bytes:
    bits = f"{method:012b}"
    class_bits = f"{message_class:02b}"
    type_ = int(bits[:5] + class_bits[0] + bits[5:8] + class_bits[1] + bits[8:], 2)
    data = struct.pack("!HHI", type_, 0, COOKIE) + transaction_id
    data += b"".join(attribute(type_, value) for type_, value in attributes)
    if integrity_key is not None and integrity in ("sha1", "both"):
        covered = with_length(data, len(data) + 24)
        data += attribute(INTEGRITY, hmac.digest(integrity_key, covered, "sha1"))
    if integrity_key is not None and integrity in ("sha256", "both"):
        covered = with_length(data, len(data) + 4 + sha256_size)
        digest = hmac.digest(integrity_key, covered, "sha256")[:sha256_size]
        data += attribute(INTEGRITY_SHA256, digest)
    if fingerprint:
        data = with_length(data, len(data) + 8)
        data += attribute(FINGERPRINT, struct.pack("!I", binascii.crc32(data) ^ 0x5354554E))
    return with_length(data, len(data))
