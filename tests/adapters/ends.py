"""Both ends of a connection: pknet's, which behave as sockets, and TCP to show how these behave."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pknet_blocking
from pknet_io.network import NetworkOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KINDS", "LISTENERS", "LOOPBACK", "Connect", "Ends", "ends_of", "in_thread"]

Ends = tuple[Any, Any]
Connect = Callable[[], Ends]
LOOPBACK = ("127.0.0.1", 0)


@contextlib.contextmanager
def tcp() -> Iterator[Connect]:
    """Give what connects two TCP sockets."""
    with socket.create_server(LOOPBACK) as listener:
        yield lambda: (socket.create_connection(listener.getsockname()), listener.accept()[0])


@contextlib.contextmanager
def plain() -> Iterator[Connect]:
    """Give what connects two streams of plain uTP."""
    with pknet_blocking.create_server(LOOPBACK) as listener:
        yield lambda: (pknet_blocking.create_connection(listener.address), listener.accept()[0])


@contextlib.contextmanager
def nodes() -> Iterator[Connect]:
    """Give what opens a stream between two nodes."""
    options = NetworkOptions(*LOOPBACK)
    came: SimpleQueue[pknet_blocking.Stream] = SimpleQueue()
    with pknet_blocking.Network(pknet_blocking.RendezvousNodes(), options, handler=came.put) as server:
        info = server.make_ticket(()).to_node_info()
        with pknet_blocking.Network(pknet_blocking.RendezvousNodes(nodes=[info]), options) as client:
            yield lambda: (client.connect(server.node_id), came.get())


@contextlib.contextmanager
def ends_of(kind: str) -> Iterator[Ends]:
    """Connect two ends, and leave no thread that goes on for them."""
    with KINDS[kind]() as connect:
        ends = connect()
        try:
            yield ends
        finally:
            for end in ends:
                end.close() if kind == "tcp" else end.abort()


KINDS = {"tcp": tcp, "plain": plain, "nodes": nodes}
LISTENERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tcp": (socket.create_server, socket.create_connection),
    "plain": (pknet_blocking.create_server, pknet_blocking.create_connection),
}


def in_thread(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Begin to run a function; the result of calling what is returned is its result, or its OSError."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function(*arguments))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def join() -> Any:
        thread.join()
        return outcome[0]

    return join
