"""pknet's own messages: malformed ones raise ProtocolError, and what was read can be written and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pknet.errors import ProtocolError
from pknet.nat.candidate import Description
from pknet.network import introduction, messages
from pknet.network.framing import FrameReader
from pknet.network.info import NodeInfo
from tests.fuzz.target_input import TargetInput


def one_input(data: bytes) -> None:
    source = TargetInput(data)
    read, write = FORMS[source.u8() % len(FORMS)]
    payload = source.rest()
    try:
        message = read(payload)
    except ProtocolError as error:
        check_complaint(str(error))
        return
    assert read(write(message)) == message
    assert repr(message)


def check_complaint(text: str) -> None:
    """Check what goes to a log: a peer can't fill it."""
    assert len(text) < 1000


def conversation(kind: Any) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    def write(message: Any) -> bytes:
        (payload,) = FrameReader().receive_stream_data(messages.encode(message))
        return payload

    return lambda payload: messages.decode(payload, kind), write


def read_introduction(payload: bytes) -> bytes:
    introduction.parse(payload)
    # There is one encoding only, so that what was signed is what was read.
    return payload


FORMS: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = [
    conversation(messages.Opening),
    conversation(messages.Rendezvous),
    conversation(messages.Signalling),
    (read_introduction, bytes),
    (Description.decode, Description.encode),
    (NodeInfo.from_msgpack, NodeInfo.to_msgpack),
    (NodeInfo.from_json, NodeInfo.to_json),
]
