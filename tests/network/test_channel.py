"""A node's side of a rendezvous, over a stream that the test plays."""

from __future__ import annotations

from typing import Any

import pytest

from pknet.errors import StateError
from pknet.network import NodeId, messages
from pknet.network.channel import Channel, RendezvousClient
from pknet.network.framing import FrameReader
from pknet.network.messages import (
    CHANNEL_DATA_LIMIT,
    ChannelClosed,
    ChannelData,
    OpenChannel,
    Register,
    Registered,
    Rendezvous,
)
from pknet.network.rendezvous import MAX_CHANNEL_BYTES, MAX_CHANNELS
from pknet.utp import CloseReason, ConnectionClosed, ConnectionOpened, DataReceived, EofReceived

NODE = NodeId("a" * 52)


class Stream:
    """A stream that takes everything, or nothing."""

    def __init__(self) -> None:
        self.is_open = False
        self.is_closing = False
        self.failure: str | None = None
        self.takes = True
        self.sent = bytearray()
        self.incoming = bytearray()
        self.ended: str | None = None

    @property
    def readable(self) -> int:
        return len(self.incoming)

    def send(self, data: bytes, now: float) -> int:
        if not self.takes:
            return 0
        self.sent += data
        return len(data)

    def read(self, limit: int, now: float) -> bytes:
        data = bytes(self.incoming[:limit])
        del self.incoming[:limit]
        return data

    def close(self, now: float) -> None:
        self.ended = "closed"
        self.is_closing = True

    def abort(self, now: float) -> None:
        self.ended = "aborted"
        self.is_open = False


