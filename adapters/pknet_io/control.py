"""Control messages, packed and parsed: what stands beside the data in sendmsg and recvmsg."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, TypeAlias

from pknet_io import constants

if TYPE_CHECKING:
    from pknet_io.constants import Family

__all__ = [
    "CONTROL_SPACE",
    "LOW_OCTET",
    "Control",
    "destination",
    "integer",
    "parse_integer",
    "segment",
    "source",
]

Control: TypeAlias = tuple[int, int, bytes]

# Room for all that a UdpSocket asks the kernel for, which is 112 bytes, and for some more that the maker of a
# wrapped socket may have asked for: a run whose UDP_GRO message were cut off would be taken for one datagram.
CONTROL_SPACE = 512

_INT = struct.Struct("=i")
_SEGMENT_SIZE = struct.Struct("=H")
_PKTINFO = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, spec_dst, addr
_PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo: addr, interface (RFC 3542 section 6)

# Where the octet stands in a traffic class message, which is one octet or an int, by family and system.
LOW_OCTET = 0 if sys.byteorder == "little" else -1


def integer(level: int, kind: int, value: int) -> Control:
    """Pack an int: a TTL, a hop limit, a traffic class."""
    return level, kind, _INT.pack(value)


def segment(size: int) -> Control:
    """Pack UDP_SEGMENT: cut the data into datagrams of `size` bytes."""
    assert constants.UDP_SEGMENT is not None
    return constants.SOL_UDP, constants.UDP_SEGMENT, _SEGMENT_SIZE.pack(size)


def source(family: Family, host: str) -> Control:
    """Pack the address of this machine that a datagram is to leave from, as `destination` gave it."""
    assert family.pktinfo is not None
    if family.level == socket.IPPROTO_IP:
        data = _PKTINFO.pack(0, socket.inet_pton(socket.AF_INET, host), bytes(4))
    else:
        host, _, zone = host.partition("%")
        data = _PKTINFO6.pack(socket.inet_pton(socket.AF_INET6, host), int(zone or 0))
    return family.level, family.pktinfo, data


def destination(family: Family, data: bytes) -> str | None:
    """Return the address of this machine in a PKTINFO message; None where no answer can leave from it.

    Only a link-local IPv6 address keeps its interface, as a zone: elsewhere the answer is free to take
    another way.
    """
    if family.level == socket.IPPROTO_IP:
        # spec_dst, not addr: for a broadcast it is our own address on that interface.
        packed = _PKTINFO.unpack(data)[1]
        if packed[0] >= 224:
            return None
        return socket.inet_ntop(socket.AF_INET, packed)
    packed, interface = _PKTINFO6.unpack(data)
    if packed[0] == 0xFF:
        return None
    host = socket.inet_ntop(socket.AF_INET6, packed)
    return f"{host}%{interface}" if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80 else host


def parse_integer(data: bytes) -> int:
    """Return the int of a UDP_GRO or SO_RXQ_OVFL message."""
    value: int = _INT.unpack(data)[0]
    return value
