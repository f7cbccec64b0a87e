"""Messages on a byte stream: each frame is its length (4 bytes, big endian) and that many bytes."""

from __future__ import annotations

from typing import Final

from pknet.errors import PknetError, ProtocolError

__all__ = ["DEFAULT_MAXIMUM", "FrameReader", "FrameTooLargeError", "frame"]

DEFAULT_MAXIMUM: Final = 16 * 1024
_HEADER_SIZE: Final = 4


class FrameTooLargeError(ProtocolError):
    """A peer announced a frame longer than the maximum; the stream cannot be read any further."""


class FrameReader:
    """Cut a byte stream into frames of at most `maximum` bytes each.

    It holds less than one frame: a length is judged before its payload is waited for.
    """

    def __init__(self, maximum: int = DEFAULT_MAXIMUM) -> None:
        self.maximum = maximum
        self._buffer = bytearray()
        self._error: str | None = None

    @property
    def incomplete(self) -> bool:
        """Whether a frame has begun and not ended: at the end of the stream, that it was cut off."""
        return bool(self._buffer)

    @property
    def wanted(self) -> int:
        """How many bytes complete the header or, after it, the frame: to read no further than its end."""
        if len(self._buffer) < _HEADER_SIZE:
            return _HEADER_SIZE - len(self._buffer)
        return _HEADER_SIZE + int.from_bytes(self._buffer[:_HEADER_SIZE]) - len(self._buffer)

    def receive_stream_data(self, data: bytes) -> list[bytes]:
        """Return the payloads of the frames that `data` completes.

        Raises FrameTooLargeError, once and at every later call. Frames before the bad one in the same `data`
        are lost with it: a peer that breaks the framing is not to be trusted with the rest.
        """
        if self._error is not None:
            raise FrameTooLargeError(self._error)
        self._buffer += data
        payloads = []
        start = 0
        while len(self._buffer) - start >= _HEADER_SIZE:
            length = int.from_bytes(self._buffer[start : start + _HEADER_SIZE])
            if length > self.maximum:
                self._error = f"a frame of {length} bytes was announced, the maximum is {self.maximum}"
                self._buffer.clear()
                raise FrameTooLargeError(self._error)
            end = start + _HEADER_SIZE + length
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[start + _HEADER_SIZE : end]))
            start = end
        del self._buffer[:start]
        return payloads


def frame(payload: bytes, maximum: int = DEFAULT_MAXIMUM) -> bytes:
    """Return `payload` as one frame. Raises PknetError where it is longer than `maximum`."""
    if len(payload) > maximum:
        raise PknetError(f"a frame has at most {maximum} bytes, not {len(payload)}")
    return len(payload).to_bytes(_HEADER_SIZE) + payload
