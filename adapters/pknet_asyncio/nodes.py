"""What a program gives a Network: the seven members of AsyncNodes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pknet_io.nodes import MemoryStore, NodeStore, ReadyNodes, SqliteStore

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from pknet.network import NodeId, NodeInfo

__all__ = ["AsyncNodes", "MemoryStore", "NodeStore", "RendezvousNodes", "SqliteStore"]


class AsyncNodes(Protocol):
    """Who this node is, and what is known of others."""

    async def list_nodes(self) -> Iterable[NodeInfo]:
        """Return every node that is known."""

    async def get_node(self, node_id: NodeId) -> NodeInfo | None:
        """Return what is known of a node, None if nothing is."""

    async def update_node(self, info: NodeInfo) -> None:
        """Keep what is known of a node, in place of what was."""

    async def connect_to_node(self, node_id: NodeId) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a byte stream to or towards a node, for the messages by which the two agree to punch.

        Its other end is to be given to that node's `Network.accept_signalling`, unless it goes through a
        rendezvous node. Raises OSError if there is no way.
        """

    async def this_node(self) -> NodeInfo:
        """Return what may be told of this node; its rendezvous nodes are those that it registers with."""

    def private_key(self) -> Ed25519PrivateKey:
        """Return this node's private key: the node is its key."""

    def logger(self) -> logging.Logger:
        """Return the logger for what the network has to say."""


class RendezvousNodes(ReadyNodes):
    """Ready AsyncNodes: keeps nodes in a store, and signals through their rendezvous nodes.

    `private_key`: a new one by default. `rendezvous`: the nodes that this one registers with. `store`: where
    nodes are kept, in memory by default (SqliteStore keeps them in a file).
    """

    async def list_nodes(self) -> Iterable[NodeInfo]:
        """Return every node that is known."""
        return await asyncio.to_thread(self._store.list_nodes)

    async def get_node(self, node_id: NodeId) -> NodeInfo | None:
        """Return what is known of a node, None if nothing is."""
        return await asyncio.to_thread(self._store.get_node, node_id)

    async def update_node(self, info: NodeInfo) -> None:
        """Keep what is known of a node, in place of what was."""
        await asyncio.to_thread(self._store.update_node, info)

    async def connect_to_node(self, node_id: NodeId) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a signalling channel through one of the node's rendezvous nodes, or of this node's own."""
        info = await self.get_node(node_id)
        rendezvous = (*(info.rendezvous if info is not None else ()), *self._rendezvous)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] = await self._network.open_signalling(
            node_id, rendezvous
        )
        return streams

    async def this_node(self) -> NodeInfo:
        """Return what may be told of this node."""
        return self.own_info()
