"""A uTP connection without TLS, behind the verbs of a SecureStream, for a node that allows it.

TLS and plain uTP are told apart by the first two bytes that come: a record of TLS's handshake begins with
16 03 (RFC 8446 section 5.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pknet.network.tls import RECEIVE_LIMIT, SEND_LIMIT, EofReceived

__all__ = ["TLS_START", "PlainOpened", "PlainStream"]

TLS_START: Final = b"\x16\x03"


@dataclass(frozen=True, slots=True)
class PlainOpened:
    """The peer does not speak TLS: nobody knows who it is, and anybody may read what passes."""


class PlainStream:
    """Pass bytes on as they are; `first` is what was read to see that they are not TLS."""

    peer = None

    def __init__(self, first: bytes) -> None:
        self._received = bytearray(first)
        self._unsent = bytearray()
        self._events: list[PlainOpened | EofReceived] = [PlainOpened()]
        self._eof_received = False
        self._eof_wanted = False
        self._eof_sent = False

    @property
    def readable(self) -> int:
        """The number of bytes that `read` can return now."""
        return len(self._received)

    @property
    def want_data(self) -> bool:
        """Whether the transport should go on feeding: False while the reader is behind."""
        return len(self._received) < RECEIVE_LIMIT

    @property
    def sendable(self) -> int:
        """The number of bytes that `send` would take now."""
        return 0 if self._eof_wanted else SEND_LIMIT - len(self._unsent)

    @property
    def unsent(self) -> int:
        """The number of bytes that `send` took and that the transport has not taken."""
        return len(self._unsent)

    def receive_stream_data(self, data: bytes, now: float) -> None:
        """Take what the transport delivered."""
        self._received += data

    def receive_eof(self, now: float) -> None:
        """Take note that the transport delivers no more."""
        if not self._eof_received:
            self._eof_received = True
            self._events.append(EofReceived())

    def read(self, n: int) -> bytes:
        """Return up to `n` bytes of what was received; b"" when nothing is readable."""
        with memoryview(self._received) as view:
            data = bytes(view[:n])
        del self._received[:n]
        return data

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Take up to `sendable` bytes of `data` and return how many."""
        with memoryview(data) as view:
            taken = min(view.nbytes, self.sendable)
            self._unsent += view.cast("B")[:taken]
        return taken

    def send_eof(self) -> None:
        """End this direction after what was sent, not the other."""
        self._eof_wanted = True

    @property
    def eof_sent(self) -> bool:
        """Whether the transport may end too: `data_to_send` has returned all there was."""
        return self._eof_sent

    def data_to_send(self, limit: int) -> bytes:
        """Return up to `limit` bytes for the transport."""
        with memoryview(self._unsent) as view:
            data = bytes(view[:limit])
        del self._unsent[:limit]
        self._eof_sent = self._eof_wanted and not data
        return data

    def events(self) -> list[PlainOpened | EofReceived]:
        """Return what happened since the last call."""
        events, self._events = self._events, []
        return events
