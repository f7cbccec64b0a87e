"""Messages of pknet's own: MessagePack in frames (`framing`), bounded, and with unknown fields ignored.

Three conversations: how a stream between nodes opens; what a node and its rendezvous node say to each other;
and what two nodes say on a signalling channel before they punch.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from pknet.errors import ProtocolError
from pknet.network.framing import frame
from pknet.network.introduction import MESSAGE_LIMIT
from pknet.network.printable import printable

__all__ = [
    "ChannelClosed",
    "ChannelData",
    "Hello",
    "Introduce",
    "OpenChannel",
    "Opening",
    "Prepare",
    "Prepared",
    "Purpose",
    "Refused",
    "Register",
    "Registered",
    "Rendezvous",
    "Signalling",
    "Welcome",
    "decode",
    "encode",
]

VERSION: Final = 1
CHANNEL_DATA_LIMIT: Final = 12 * 1024

_Reason = Annotated[str, msgspec.Meta(max_length=200)]
_Channel = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
_Round = Annotated[int, msgspec.Meta(ge=0, le=16)]
_NodeId = Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{51}[aq]\\Z")]


class Purpose(Enum):
    """What a stream to a node is for."""

    STREAM = "stream"
    # Carries nothing: it shows that the node can be reached and admits this one, and keeps the path open.
    ASSOCIATION = "association"
    RENDEZVOUS = "rendezvous"


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The initiator's first message: what the stream is for, and the proof of a ticket's secret, if any."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    purpose: Purpose
    proof: Annotated[bytes, msgspec.Meta(max_length=32)] = b""


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The acceptor's answer: from here on the stream is the program's."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The acceptor's answer to a node that may not come in, or to a Hello that it does not understand."""

    reason: _Reason


class Register(msgspec.Struct, frozen=True, tag="register"):
    """Node to rendezvous: others may be introduced to me."""


class Registered(msgspec.Struct, frozen=True, tag="registered"):
    """Rendezvous to node: they may; `alternate_port` answers STUN too (0: there is none)."""

    alternate_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0


class OpenChannel(msgspec.Struct, frozen=True, tag="open"):
    """Open a signalling channel: to `node` (towards the rendezvous) or from `node` (from it)."""

    channel: _Channel
    node: _NodeId


class ChannelData(msgspec.Struct, frozen=True, tag="data"):
    """Bytes on a channel."""

    channel: _Channel
    data: Annotated[bytes, msgspec.Meta(max_length=CHANNEL_DATA_LIMIT)]


class ChannelClosed(msgspec.Struct, frozen=True, tag="closed"):
    """A channel is over, or could not be opened; `reason` is empty if nothing is wrong."""

    channel: _Channel
    reason: _Reason = ""


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """A further round is coming, with fresh sockets on both sides: get one ready."""

    round: _Round


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """The fresh socket is ready."""

    round: _Round


class Introduce(msgspec.Struct, frozen=True, tag="introduce"):
    """A message of `introduction`, which protects itself."""

    round: _Round
    message: Annotated[bytes, msgspec.Meta(max_length=MESSAGE_LIMIT)]


Opening: TypeAlias = Hello | Welcome | Refused
Rendezvous: TypeAlias = Register | Registered | OpenChannel | ChannelData | ChannelClosed
Signalling: TypeAlias = Prepare | Prepared | Introduce

_encoder: Final = msgspec.msgpack.Encoder()
_decoders: Final[dict[Any, msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (Opening, Rendezvous, Signalling)
}


def encode(message: Opening | Rendezvous | Signalling) -> bytes:
    """Return a message as a frame."""
    return frame(_encoder.encode(message))


def decode(payload: bytes, conversation: Any) -> Any:
    """Read the payload of a frame as a message of `conversation`: Opening, Rendezvous or Signalling.

    Raises ProtocolError, whose text is fit to be shown.
    """
    try:
        return _decoders[conversation].decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"malformed message: {printable(str(error))}") from None
