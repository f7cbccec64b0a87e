"""The other half of a pipe: a local TCP port whose connections go to a node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.network import NodeId

__all__ = ["Forwarder"]


class Forwarder:
    """A local TCP port whose connections go to a node; get one from `Network.forward`.

    `failures` counts the connections that were closed because the node could not be reached.
    """

    def __init__(
        self,
        node_id: NodeId,
        on_connection: Callable[[Forwarder], asyncio.Protocol],
        on_close: Callable[[Forwarder], None],
    ) -> None:
        self.node_id = node_id
        self.failures = 0
        self.address = ("", 0)
        """The (host, port) that is listened on."""
        self._on_connection = on_connection
        self._on_close = on_close
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Open the port. Raises OSError if that fails."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._on_connection(self), host, port)
        self.address = self._server.sockets[0].getsockname()[:2]

    def close(self) -> None:
        """Listen no more; connections that are open go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._on_close(self)
