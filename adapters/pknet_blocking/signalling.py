"""Byte streams that carry a node's introductions: the program's own, or channels through a rendezvous."""

from __future__ import annotations

import contextlib
import socket as sockets
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from pknet.errors import PknetError
from pknet.network import Channel, NodeId, SignallingData, SignallingEnded

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from pknet.network import Node
    from pknet_blocking.driver import Driver

__all__ = ["ByteSocket", "Signalling"]

CHUNK = 1 << 14


class ByteSocket(Protocol):
    """A signalling stream: a connected socket, a Stream, or an object with these four methods.

    `shutdown` has to end a `recv` that waits in another thread.
    """

    def recv(self, size: int, /) -> bytes:
        """Return at most `size` bytes as soon as there are any; b"" at the end."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`."""

    def shutdown(self, how: int, /) -> None:
        """End both directions (SHUT_RDWR)."""

    def close(self) -> None:
        """Close."""


class Signalling:
    """Carries bytes between a node's meetings, each of which has a number, and the streams to their peers."""

    def __init__(
        self,
        node: Node,
        driver: Driver,
        connect_to_node: Callable[[NodeId], ByteSocket],
        logger: logging.Logger,
    ) -> None:
        self._node = node
        self._driver = driver
        self._connect_to_node = connect_to_node
        self._logger = logger
        # What is to be sent for each meeting; None ends it. Guarded by the driver's lock.
        self._queues: dict[int, SimpleQueue[bytes | None]] = {}

    def handle_event(self, event: SignallingData | SignallingEnded) -> None:
        """Take what the node has to send, or that it needs a stream no more; the driver's lock is held."""
        queue = self._queues.get(event.number)
        if queue is not None:
            queue.put(event.data if isinstance(event, SignallingData) else None)

    def close(self) -> None:
        """End every stream, once what was given to it is sent; the driver's lock is held."""
        for queue in self._queues.values():
            queue.put(None)

    def expect(self, number: int) -> None:
        """Keep what a meeting sends from now on; the driver's lock is held."""
        self._queues[number] = SimpleQueue()

    def open(self, number: int, node_id: NodeId) -> None:
        """Open the stream that a meeting asked for, and carry its bytes; `expect` comes first."""
        try:
            stream = self._connect_to_node(node_id)
        except Exception as error:
            self._end(number, str(error) or type(error).__name__)
            with self._driver.lock:
                del self._queues[number]
            if not isinstance(error, OSError | PknetError):
                raise
        else:
            with self._driver.lock:
                self._node.signalling_opened(number, self._driver.now)
                self._driver.drain()
            self._carry(number, stream)

    def accept(self, stream: ByteSocket) -> None:
        """Begin a meeting on a stream that the peer's program opened, and carry its bytes."""
        with self._driver.lock:
            number = self._node.accept_signalling(self._driver.now)
            self.expect(number)
        self._carry(number, stream)

    def _carry(self, number: int, stream: ByteSocket) -> None:
        with self._driver.lock:
            queue = self._queues[number]
        sender = threading.Thread(
            target=_send, args=(queue, stream), name=f"pknet signalling {number}", daemon=True
        )
        sender.start()
        reason = ""
        try:
            while data := stream.recv(CHUNK):
                with self._driver.lock:
                    self._node.receive_signalling(number, data, self._driver.now)
                    self._driver.drain()
        except OSError as error:
            reason = str(error)
        channel = getattr(stream, "stream", None)
        if isinstance(channel, Channel) and channel.failure:
            reason = channel.failure
        self._end(number, reason)
        queue.put(None)
        sender.join()
        with self._driver.lock:
            del self._queues[number]
        stream.close()

    def _end(self, number: int, reason: str) -> None:
        with self._driver.lock:
            self._node.signalling_ended(number, reason, self._driver.now)
            self._driver.drain()


def _send(queue: SimpleQueue[bytes | None], stream: ByteSocket) -> None:
    """Send what is queued, then end the stream; if that fails, the reading side learns of it too."""
    with contextlib.suppress(OSError):
        while (data := queue.get()) is not None:
            stream.sendall(data)
    with contextlib.suppress(OSError):
        stream.shutdown(sockets.SHUT_RDWR)
