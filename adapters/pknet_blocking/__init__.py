"""pknet for programs that block: uTP streams, and the network module."""

from __future__ import annotations

from pknet_blocking.forwarder import Forwarder
from pknet_blocking.network import Network
from pknet_blocking.nodes import MemoryStore, Nodes, RendezvousNodes, SqliteStore
from pknet_blocking.stream import Stream
from pknet_blocking.utp import UtpListener, create_connection, create_server
from pknet_io.network import ConnectError, NetworkOptions, PipeRecord, UndeliveredError

__all__ = [
    "ConnectError",
    "Forwarder",
    "MemoryStore",
    "Network",
    "NetworkOptions",
    "Nodes",
    "PipeRecord",
    "RendezvousNodes",
    "SqliteStore",
    "Stream",
    "UndeliveredError",
    "UtpListener",
    "create_connection",
    "create_server",
]
