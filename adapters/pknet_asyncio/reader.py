"""A StreamReader that gives what came before it tells of a failure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["READER_LIMIT", "StreamReader", "reader_and_writer"]

READER_LIMIT = 1 << 16


async def reader_and_writer(
    limit: int,
    connect: Callable[[Callable[[], asyncio.StreamReaderProtocol]], Awaitable[tuple[asyncio.Transport, Any]]],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the (reader, writer) of what `connect` opens, which is given the factory of its protocol."""
    reader = StreamReader(limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await connect(lambda: protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())


class StreamReader(asyncio.StreamReader):
    """As asyncio's, but what came before the stream broke can still be read; then the failure is raised.

    asyncio's own drops it: good enough for a TCP reset, where nothing is known of what had arrived.
    """

    _failure: Exception | None = None
    _has_ended = False
    # What was read and not given since the stream broke before the rest came.
    _left = b""

    def feed_eof(self) -> None:
        """Take note that the peer has finished."""
        self._has_ended = True
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        """Take note that the stream is broken."""
        self._failure = exc
        super().feed_eof()

    def exception(self) -> Exception | None:
        """Return what broke the stream, None if nothing has."""
        return self._failure

    def at_eof(self) -> bool:
        """Whether all has been read and the peer has finished; a failure is raised, and is no end."""
        return super().at_eof() and (self._failure is None or self._has_ended)

    async def read(self, n: int = -1) -> bytes:
        """Read up to `n` bytes, all if -1; b"" at the end. Raises what broke the stream before its end."""
        if self._left:
            data = self._left if n < 0 else self._left[:n]
            self._left = self._left[len(data) :]
            return data
        data = await super().read(n)
        if not data and n:
            self._raise_failure()
        return data

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        """Read until `separator`, with it. Raises what broke the stream before that came.

        What came of it can still be read, by `read`.
        """
        try:
            return await super().readuntil(separator)
        except asyncio.IncompleteReadError as error:
            self._raise_failure(error.partial)
            raise

    async def readexactly(self, n: int) -> bytes:
        """Read exactly `n` bytes. Raises what broke the stream before they came.

        What came of them can still be read, by `read`.
        """
        try:
            return await super().readexactly(n)
        except asyncio.IncompleteReadError as error:
            self._raise_failure(error.partial)
            raise

    def _raise_failure(self, left: bytes = b"") -> None:
        if self._failure is not None and not self._has_ended:
            self._left += left
            raise self._failure from None
