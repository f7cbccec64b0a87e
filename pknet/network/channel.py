"""A node's side of the conversation with a rendezvous node, and the signalling channels through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pknet.errors import ProtocolError, StateError
from pknet.network import messages
from pknet.network.identity import NodeId
from pknet.network.message_stream import MessageStream
from pknet.network.messages import ChannelClosed, ChannelData, OpenChannel, Register, Registered, Rendezvous
from pknet.network.printable import printable
from pknet.network.rendezvous import MAX_CHANNEL_BYTES, MAX_CHANNELS
from pknet.utp import CloseReason, ConnectionClosed, ConnectionOpened, DataReceived, EofReceived

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.network.stream import NodeStream
    from pknet.utp import UtpEvent, UtpStats

__all__ = ["Channel", "RendezvousClient"]

_TOO_MUCH: Final = "too much was sent"


class Channel:
    """A signalling channel through a rendezvous node, with the verbs and events of a stream.

    It carries one introduction: 64 KiB each way and no more, so nobody has to wait for room. It ends if more
    is sent. It has no half-close. `remote` is the node at the other end, by the rendezvous node's word alone.
    """

    def __init__(self, client: RendezvousClient, number: int, node: NodeId) -> None:
        self.remote = node
        self.context: Any = None
        self.failure: str | None = None
        self._client = client
        self._number = number
        self._received = bytearray()
        self._readable_told = False
        self._closed = False
        self._allowance_out = self._allowance_in = MAX_CHANNEL_BYTES

    @property
    def readable(self) -> int:
        """How many bytes `read` would return."""
        return len(self._received)

    @property
    def at_eof(self) -> bool:
        """Whether the channel is over and all that came was read."""
        return self._closed and not self._received

    @property
    def writable(self) -> int:
        """How many bytes `send` would take."""
        return 0 if self._closed else self._allowance_out

    @property
    def unacknowledged(self) -> int:
        """Nothing: what the rendezvous has is out of this node's hands."""
        return 0

    def send(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Send bytes and return how many were taken. Raises StateError when the channel is over."""
        if self._closed:
            raise StateError("the channel is closed")
        taken = bytes(data[: self._allowance_out])
        self._allowance_out -= len(taken)
        for start in range(0, len(taken), messages.CHANNEL_DATA_LIMIT):
            part = taken[start : start + messages.CHANNEL_DATA_LIMIT]
            self._client.send(ChannelData(self._number, part), now)
        if len(taken) < len(data):
            self._client.end(self._number, _TOO_MUCH, now)
        return len(taken)

    def read(self, limit: int, now: float) -> bytes:
        """Return bytes that have come, at most `limit`."""
        data = bytes(self._received[: max(limit, 0)])
        del self._received[: len(data)]
        if not self._received:
            self._readable_told = False
        return data

    def read_into(self, buffer: bytearray | memoryview, now: float) -> int:
        """Move bytes that have come into a buffer of bytes and return how many."""
        data = self.read(len(buffer), now)
        buffer[: len(data)] = data
        return len(data)

    def finish(self, now: float) -> None:
        """Close the channel."""
        self.close(now)

    def close(self, now: float) -> None:
        """Close the channel."""
        self._client.end(self._number, "", now)

    def abort(self, now: float) -> None:
        """Close the channel."""
        self.close(now)

    def stats(self) -> UtpStats | None:
        """Return the figures of the uTP connection to the rendezvous node."""
        return self._client.stream.stats()

    # What the client calls.

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the rendezvous."""
        self._allowance_in -= len(data)
        if self._allowance_in < 0:
            self._client.end(self._number, _TOO_MUCH, now)
            return
        self._received += data
        if self._received and not self._readable_told:
            self._readable_told = True
            self._client.emit(DataReceived(self))

    def ended(self, reason: str) -> None:
        """Take the end of the channel; `reason` is empty if nothing is wrong."""
        self._closed = True
        self.failure = printable(reason) or None
        self._client.emit(EofReceived(self))
        self._client.emit(ConnectionClosed(self, CloseReason.REFUSED if reason else CloseReason.FINISHED, 0))

    def __repr__(self) -> str:
        return f"<Channel {self._number} to {self.remote}{', closed' if self._closed else ''}>"


class RendezvousClient:
    """This node's side of the conversation with one rendezvous node, over one stream.

    `on_channel(channel)` is called for each channel that another node opens, and returns why it is refused,
    or ""; `emit` for each event of a channel.
    """

    def __init__(
        self, stream: NodeStream, emit: Callable[[UtpEvent], None], on_channel: Callable[[Channel], str]
    ) -> None:
        self.stream = stream
        self.emit = emit
        self.alternate_port: int | None = None
        self.idle_since: float | None = None
        """Since when there has been no channel, None while there is one."""
        self._on_channel = on_channel
        self._messages = MessageStream(stream)
        self._channels: dict[int, Channel] = {}
        # What is to be said when the stream is open.
        self._waiting: list[Rendezvous] = []
        self._next_channel = 1
        self._was_open = False

    @property
    def is_registered(self) -> bool:
        """Whether the rendezvous has confirmed that it introduces others to this node."""
        return self.alternate_port is not None

    def open_channel(self, node: NodeId, now: float) -> Channel:
        """Open a channel to a node; ConnectionOpened tells that the rendezvous can be reached."""
        number = self._next_channel
        self._next_channel += 2
        channel = self._channels[number] = Channel(self, number, node)
        self.idle_since = None
        self.send(OpenChannel(number, node), now)
        if self.stream.is_open:
            self.emit(ConnectionOpened(channel))
        return channel

    def send(self, message: Rendezvous, now: float) -> None:
        """Send a message, or keep it until the stream is open."""
        if self.stream.is_open:
            self._messages.send(message, now)
        else:
            self._waiting.append(message)

    def end(self, number: int, reason: str, now: float) -> None:
        """End a channel, and tell the node at its other end."""
        if number in self._channels:
            self.send(ChannelClosed(number, reason), now)
            self._forget(number, reason, now)

    def register(self, now: float) -> None:
        """Register, or say again that this node is there."""
        if self.stream.is_open:
            self._messages.send(Register(), now)

    def handle_event(self, event: UtpEvent, now: float) -> None:
        """Take an event of the stream."""
        if isinstance(event, ConnectionOpened):
            self._was_open = True
            self.register(now)
            waiting, self._waiting = self._waiting, []
            for message in waiting:
                self._messages.send(message, now)
            if not self._channels:
                self.idle_since = now
            for channel in list(self._channels.values()):
                self.emit(ConnectionOpened(channel))
        elif isinstance(event, ConnectionClosed):
            what = "lost" if self._was_open else "not reached"
            why = f"the rendezvous node was {what}: {self.stream.failure or event.reason.value}"
            for number in list(self._channels):
                self._forget(number, why, now)
            return
        elif isinstance(event, EofReceived):
            self.stream.close(now)
            return
        self._messages.flush(now)
        try:
            received = self._messages.receive(now)
        except ProtocolError:
            self.stream.abort(now)
            return
        for message in received:
            self._receive(message, now)

    def _receive(self, message: Any, now: float) -> None:
        match message:
            case Registered(alternate_port):
                self.alternate_port = alternate_port
            case OpenChannel(number, node):
                refusal = self._take(number, NodeId(node))
                if refusal:
                    self._messages.send(ChannelClosed(number, refusal), now)
            case ChannelData(number, data) if number in self._channels:
                self._channels[number].receive(data, now)
            case ChannelClosed(number, reason) if number in self._channels:
                self._forget(number, reason, now)

    def _take(self, number: int, node: NodeId) -> str:
        """Take a channel from another node; return why not, or ""."""
        if number % 2 or number in self._channels:
            return "the channel number is taken"
        if len(self._channels) >= MAX_CHANNELS:
            return "too many channels are open"
        channel = Channel(self, number, node)
        refusal = self._on_channel(channel)
        if not refusal:
            self._channels[number] = channel
            self.idle_since = None
        return refusal

    def _forget(self, number: int, reason: str, now: float) -> None:
        channel = self._channels.pop(number)
        if not self._channels:
            self.idle_since = now
        channel.ended(reason)