class Client:
    """A RendezvousClient, and what it does."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.stream: Any = Stream()
        self.events: list[Any] = []
        self.taken: list[Channel] = []
        self.refusal = ""
        self.client = RendezvousClient(self.stream, self.events.append, self._take)
        if is_open:
            self.open()

    def _take(self, channel: Channel) -> str:
        self.taken.append(channel)
        return self.refusal

    def open(self) -> None:
        self.stream.is_open = True
        self.client.handle_event(ConnectionOpened(self.stream), 1.0)

    def hear(self, *spoken: Any, now: float = 2.0) -> None:
        for message in spoken:
            self.stream.incoming += messages.encode(message)
        self.client.handle_event(DataReceived(self.stream), now)

    def said(self) -> list[Any]:
        data, self.stream.sent = bytes(self.stream.sent), bytearray()
        return [messages.decode(item, Rendezvous) for item in FrameReader().receive_stream_data(data)]

    def kinds(self) -> list[type]:
        taken, self.events = self.events, []
        self.client.emit = self.events.append
        return [type(event) for event in taken]


def test_it_registers_as_soon_as_the_stream_is_open() -> None:
    client = Client(is_open=False)
    client.client.register(0.5)
    assert client.said() == []
    client.open()
    assert client.said() == [Register()]
    assert not client.client.is_registered
    client.hear(Registered(1316))
    assert client.client.is_registered
    assert client.client.alternate_port == 1316
    client.client.register(30.0)
    assert client.said() == [Register()]


def test_a_channel_that_is_asked_for_early_opens_with_the_stream() -> None:
    client = Client(is_open=False)
    channel = client.client.open_channel(NODE, 0.5)
    channel.send(b"hello", 0.6)
    assert client.events == []
    client.open()
    assert client.said() == [Register(), OpenChannel(1, NODE), ChannelData(1, b"hello")]
    assert client.kinds() == [ConnectionOpened]


def test_a_channel_on_an_open_stream_opens_at_once_and_numbers_are_odd() -> None:
    client = Client()
    client.said()
    for _ in range(3):
        client.client.open_channel(NODE, 1.0)
    assert [message.channel for message in client.said()] == [1, 3, 5]
    assert client.kinds() == [ConnectionOpened] * 3


def test_what_comes_on_a_channel_is_read_in_any_pieces_and_told_once() -> None:
    client = Client()
    channel = client.client.open_channel(NODE, 1.0)
    client.kinds()
    client.hear(ChannelData(1, b"hello "), ChannelData(1, b"world"), ChannelData(9, b"for nobody"))
    assert client.kinds() == [DataReceived]
    assert channel.readable == 11
    assert [channel.read(0, 2.0), channel.read(-1, 2.0), channel.read(4, 2.0), channel.read(99, 2.0)] == [
        b"",
        b"",
        b"hell",
        b"o world",
    ]
    client.hear(ChannelData(1, b"!"))
    assert client.kinds() == [DataReceived]


def test_the_end_of_a_channel_is_told_in_words_fit_for_a_terminal() -> None:
    client = Client()
    channel = client.client.open_channel(NODE, 1.0)
    client.kinds()
    client.hear(ChannelData(1, b"last words"), ChannelClosed(1, "\x1b[2Jgone"))
    assert client.kinds() == [DataReceived, EofReceived, ConnectionClosed]
    assert channel.failure == "\\x1b[2Jgone"
    assert not channel.at_eof
    assert channel.read(99, 2.0) == b"last words"
    assert channel.at_eof
    assert (channel.writable, channel.unacknowledged) == (0, 0)
    with pytest.raises(StateError):
        channel.send(b"too late", 3.0)


@pytest.mark.parametrize("verb", ["finish", "close", "abort"])
def test_a_channel_that_is_closed_here_is_closed_there_once(verb: str) -> None:
    client = Client()
    channel = client.client.open_channel(NODE, 1.0)
    client.said()
    client.kinds()
    getattr(channel, verb)(2.0)
    getattr(channel, verb)(2.0)
    assert client.said() == [ChannelClosed(1)]
    (*_, last) = client.events
    assert isinstance(last, ConnectionClosed)
    assert last.reason is CloseReason.FINISHED
    client.hear(ChannelClosed(1), ChannelData(1, b"crossed"))
    assert len(client.events) == 2


def test_a_channel_carries_one_introduction_and_no_more() -> None:
    client = Client()
    channel = client.client.open_channel(NODE, 1.0)
    client.said()
    assert channel.writable == MAX_CHANNEL_BYTES
    assert channel.send(bytes(MAX_CHANNEL_BYTES + 1), 1.0) == MAX_CHANNEL_BYTES
    *parts, end = client.said()
    assert sum(len(part.data) for part in parts) == MAX_CHANNEL_BYTES
    assert max(len(part.data) for part in parts) == CHANNEL_DATA_LIMIT
    assert end == ChannelClosed(1, "too much was sent")
    assert channel.failure == "too much was sent"


def test_a_rendezvous_that_sends_more_than_that_fills_no_memory() -> None:
    client = Client()
    channel = client.client.open_channel(NODE, 1.0)
    for _ in range(20):
        client.hear(ChannelData(1, bytes(8192)))
    assert channel.readable == MAX_CHANNEL_BYTES
    assert channel.failure == "too much was sent"
    assert client.said()[-1] == ChannelClosed(1, "too much was sent")


def test_a_channel_from_another_node_is_taken_or_refused_in_words() -> None:
    client = Client()
    client.said()
    client.hear(OpenChannel(2, NODE))
    assert [channel.remote for channel in client.taken] == [NODE]
    client.refusal = "no time"
    client.hear(OpenChannel(4, NODE))
    assert client.said() == [ChannelClosed(4, "no time")]
    client.hear(ChannelData(4, b"hello?"))
    assert client.taken[1].readable == 0
    assert client.events == []


@pytest.mark.parametrize("number", [1, 2, 7])
def test_a_channel_number_that_is_not_the_rendezvous_to_give_is_refused(number: int) -> None:
    client = Client()
    client.client.open_channel(NODE, 1.0)
    client.hear(OpenChannel(2, NODE))
    client.said()
    client.hear(OpenChannel(number, NODE))
    assert client.said() == [ChannelClosed(number, "the channel number is taken")]
    assert len(client.taken) == 1


def test_only_so_many_channels_are_taken() -> None:
    client = Client()
    client.hear(*(OpenChannel(number, NODE) for number in range(0, 2 * MAX_CHANNELS + 20, 2)))
    assert len(client.taken) == MAX_CHANNELS
    assert client.said()[-1].reason == "too many channels are open"


@pytest.mark.parametrize("was_open", [False, True])
def test_the_end_of_the_stream_ends_the_channels_and_says_how_far_it_had_come(was_open: bool) -> None:
    client = Client(is_open=was_open)
    channel = client.client.open_channel(NODE, 1.0)
    client.stream.failure = "it did not open in time"
    client.client.handle_event(ConnectionClosed(client.stream, CloseReason.REFUSED, 0), 5.0)
    what = "lost" if was_open else "not reached"
    assert channel.failure == f"the rendezvous node was {what}: it did not open in time"
    assert isinstance(client.events[-1], ConnectionClosed)
    assert client.events[-1].reason is CloseReason.REFUSED


def test_a_rendezvous_that_talks_nonsense_is_left() -> None:
    client = Client()
    client.stream.incoming += b"GET / HTTP/1.1\r\n\r\n"
    client.client.handle_event(DataReceived(client.stream), 2.0)
    assert client.stream.ended == "aborted"


def test_a_rendezvous_that_ends_the_stream_is_answered_in_kind() -> None:
    client = Client()
    client.client.handle_event(EofReceived(client.stream), 2.0)
    assert client.stream.ended == "closed"
    # And nothing is said on it any more.
    channel = client.client.open_channel(NODE, 3.0)
    channel.send(b"hello", 3.0)
    assert Register() in client.said()


def test_it_is_known_since_when_there_has_been_no_channel() -> None:
    client = Client()
    assert client.client.idle_since == 1.0
    channel = client.client.open_channel(NODE, 5.0)
    assert client.client.idle_since is None
    client.hear(OpenChannel(2, NODE))
    channel.close(7.0)
    assert client.client.idle_since is None
    client.hear(ChannelClosed(2), now=9.0)
    assert client.client.idle_since == 9.0


def test_what_the_stream_does_not_take_waits_until_it_does() -> None:
    client = Client()
    client.said()
    client.stream.takes = False
    channel = client.client.open_channel(NODE, 1.0)
    channel.send(b"hello", 1.0)
    assert client.said() == []
    client.stream.takes = True
    client.client.handle_event(DataReceived(client.stream), 2.0)
    assert client.said() == [OpenChannel(1, NODE), ChannelData(1, b"hello")]
