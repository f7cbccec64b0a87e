"""The packet codec once more, in plain Python and slowly: the oracle for the compiled one."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = struct.Struct(">BBHIIIHH")


@dataclass(frozen=True)
class TwinPacket:
    """What a datagram says."""

    type: int
    connection_id: int
    timestamp: int
    timestamp_difference: int
    wnd_size: int
    seq_nr: int
    ack_nr: int
    extensions: tuple[tuple[int, bytes], ...]
    payload: bytes

    @property
    def selective_ack(self) -> bytes | None:
        """The first selective ACK, None if there is none or if it has no bytes."""
        return next((value for kind, value in self.extensions if kind == 1), b"") or None


def decode(datagram: bytes) -> TwinPacket | None:
    """Read a datagram, None if it is not uTP."""
    if len(datagram) < HEADER.size:
        return None
    type_and_version, extension, *fields = HEADER.unpack_from(datagram)
    if type_and_version & 15 != 1 or type_and_version >> 4 > 4:
        return None
    rest = datagram[HEADER.size :]
    extensions = []
    while extension:
        if len(rest) < 2 or len(rest) < 2 + rest[1]:
            return None
        extensions.append((extension, rest[2 : 2 + rest[1]]))
        extension, rest = rest[0], rest[2 + rest[1] :]
    return TwinPacket(type_and_version >> 4, *fields, tuple(extensions), rest)


def encode(packet: TwinPacket) -> bytes:
    """Write a packet."""
    kinds = [kind for kind, _ in packet.extensions] + [0]
    out = HEADER.pack(
        packet.type << 4 | 1,
        kinds[0],
        packet.connection_id,
        packet.timestamp,
        packet.timestamp_difference,
        packet.wnd_size,
        packet.seq_nr,
        packet.ack_nr,
    )
    for following, (_, value) in zip(kinds[1:], packet.extensions, strict=True):
        out += bytes((following, len(value))) + value
    return out + packet.payload
