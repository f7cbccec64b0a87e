"""Addresses where a node may be reached, and what is known of the NAT before it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import msgspec

from pknet.errors import ProtocolError

__all__ = ["Candidate", "CandidateType", "Description", "Mapping"]

MAX_CANDIDATES: Final = 8
MAX_HOST_LENGTH: Final = 64


class CandidateType(Enum):
    """How an address came to be known (RFC 8445 section 5.1.1)."""

    HOST = "host"
    SERVER_REFLEXIVE = "server-reflexive"
    PEER_REFLEXIVE = "peer-reflexive"


class Mapping(Enum):
    """How a NAT chooses the port by which a socket is seen (RFC 4787 section 4.1)."""

    UNKNOWN = "unknown"
    NONE = "no NAT"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ENDPOINT_DEPENDENT = "endpoint-dependent"


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
    """What a node tells a peer about itself before they punch; it travels sealed."""

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
