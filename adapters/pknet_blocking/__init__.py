"""pknet for programs that block: uTP streams, and the network module."""

from __future__ import annotations

from pknet_blocking.stream import Stream
from pknet_blocking.utp import UtpListener, create_connection, create_server

__all__ = ["Stream", "UtpListener", "create_connection", "create_server"]
