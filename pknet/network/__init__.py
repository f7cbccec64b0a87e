"""The network module without its sockets: nodes, identity, secure streams, introductions."""

from __future__ import annotations

from pknet.network.channel import Channel
from pknet.network.events import (
    PublicAddressChanged,
    RendezvousLost,
    RendezvousRegistered,
    SignallingData,
    SignallingEnded,
    SignallingWanted,
    SocketReleased,
    SocketWanted,
)
from pknet.network.identity import Identity, NodeId, node_id_of, parse_node_id
from pknet.network.info import NodeInfo, RendezvousInfo
from pknet.network.messages import Purpose
from pknet.network.node import Node, NodeConfig, NodeStats
from pknet.network.stream import NodeStream
from pknet.network.ticket import Ticket, TicketError

__all__ = [
    "Channel",
    "Identity",
    "Node",
    "NodeConfig",
    "NodeId",
    "NodeInfo",
    "NodeStats",
    "NodeStream",
    "PublicAddressChanged",
    "Purpose",
    "RendezvousInfo",
    "RendezvousLost",
    "RendezvousRegistered",
    "SignallingData",
    "SignallingEnded",
    "SignallingWanted",
    "SocketReleased",
    "SocketWanted",
    "Ticket",
    "TicketError",
    "node_id_of",
    "parse_node_id",
]
