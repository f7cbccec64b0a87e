"""What a Node tells its adapter, beside the events of its streams (those of `pknet.utp`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pknet.nat import PublicAddress
    from pknet.network.identity import NodeId

__all__ = [
    "PublicAddressChanged",
    "RendezvousLost",
    "RendezvousRegistered",
    "SignallingData",
    "SignallingEnded",
    "SignallingWanted",
    "SocketReleased",
    "SocketWanted",
]


@dataclass(frozen=True, slots=True)
class PublicAddressChanged:
    """The node is seen from outside by a new address."""

    public_address: PublicAddress


@dataclass(frozen=True, slots=True)
class RendezvousRegistered:
    """A rendezvous node introduces others to this one from now on."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class RendezvousLost:
    """A rendezvous node was lost, or can't be reached; it is tried again at `retry_at`, if that is set."""

    node_id: NodeId
    reason: str
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class SocketWanted:
    """Open one more UDP socket, at `port` or any (0); answer by `socket_opened` or `socket_failed`.

    It is given back by SocketReleased, save the one that a rendezvous node serves STUN on.
    """

    number: int
    port: int


@dataclass(frozen=True, slots=True)
class SocketReleased:
    """A socket that was opened for the node is not needed any more."""

    local: Hashable


@dataclass(frozen=True, slots=True)
class SignallingWanted:
    """Open a byte stream to or towards a node; answer by `signalling_opened` or `signalling_ended`.

    SignallingEnded may come before the answer: then it is not wanted any more.
    """

    number: int
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class SignallingData:
    """Send bytes on a signalling stream."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SignallingEnded:
    """A signalling stream is not needed any more: close it once what was to be sent has been."""

    number: int
