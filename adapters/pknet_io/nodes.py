"""What a program gives a Network: who this node is, and what is known of others.

A program may give any object with these seven members; the ready ones keep nodes in memory or in SQLite.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pknet.network import Identity, NodeId, NodeInfo, RendezvousInfo

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["MemoryStore", "NodeStore", "SqliteStore"]


class NodeStore(Protocol):
    """Where the ready Nodes objects keep what they know."""

    def list_nodes(self) -> Iterable[NodeInfo]:
        """Return every node that is known."""

    def get_node(self, node_id: NodeId) -> NodeInfo | None:
        """Return what is known of a node, None if nothing is."""

    def update_node(self, info: NodeInfo) -> None:
        """Keep what is known of a node, in place of what was."""


class MemoryStore:
    """Keeps nodes as long as the program runs."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, NodeInfo] = {}

    def list_nodes(self) -> list[NodeInfo]:
        """Return every node that is known."""
        return list(self._nodes.values())

    def get_node(self, node_id: NodeId) -> NodeInfo | None:
        """Return what is known of a node, None if nothing is."""
        return self._nodes.get(node_id)

    def update_node(self, info: NodeInfo) -> None:
        """Keep what is known of a node, in place of what was."""
        self._nodes[info.node_id] = info


class SqliteStore:
    """Keeps nodes in a SQLite file; safe to use from several threads."""

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS nodes (node_id TEXT PRIMARY KEY, info BLOB NOT NULL)"
        )

    def list_nodes(self) -> list[NodeInfo]:
        """Return every node that is known."""
        with self._lock:
            rows = self._database.execute("SELECT info FROM nodes ORDER BY node_id").fetchall()
        return [NodeInfo.from_msgpack(row[0]) for row in rows]

    def get_node(self, node_id: NodeId) -> NodeInfo | None:
        """Return what is known of a node, None if nothing is."""
        with self._lock:
            row = self._database.execute("SELECT info FROM nodes WHERE node_id = ?", (node_id,)).fetchone()
        return None if row is None else NodeInfo.from_msgpack(row[0])

    def update_node(self, info: NodeInfo) -> None:
        """Keep what is known of a node, in place of what was."""
        with self._lock:
            self._database.execute(
                "INSERT INTO nodes VALUES (?, ?) ON CONFLICT (node_id) DO UPDATE SET info = excluded.info",
                (info.node_id, info.to_msgpack()),
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


class ReadyNodes:
    """What the ready Nodes objects of both adapters have in common."""

    def __init__(
        self,
        private_key: Ed25519PrivateKey | None = None,
        *,
        nodes: Iterable[NodeInfo] = (),
        rendezvous: Iterable[RendezvousInfo] = (),
        logger: logging.Logger | None = None,
        store: NodeStore | None = None,
    ) -> None:
        self._private_key = private_key or Ed25519PrivateKey.generate()
        self._node_id = Identity(self._private_key).node_id
        self._rendezvous = tuple(rendezvous)
        self._logger = logger or logging.getLogger("pknet")
        self._store = store or MemoryStore()
        self._network: Any = None
        for info in nodes:
            self._store.update_node(info)

    def attach(self, network: Any) -> None:
        """Take the Network whose rendezvous nodes carry the signalling; the Network itself calls this."""
        self._network = network

    def private_key(self) -> Ed25519PrivateKey:
        """Return this node's private key."""
        return self._private_key

    def logger(self) -> logging.Logger:
        """Return the logger."""
        return self._logger

    def own_info(self) -> NodeInfo:
        """Return what may be told of this node: its addresses where the network is started."""
        addresses = () if self._network is None else self._network.local_addresses
        return NodeInfo(self._node_id, tuple(addresses), self._rendezvous)
