"""A ticket: one line of text that says which node to reach, where, and proves that its bearer may.

    pknet1 <base32 of: body, checksum>

It is made of letters and digits alone, so that a double click takes it whole and no shell minds it, and it
reads the same in capitals. The checksum is there for slips of the hand: 40 bits of SHA-256. It proves nothing
about who made the ticket.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, field
from typing import Final, Self

import msgspec

from pknet.errors import PknetError, ProtocolError
from pknet.network.identity import NodeId, node_id_from_digest, node_id_to_digest
from pknet.network.info import SECRET_SIZE, Address, NodeInfo, RendezvousInfo

__all__ = ["Ticket", "TicketError", "admission_proof", "check_admission"]

MAX_TEXT_LENGTH: Final = 64 * 1024  # every ticket that fits NodeInfo's bounds is shorter
PROOF_SIZE: Final = 32

_PREFIX: Final = "pknet"
_VERSION: Final = "1"
_CHECKSUM_SIZE: Final = 5


class TicketError(ProtocolError, ValueError):
    """A text that was given as a ticket is none, or is damaged. The message never quotes it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Name a node, where it is reached, and the secret (16 bytes) by which it knows its guests.

    Raises InvalidNodeInfoError or InvalidNodeIdError where a bound of NodeInfo does not hold.
    """

    node_id: NodeId
    secret: bytes = field(repr=False)
    addresses: tuple[Address, ...] = ()
    rendezvous: tuple[RendezvousInfo, ...] = ()

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_SIZE:
            raise PknetError(f"a ticket's secret has {SECRET_SIZE} bytes, not {len(self.secret)}")
        self.to_node_info()

    def to_node_info(self) -> NodeInfo:
        """Return what the ticket says of its node, the secret included."""
        return NodeInfo(self.node_id, self.addresses, self.rendezvous, self.secret)

    def encode(self) -> str:
        """Return the text to copy."""
        body = msgspec.msgpack.encode(
            _Body(
                node_id_to_digest(self.node_id),
                self.secret,
                tuple(_pack_address(address) for address in self.addresses),
                tuple(
                    (
                        node_id_to_digest(node.node_id),
                        tuple(_pack_address(address) for address in node.addresses),
                    )
                    for node in self.rendezvous
                ),
            )
        )
        return _PREFIX + _VERSION + _to_base32(body + _checksum(body))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a ticket; white space and line breaks anywhere in it are forgiven, and so are capitals.

        Raises TicketError for whatever else differs from what `encode` returned.
        """
        if not isinstance(text, str):
            raise TypeError(f"a ticket is parsed from text, not from {text!r}")
        if len(text) > MAX_TEXT_LENGTH:
            raise TicketError(f"a ticket has at most {MAX_TEXT_LENGTH} characters, this text has {len(text)}")
        text = "".join(text.split())
        text = text.lower() if text.isascii() else ""
        if not text.startswith(_PREFIX):
            raise TicketError(f"this is no ticket: a ticket begins with {_PREFIX}{_VERSION}")
        version, encoded = text[len(_PREFIX) : len(_PREFIX) + 1], text[len(_PREFIX) + 1 :]
        if version and version != _VERSION:
            raise TicketError(
                f"this is a ticket of version {version!r}, only version {_VERSION} is known here"
            )
        sealed = _from_base32(encoded)
        body, checksum = sealed[:-_CHECKSUM_SIZE], sealed[-_CHECKSUM_SIZE:]
        if checksum != _checksum(body) or _to_base32(sealed) != encoded:
            raise TicketError("the ticket is damaged or incomplete: copy the whole of it again")
        try:
            content = msgspec.msgpack.decode(body, type=_Body)
            return cls(
                node_id_from_digest(content.node_id),
                content.secret,
                tuple(_unpack_address(address) for address in content.addresses),
                tuple(
                    RendezvousInfo(
                        node_id_from_digest(node_id), tuple(_unpack_address(address) for address in addresses)
                    )
                    for node_id, addresses in content.rendezvous
                ),
            )
        except (msgspec.MsgspecError, PknetError, ValueError):
            raise TicketError("the ticket's checksum is right, but its content is not") from None


def admission_proof(secret: bytes, context: bytes, channel_binding: bytes) -> bytes:
    """Prove knowledge of a ticket's secret, on this channel and for this use alone (HMAC-SHA256, 32 bytes).

    `channel_binding` is something that no other channel has, such as `SecureStream.export_keying_material`
    (RFC 9266): a proof that is overheard or relayed is then worth nothing elsewhere. Raises PknetError for a
    secret of another size than a ticket's, above all for none.
    """
    if len(secret) != SECRET_SIZE:
        raise PknetError(f"a ticket's secret has {SECRET_SIZE} bytes, not {len(secret)}")
    return hmac.digest(secret, len(context).to_bytes(4) + context + channel_binding, "sha256")


def check_admission(secret: bytes, context: bytes, channel_binding: bytes, proof: bytes) -> bool:
    """Tell whether `proof` is what `admission_proof` returns, in a time that does not depend on either."""
    return hmac.compare_digest(admission_proof(secret, context, channel_binding), proof)


_PackedAddress = tuple[bytes, int]


class _Body(msgspec.Struct, array_like=True):
    """What stands between prefix and checksum: node ids as digests, hosts packed."""

    node_id: bytes
    secret: bytes
    addresses: tuple[_PackedAddress, ...]
    rendezvous: tuple[tuple[bytes, tuple[_PackedAddress, ...]], ...]


def _pack_address(address: Address) -> _PackedAddress:
    """Shorten the host: a byte that says 4, 6 or n(ame), then the IP address in network order or the text."""
    host, port = address
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return b"n" + host.encode("ascii"), port
    if str(type(ip)(ip.packed)) != host:  # a %scope, or a spelling that unpacking would not give back
        return b"n" + host.encode("ascii"), port
    return str(ip.version).encode("ascii") + ip.packed, port


def _unpack_address(address: _PackedAddress) -> Address:
    packed, port = address
    kind, host = packed[:1], packed[1:]
    if kind == b"4":
        return str(ipaddress.IPv4Address(host)), port
    if kind == b"6":
        return str(ipaddress.IPv6Address(host)), port
    if kind == b"n":
        return host.decode("ascii"), port
    raise TicketError("an address of an unknown kind")


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(f"{_PREFIX}{_VERSION} ticket\0".encode() + body).digest()[:_CHECKSUM_SIZE]


def _to_base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _from_base32(text: str) -> bytes:
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        raise TicketError("the ticket is damaged or incomplete: copy the whole of it again") from None
