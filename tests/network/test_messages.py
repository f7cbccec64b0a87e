import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet.errors import PknetError, ProtocolError
from pknet.network import messages
from pknet.network.framing import FrameReader
from pknet.network.messages import (
    ChannelClosed,
    ChannelData,
    Hello,
    Introduce,
    OpenChannel,
    Opening,
    Prepare,
    Prepared,
    Purpose,
    Refused,
    Register,
    Registered,
    Rendezvous,
    Signalling,
    Welcome,
)

NODE = "a" * 52

MESSAGES = [
    (Opening, Hello(1, Purpose.STREAM, bytes(32))),
    (Opening, Hello(1, Purpose.ASSOCIATION)),
    (Opening, Hello(7, Purpose.RENDEZVOUS)),
    (Opening, Welcome()),
    (Opening, Refused("not on the list")),
    (Rendezvous, Register()),
    (Rendezvous, Registered()),
    (Rendezvous, Registered(65535)),
    (Rendezvous, OpenChannel(2**31, NODE)),
    (Rendezvous, ChannelData(0, bytes(messages.CHANNEL_DATA_LIMIT))),
    (Rendezvous, ChannelClosed(3)),
    (Rendezvous, ChannelClosed(3, "too much was sent")),
    (Signalling, Prepare(1)),
    (Signalling, Prepared(1)),
    (Signalling, Introduce(0, bytes(messages.MESSAGE_LIMIT))),
]


@pytest.mark.parametrize(("conversation", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_message_survives_its_frame(conversation: object, message: object) -> None:
    (payload,) = FrameReader().receive_stream_data(messages.encode(message))  # type: ignore[arg-type]
    assert messages.decode(payload, conversation) == message


@pytest.mark.parametrize(("conversation", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_message_of_one_conversation_is_none_of_another(conversation: object, message: object) -> None:
    payload = msgspec.msgpack.encode(message)
    for other in (Opening, Rendezvous, Signalling):
        if other is not conversation:
            with pytest.raises(ProtocolError):
                messages.decode(payload, other)


@pytest.mark.parametrize(
    ("conversation", "content"),
    [
        (Opening, {"type": "hello", "version": 0, "purpose": "stream"}),
        (Opening, {"type": "hello", "version": 1, "purpose": "\x1b[2J"}),
        (Opening, {"type": "hello", "version": 1, "purpose": "stream", "proof": bytes(33)}),
        (Opening, {"type": "refused", "reason": "x" * 201}),
        (Opening, {"type": "refused"}),
        (Opening, {"type": "\x1b[2J\u202e"}),
        (Rendezvous, {"type": "registered", "alternate_port": 65536}),
        (Rendezvous, {"type": "open", "channel": -1, "node": NODE}),
        (Rendezvous, {"type": "open", "channel": 1, "node": NODE + "\n"}),
        (Rendezvous, {"type": "open", "channel": 1, "node": NODE.upper()}),
        (Rendezvous, {"type": "open", "channel": 1, "node": "\x1b" * 52}),
        (Rendezvous, {"type": "data", "channel": 1, "data": bytes(messages.CHANNEL_DATA_LIMIT + 1)}),
        (Rendezvous, {"type": "closed", "channel": 2**31 + 1}),
        (Signalling, {"type": "prepare", "round": 17}),
        (Signalling, {"type": "introduce", "round": 0, "message": bytes(messages.MESSAGE_LIMIT + 1)}),
        (Signalling, []),
        (Signalling, 7),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_printable_words(conversation: object, content: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        messages.decode(msgspec.msgpack.encode(content), conversation)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=80), st.sampled_from([Opening, Rendezvous, Signalling]))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes, conversation: object) -> None:
    try:
        message = messages.decode(data, conversation)
    except ProtocolError:
        return
    assert messages.encode(message)


def test_fields_of_a_later_version_are_ignored() -> None:
    content = {"type": "hello", "version": 2, "purpose": "stream", "colour": ["red", {"deep": 1}]}
    assert messages.decode(msgspec.msgpack.encode(content), Opening) == Hello(2, Purpose.STREAM)


def test_the_largest_message_of_each_kind_fits_into_a_frame() -> None:
    messages.encode(ChannelData(2**31, bytes(messages.CHANNEL_DATA_LIMIT)))
    messages.encode(Introduce(16, bytes(messages.MESSAGE_LIMIT)))
    with pytest.raises(PknetError):
        messages.encode(ChannelData(2**31, bytes(1 << 15)))
