"""What a program gives a Network: the seven members of Nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pknet_io.nodes import MemoryStore, NodeStore, ReadyNodes, SqliteStore

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from pknet.network import NodeId, NodeInfo
    from pknet_blocking.signalling import ByteSocket
    from pknet_blocking.stream import Stream

__all__ = ["MemoryStore", "NodeStore", "Nodes", "RendezvousNodes", "SqliteStore"]


class Nodes(Protocol):
    """Who this node is, and what is known of others; called from several threads."""

    def list_nodes(self) -> Iterable[NodeInfo]:
        """Return every node that is known."""

    def get_node(self, node_id: NodeId) -> NodeInfo | None:
        """Return what is known of a node, None if nothing is."""

    def update_node(self, info: NodeInfo) -> None:
        """Keep what is known of a node, in place of what was."""

    def connect_to_node(self, node_id: NodeId) -> ByteSocket:
        """Open a byte stream to or towards a node, for the messages by which the two agree to punch.

        Its other end is to be given to that node's `Network.accept_signalling`, unless it goes through a
        rendezvous node. Raises OSError if there is no way.
        """

    def this_node(self) -> NodeInfo:
        """Return what may be told of this node; its rendezvous nodes are those that it registers with."""

    def private_key(self) -> Ed25519PrivateKey:
        """Return this node's private key: the node is its key."""

    def logger(self) -> logging.Logger:
        """Return the logger for what the network has to say."""


class RendezvousNodes(ReadyNodes):
    """Ready Nodes: keeps nodes in a store, and signals through their rendezvous nodes.

    `private_key`: a new one by default. `rendezvous`: the nodes that this one registers with. `store`: where
    nodes are kept, in memory by default (SqliteStore keeps them in a file).
    """

    def list_nodes(self) -> Iterable[NodeInfo]:
        """Return every node that is known."""
        return self._store.list_nodes()

    def get_node(self, node_id: NodeId) -> NodeInfo | None:
        """Return what is known of a node, None if nothing is."""
        return self._store.get_node(node_id)

    def update_node(self, info: NodeInfo) -> None:
        """Keep what is known of a node, in place of what was."""
        self._store.update_node(info)

    def connect_to_node(self, node_id: NodeId) -> Stream:
        """Open a signalling channel through one of the node's rendezvous nodes, or of this node's own."""
        info = self._store.get_node(node_id)
        rendezvous = (*(info.rendezvous if info is not None else ()), *self._rendezvous)
        stream: Stream = self._network.open_signalling(node_id, rendezvous)
        return stream

    def this_node(self) -> NodeInfo:
        """Return what may be told of this node."""
        return self.own_info()
