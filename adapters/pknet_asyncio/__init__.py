"""pknet for asyncio: uTP streams, and the network module."""

from __future__ import annotations

from pknet_asyncio.forwarder import Forwarder
from pknet_asyncio.network import Network
from pknet_asyncio.nodes import AsyncNodes, MemoryStore, RendezvousNodes, SqliteStore
from pknet_asyncio.utp import UtpServer, open_utp_connection, start_utp_server
from pknet_io.network import ConnectError, NetworkOptions, PipeRecord, UndeliveredError

__all__ = [
    "AsyncNodes",
    "ConnectError",
    "Forwarder",
    "MemoryStore",
    "Network",
    "NetworkOptions",
    "PipeRecord",
    "RendezvousNodes",
    "SqliteStore",
    "UndeliveredError",
    "UtpServer",
    "open_utp_connection",
    "start_utp_server",
]
