"""What adapters rely on: the five verbs that every machine has, and the verbs of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pknet._core.transmit import Transmit
    from pknet._core.utp_stats import UtpStats

__all__ = ["ByteStream", "Machine", "SegmentMachine"]


class Machine(Protocol):
    """A state machine that is told of datagrams and time, and tells what to send and what happened.

    The contract: after any number of changes made at one `now`, take `transmits()` and `events()`, then ask
    `next_timeout()`. `now` is in seconds of any clock that does not go backwards.
    """

    def receive_datagram(
        self, data: bytes | bytearray | memoryview, remote: Any, local: Hashable | None, now: float
    ) -> object:
        """Take a datagram from `remote` that came by the socket `local` (None: the primary one)."""

    def handle_timeout(self, now: float) -> None:
        """Do what is due; a call when nothing is due changes nothing."""

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due, None if never."""

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent, in order."""

    def events(self) -> Sequence[Any]:
        """Take what has happened, in order."""


class SegmentMachine(Machine, Protocol):
    """A machine that also takes runs of equal datagrams, as Linux's UDP_GRO brings them."""

    def receive_segments(
        self,
        data: bytes | bytearray | memoryview,
        segment_size: int,
        remote: Any,
        local: Hashable | None,
        now: float,
    ) -> object:
        """Take datagrams of `segment_size` bytes back to back, of which the last may be shorter."""


class ByteStream(Protocol):
    """A stream that a machine offers: a uTP connection, or a secure stream to a node.

    Its events are those of `pknet.utp`, with the stream as their `connection`.
    """

    context: Any

    @property
    def remote(self) -> Hashable:
        """The handle of the peer."""

    @property
    def readable(self) -> int:
        """How many bytes `read` would return."""

    @property
    def at_eof(self) -> bool:
        """Whether the peer finished and all of its payload has been read."""

    @property
    def writable(self) -> int:
        """How many bytes `send` would take."""

    @property
    def unacknowledged(self) -> int:
        """How many of the bytes that `send` took are not known to have arrived."""

    def send(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Take payload to send and return how many of its bytes were taken."""

    def read(self, limit: int, now: float) -> bytes:
        """Return payload that has come, at most `limit` bytes of it."""

    def read_into(self, buffer: bytearray | memoryview, now: float) -> int:
        """Move payload that has come into a buffer of bytes and return how many that were."""

    def finish(self, now: float) -> None:
        """Say that no more payload will be sent; reading goes on."""

    def close(self, now: float) -> None:
        """Finish, and drop what the peer sends from here on."""

    def abort(self, now: float) -> None:
        """End the stream at once; what was not delivered is lost."""

    def stats(self) -> UtpStats | None:
        """Return the figures of the uTP connection that carries it, None while there is none."""
