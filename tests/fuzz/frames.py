"""Frames of a byte stream: the same however the stream is cut, and never more held than a frame."""

from __future__ import annotations

from pknet.network.framing import FrameReader, FrameTooLargeError, frame
from tests.fuzz.target_input import TargetInput

HEADER_SIZE = 4


def one_input(data: bytes) -> None:
    source = TargetInput(data)
    maximum = source.u8() * 4
    pieces = []
    while source:
        pieces.append(source.take(1 + source.u8() % 64))
    stream = b"".join(pieces)
    expected, is_broken = cut(stream, maximum)
    reader = FrameReader(maximum)
    received: list[bytes] = []
    for piece in pieces:
        try:
            received += reader.receive_stream_data(piece)
        except FrameTooLargeError:
            assert is_broken
            break
        assert reader.wanted > 0
    else:
        assert not is_broken
        assert received == expected
        assert reader.incomplete == (stream != b"".join(frame(payload) for payload in received))
    # Frames before a bad one may be lost with it, if they came in the same piece.
    assert expected[: len(received)] == received


def cut(stream: bytes, maximum: int) -> tuple[list[bytes], bool]:
    """Return the payloads of a whole stream, and whether it announces one that is too long."""
    payloads = []
    while len(stream) >= HEADER_SIZE:
        length = int.from_bytes(stream[:HEADER_SIZE], "big")
        if length > maximum:
            return payloads, True
        if len(stream) < HEADER_SIZE + length:
            break
        payloads.append(stream[HEADER_SIZE : HEADER_SIZE + length])
        stream = stream[HEADER_SIZE + length :]
    return payloads, False
