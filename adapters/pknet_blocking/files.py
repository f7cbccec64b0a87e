"""Files over a stream, as socket.makefile makes them."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet_blocking.stream import Stream

__all__ = ["StreamIO", "open_file"]


def open_file(
    stream: Stream,
    mode: str,
    buffering: int | None,
    on_close: Callable[[], None],
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> IO[Any]:
    """Return a file over a stream that calls `on_close` when closed. Raises ValueError for a bad mode."""
    if not set(mode) <= set("rwb"):
        raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
    is_binary, writes = "b" in mode, "w" in mode
    reads = "r" in mode or not writes
    if buffering == 0 and not is_binary:
        raise ValueError("unbuffered streams must be binary")
    raw = StreamIO(stream, reads=reads, writes=writes, on_close=on_close)
    if buffering == 0:
        return cast("IO[Any]", raw)
    size = buffering if buffering is not None and buffering > 0 else io.DEFAULT_BUFFER_SIZE
    buffer: Any
    if reads and writes:
        buffer = io.BufferedRWPair(raw, raw, size)
    elif reads:
        buffer = io.BufferedReader(raw, size)
    else:
        buffer = io.BufferedWriter(raw, size)
    if is_binary:
        return cast("IO[Any]", buffer)
    text: Any = io.TextIOWrapper(buffer, encoding, errors, newline)
    text.mode = mode
    return cast("IO[Any]", text)


class StreamIO(io.RawIOBase):
    """The unbuffered file beneath the others."""

    def __init__(self, stream: Stream, *, reads: bool, writes: bool, on_close: Callable[[], None]) -> None:
        super().__init__()
        self._stream = stream
        self._reads = reads
        self._writes = writes
        self._on_close = on_close
        self._has_timed_out = False

    def readable(self) -> bool:
        """Return whether it was opened for reading."""
        self._check_open()
        return self._reads

    def writable(self) -> bool:
        """Return whether it was opened for writing."""
        self._check_open()
        return self._writes

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        self._check_open()
        return self._stream.fileno()

    def readinto(self, buffer: Any, /) -> int | None:
        """Read what there is; return how many bytes, 0 at the end, None if it would have to wait."""
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        if self._has_timed_out:
            # A buffer above may have lost what it had read before.
            raise OSError("cannot read from a file that has timed out")
        try:
            return self._stream.recv_into(buffer)
        except TimeoutError:
            self._has_timed_out = True
            raise
        except BlockingIOError:
            return None

    def write(self, data: Any, /) -> int | None:
        """Write as much as there is room for; return how many bytes, None if it would have to wait."""
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Close; the stream is closed with its last file, if it was to be."""
        if not self.closed:
            super().close()
            self._on_close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
