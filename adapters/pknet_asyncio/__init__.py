"""pknet for asyncio: uTP streams, and the network module."""

from __future__ import annotations

from pknet_asyncio.forwarder import Forwarder
from pknet_asyncio.network import Network
from pknet_asyncio.nodes import AsyncNodes, MemoryStore, RendezvousNodes, SqliteStore
from pknet_asyncio.server import UtpServer
from pknet_asyncio.streams import open_utp_connection, start_utp_server
from pknet_asyncio.transport import StreamTransport
from pknet_asyncio.utp import create_utp_connection, create_utp_server
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
    "StreamTransport",
    "UndeliveredError",
    "UtpServer",
    "create_utp_connection",
    "create_utp_server",
    "open_utp_connection",
    "start_utp_server",
]
