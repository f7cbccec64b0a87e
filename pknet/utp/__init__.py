"""uTP (BEP 29): reliable streams over datagrams that yield to other traffic."""

from __future__ import annotations

from pknet._core.utp_config import UtpConfig
from pknet._core.utp_connection import UtpConnection
from pknet._core.utp_counters import UtpCounters
from pknet._core.utp_endpoint import TooManyConnections, UtpEndpoint
from pknet._core.utp_events import (
    CloseReason,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    DataReceived,
    EofReceived,
    SendBufferDrained,
    UtpEvent,
)
from pknet._core.utp_packet import Packet, PacketType, parse_packet
from pknet._core.utp_stats import UtpStats

__all__ = [
    "CloseReason",
    "ConnectionAccepted",
    "ConnectionClosed",
    "ConnectionOpened",
    "DataReceived",
    "EofReceived",
    "Packet",
    "PacketType",
    "SendBufferDrained",
    "TooManyConnections",
    "UtpConfig",
    "UtpConnection",
    "UtpCounters",
    "UtpEndpoint",
    "UtpEvent",
    "UtpStats",
    "parse_packet",
]
