"""Addresses where a node may be reached, and what is known of the NAT before it."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from pknet.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Address = tuple[str, int]

__all__ = ["MAX_CANDIDATES", "Candidate", "CandidateType", "Description", "Mapping", "reachable_address"]

MAX_CANDIDATES: Final = 8
MAX_HOST_LENGTH: Final = 64

_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")


class CandidateType(Enum):
    """How an address came to be known (RFC 8445 section 5.1.1)."""

    HOST = "host"
    SERVER_REFLEXIVE = "server-reflexive"
    PEER_REFLEXIVE = "peer-reflexive"


class Mapping(Enum):
    """How a NAT chooses the address by which a socket is seen (RFC 4787 section 4.1)."""

    UNKNOWN = "unknown"
    NONE = "no NAT"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address and port-dependent"

    @property
    def is_dependent(self) -> bool:
        """Whether peers see another address than a server does (such a NAT is often called symmetric)."""
        return self in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """An address (host, port) where a node may be reached."""

    type: CandidateType
    host: Annotated[str, msgspec.Meta(max_length=MAX_HOST_LENGTH)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]

    @property
    def address(self) -> tuple[str, int]:
        """The address as (host, port)."""
        return (self.host, self.port)


class Description(msgspec.Struct, frozen=True, array_like=True):
    """What a node tells a peer about itself before they punch; it travels sealed.

    Its candidates are the peer's word: what may be sent to is for `reachable_address` to say.
    """

    candidates: Annotated[tuple[Candidate, ...], msgspec.Meta(max_length=MAX_CANDIDATES)]
    mapping: Mapping = Mapping.UNKNOWN

    def encode(self) -> bytes:
        """Return the description as it is sealed."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Description:
        """Read a description. Raises ProtocolError."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProtocolError(f"malformed description: {error}") from None


def reachable_address(address: Address, own: Iterable[Address]) -> Address | None:
    """Return an address that somebody else named, in canonical form, if packets may go there; else None.

    Not to names, nor to one's `own` addresses (a node elsewhere may well have the same private one), nor to
    what is no host at all: multicast, broadcast, reserved and unspecified addresses. To a loopback or
    link-local one only from a node that has such an address itself; a scope means nothing elsewhere, and is
    refused.
    """
    host, port = address
    ip = _parse(host)
    if ip is None or not 0 < port <= 0xFFFF:
        return None
    canonical = str(ip), port
    if canonical in own:
        return None
    if ip.is_loopback:
        return canonical if any(known.is_loopback for known in _parse_all(own)) else None
    if ip.is_link_local:
        return canonical if any(known.is_link_local for known in _parse_all(own)) else None
    # 0.0.0.0/8 is "this network" (RFC 1122 section 3.2.1.3).
    is_no_host = ip.is_multicast or ip.is_unspecified or ip.is_reserved or ip in _THIS_NETWORK
    return None if is_no_host else canonical


def _parse(host: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    # Sockets of ours are of one family each: an IPv4 address in IPv6's clothes only evades checks.
    if isinstance(ip, IPv6Address) and (ip.scope_id is not None or ip.ipv4_mapped is not None):
        return None
    return ip


def _parse_all(addresses: Iterable[Address]) -> list[IPv4Address | IPv6Address]:
    parsed = (_parse(host.partition("%")[0]) for host, _ in addresses)
    return [ip for ip in parsed if ip is not None]
