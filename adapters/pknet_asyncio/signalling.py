"""Byte streams that carry a node's introductions: the program's own, or channels through a rendezvous."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pknet.errors import PknetError
from pknet.network import Channel, NodeId, SignallingData, SignallingEnded

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from pknet.network import Node
    from pknet_asyncio.driver import Driver

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

__all__ = ["Signalling"]

CHUNK = 1 << 14


class Signalling:
    """Carries bytes between a node's meetings, each of which has a number, and the streams to their peers."""

    def __init__(
        self,
        node: Node,
        driver: Driver,
        connect_to_node: Callable[[NodeId], Awaitable[Streams]],
        logger: logging.Logger,
    ) -> None:
        self._node = node
        self._driver = driver
        self._connect_to_node = connect_to_node
        self._logger = logger
        # What is to be sent for each meeting; None ends it.
        self._queues: dict[int, asyncio.Queue[bytes | None]] = {}

    def handle_event(self, event: SignallingData | SignallingEnded) -> None:
        """Take what the node has to send, or that it needs a stream no more."""
        queue = self._queues.get(event.number)
        if queue is not None:
            queue.put_nowait(event.data if isinstance(event, SignallingData) else None)

    def close(self) -> None:
        """End every stream, once what was given to it is sent."""
        for queue in self._queues.values():
            queue.put_nowait(None)

    def expect(self, number: int) -> None:
        """Keep what a meeting sends from now on."""
        self._queues[number] = asyncio.Queue()

    async def open(self, number: int, node_id: NodeId) -> None:
        """Open the stream that a meeting asked for, and carry its bytes; `expect` comes first."""
        try:
            reader, writer = await self._connect_to_node(node_id)
        except BaseException as error:
            del self._queues[number]
            self._end(number, str(error) or type(error).__name__)
            if not isinstance(error, OSError | PknetError):
                raise
        else:
            self._node.signalling_opened(number, self._driver.now)
            self._driver.drain()
            await self._carry(number, reader, writer)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a meeting on a stream that the peer's program opened, and carry its bytes."""
        number = self._node.accept_signalling(self._driver.now)
        self.expect(number)
        await self._carry(number, reader, writer)

    async def _carry(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue = self._queues[number]
        sender = asyncio.ensure_future(_send(queue, writer))
        reason = ""
        try:
            while data := await reader.read(CHUNK):
                self._node.receive_signalling(number, data, self._driver.now)
                self._driver.drain()
        except OSError as error:
            reason = str(error)
        finally:
            channel = getattr(writer.transport, "stream", None)
            if isinstance(channel, Channel) and channel.failure:
                reason = channel.failure
            self._end(number, reason)
            queue.put_nowait(None)
            try:
                await sender
            finally:
                del self._queues[number]
                writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _end(self, number: int, reason: str) -> None:
        self._node.signalling_ended(number, reason, self._driver.now)
        self._driver.drain()


async def _send(queue: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter) -> None:
    """Send what is queued, then close; if that fails, the reading side learns of it too."""
    with contextlib.suppress(OSError):
        while (data := await queue.get()) is not None:
            writer.write(data)
            await writer.drain()
    writer.close()
