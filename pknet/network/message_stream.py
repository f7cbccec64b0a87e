"""Messages of the rendezvous conversation over a NodeStream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pknet.network import messages
from pknet.network.framing import FrameReader
from pknet.network.messages import Rendezvous

if TYPE_CHECKING:
    from pknet.network.stream import NodeStream

__all__ = ["MessageStream"]

READ_SIZE: Final = 1 << 16
# What may wait on a stream whose peer does not read, before what can be refused is refused.
MAX_BACKLOG: Final = 256 * 1024


class MessageStream:
    """Frames over a stream that may not take all of them at once."""

    def __init__(self, stream: NodeStream) -> None:
        self.stream = stream
        self._reader = FrameReader()
        self._backlog = bytearray()

    @property
    def is_full(self) -> bool:
        """Whether the peer does not keep up with what is sent to it."""
        return len(self._backlog) > MAX_BACKLOG

    def send(self, message: Rendezvous, now: float) -> None:
        """Send a message. A peer that asks and does not read the answers loses its stream."""
        if not self.stream.is_open or self.stream.is_closing:
            return
        self._backlog += messages.encode(message)
        self.flush(now)
        if len(self._backlog) > 2 * MAX_BACKLOG:
            self.stream.abort(now)

    def flush(self, now: float) -> None:
        """Send what waits, as far as there is room."""
        if self._backlog and self.stream.is_open and not self.stream.is_closing:
            taken = self.stream.send(bytes(self._backlog), now)
            del self._backlog[:taken]

    def receive(self, now: float) -> list[Any]:
        """Read the messages that have come. Raises ProtocolError."""
        received: list[Any] = []
        while self.stream.readable:
            payloads = self._reader.receive_stream_data(self.stream.read(READ_SIZE, now))
            received.extend(messages.decode(payload, Rendezvous) for payload in payloads)
        return received
