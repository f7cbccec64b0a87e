"""What a target makes of its bytes: numbers and pieces, one after the other."""

from __future__ import annotations


class TargetInput:
    """A cursor over the bytes of an input; past its end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there is anything left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))

    def u8(self) -> int:
        return self.number(1)

    def u16(self) -> int:
        return self.number(2)

    def number(self, size: int) -> int:
        """Return an unsigned number of `size` bytes, big endian."""
        return int.from_bytes(self.take(size).ljust(size, b"\0"), "big")

    def near_zero(self) -> int:
        """Return a number from -32768 to 32767: what a sequence number is changed by."""
        return int.from_bytes(self.take(2).ljust(2, b"\0"), "big", signed=True)
