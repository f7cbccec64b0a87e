"""What is known of a node: where it can be reached, and who can introduce others to it."""

from __future__ import annotations

import re
from typing import Any, Final, Self, TypeVar

import msgspec

from pknet.errors import ProtocolError
from pknet.network.identity import NodeId, parse_node_id

__all__ = ["Address", "InvalidNodeInfoError", "NodeInfo", "RendezvousInfo"]

Address = tuple[str, int]

MAX_ADDRESSES: Final = 16
MAX_RENDEZVOUS: Final = 8
MAX_HOST_LENGTH: Final = 253  # RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters
MAX_ENCODED_SIZE: Final = 64 * 1024
SECRET_SIZE: Final = 16

_HOST = re.compile(r"[0-9A-Za-z_.:%-]+")  # a name, an IPv4 or an IPv6 address, the last perhaps with %scope


class InvalidNodeInfoError(ProtocolError, ValueError):
    """What was given as information of a node is malformed or out of bounds."""


class RendezvousInfo(msgspec.Struct, frozen=True):
    """Name a node that introduces others, and the addresses (host, port) where it is reached."""

    node_id: NodeId
    addresses: tuple[Address, ...]

    def __post_init__(self) -> None:
        _check_node_id(self.node_id)
        _check_addresses(self.addresses)


class NodeInfo(msgspec.Struct, frozen=True):
    """Say where a node is reached without introduction (`addresses`), and through whom else (`rendezvous`).

    `secret` is the one of a ticket (16 bytes, or none): it is not shown by repr(), but it is stored and
    encoded; what may be told to other nodes is `public()`. Unknown fields of a later version are ignored.

    Raises InvalidNodeInfoError or InvalidNodeIdError, both of them ValueError, where a bound does not hold.
    """

    node_id: NodeId
    addresses: tuple[Address, ...] = ()
    rendezvous: tuple[RendezvousInfo, ...] = ()
    secret: bytes = b""

    def __post_init__(self) -> None:
        _check_node_id(self.node_id)
        _check_addresses(self.addresses)
        if len(self.rendezvous) > MAX_RENDEZVOUS:
            raise InvalidNodeInfoError(
                f"a node has at most {MAX_RENDEZVOUS} rendezvous nodes, not {len(self.rendezvous)}"
            )
        if len(self.secret) not in {0, SECRET_SIZE}:
            raise InvalidNodeInfoError(f"a secret has {SECRET_SIZE} bytes, not {len(self.secret)}")

    def __repr__(self) -> str:
        return (
            f"NodeInfo(node_id={self.node_id!r}, addresses={self.addresses!r}, "
            f"rendezvous={self.rendezvous!r}, secret={'...' if self.secret else None})"
        )

    def __rich_repr__(self) -> Any:
        # msgspec's own would show the secret.
        yield "node_id", self.node_id
        yield "addresses", self.addresses
        yield "rendezvous", self.rendezvous

    def public(self) -> NodeInfo:
        """Return the same without the secret."""
        return msgspec.structs.replace(self, secret=b"")

    def to_json(self) -> bytes:
        """Encode as JSON, the secret in base64."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Decode what `to_json` made. Raises InvalidNodeInfoError."""
        return _decode(msgspec.json.decode, data, cls)

    def to_msgpack(self) -> bytes:
        """Encode as MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_msgpack(cls, data: bytes) -> Self:
        """Decode what `to_msgpack` made. Raises InvalidNodeInfoError."""
        return _decode(msgspec.msgpack.decode, data, cls)


_T = TypeVar("_T")


def _decode(decoder: Any, data: bytes | str, kind: type[_T]) -> _T:
    if len(data) > MAX_ENCODED_SIZE:
        raise InvalidNodeInfoError(f"node information has at most {MAX_ENCODED_SIZE} bytes, not {len(data)}")
    try:
        result: _T = decoder(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidNodeInfoError(f"malformed node information: {error}") from None
    return result


def _check_node_id(node_id: NodeId) -> None:
    if parse_node_id(node_id) != node_id:
        raise InvalidNodeInfoError("a node id is written in lower case with no white space around it")


def _check_addresses(addresses: tuple[Address, ...]) -> None:
    if len(addresses) > MAX_ADDRESSES:
        raise InvalidNodeInfoError(f"a node has at most {MAX_ADDRESSES} addresses, not {len(addresses)}")
    for host, port in addresses:
        if len(host) > MAX_HOST_LENGTH or not _HOST.fullmatch(host):
            raise InvalidNodeInfoError(f"{host[:64]!r} is no host name and no IP address")
        if not 1 <= port <= 65535:
            raise InvalidNodeInfoError(f"{port} is no UDP port")
