"""What `select` finds of streams and listeners of the blocking adapter; most runs over TCP sockets too."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pknet_blocking
from tests.adapters.ends import KINDS, LISTENERS, LOOPBACK, Ends, ends_of
from tests.adapters.harness import digest, open_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(30)

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
PIECE = 1 << 16
SELECTORS = [
    getattr(selectors, name)
    for name in ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector")
    if hasattr(selectors, name)
]


@pytest.fixture(params=list(KINDS))
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with ends_of(request.param) as made:
        yield made


@pytest.fixture(params=SELECTORS)
def selector(request: pytest.FixtureRequest) -> Iterator[selectors.BaseSelector]:
    with request.param() as made:
        yield made


def mask(selector: selectors.BaseSelector, timeout: float | None) -> int:
    """Return for what the one registered object is ready."""
    return sum(found for _, found in selector.select(timeout))


def fill(end: Any, selector: selectors.BaseSelector) -> int:
    """Send until for a while it has not been found writable; return how much was taken."""
    taken = 0
    while mask(selector, 0.2):
        with contextlib.suppress(BlockingIOError):
            while True:
                taken += end.send(bytes(PIECE))
    return taken


def test_a_stream_is_readable_while_there_is_something_to_receive(
    ends: Ends, selector: selectors.BaseSelector
) -> None:
    ours, theirs = ends
    selector.register(ours, READ)
    assert mask(selector, 0) == 0
    theirs.sendall(b"abc")
    assert mask(selector, None) == READ
    assert ours.recv(2) == b"ab"
    assert mask(selector, 0) == READ
    assert ours.recv(2) == b"c"
    assert mask(selector, 0) == 0
    theirs.shutdown(socket.SHUT_WR)
    assert mask(selector, None) == READ
    assert ours.recv(2) == b""
    assert mask(selector, 0) == READ


def test_a_stream_is_writable_while_there_is_room(ends: Ends, selector: selectors.BaseSelector) -> None:
    ours, theirs = ends
    ours.setblocking(False)
    selector.register(ours, READ | WRITE)
    assert mask(selector, 0) == WRITE
    taken = fill(ours, selector)
    received = 0
    while received < taken:
        received += len(theirs.recv(PIECE))
    assert mask(selector, None) == WRITE
    assert ours.send(b"x") == 1


def test_what_was_there_before_fileno_was_asked_is_found(ends: Ends) -> None:
    ours, theirs = ends
    theirs.sendall(b"!")
    theirs.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b"!"
    with selectors.DefaultSelector() as selector:
        selector.register(ours, READ)
        assert mask(selector, None) == READ
        assert ours.recv(1) == b""


def test_a_stream_whose_peer_is_gone_is_ready_for_all(selector: selectors.BaseSelector) -> None:
    with ends_of("plain") as (ours, theirs):
        ours.setblocking(False)
        selector.register(ours, READ | WRITE)
        fill(ours, selector)
        theirs.abort()
        while mask(selector, None) != READ | WRITE:
            pass
        with pytest.raises(ConnectionResetError):
            ours.send(b"x")


def test_a_listener_is_readable_while_a_connection_waits() -> None:
    for listen, connect in LISTENERS.values():
        with listen(LOOPBACK) as listener, selectors.DefaultSelector() as selector:
            selector.register(listener, READ | WRITE)
            assert mask(selector, 0) == 0
            with connect(listener.getsockname()):
                assert mask(selector, None) == READ
                accepted, _ = listener.accept()
                assert mask(selector, 0) == 0
                accepted.close()


def test_a_network_that_stops_wakes_who_selects() -> None:
    options = pknet_blocking.NetworkOptions(*LOOPBACK)
    came: list[Any] = []
    server = pknet_blocking.Network(pknet_blocking.RendezvousNodes(), options, handler=came.append)
    with server:
        nodes = pknet_blocking.RendezvousNodes(nodes=[server.make_ticket(()).to_node_info()])
        client = pknet_blocking.Network(nodes, options)
        client.start()
        stream = client.connect(server.node_id)
        with selectors.DefaultSelector() as selector:
            selector.register(stream, READ)
            stopping = threading.Thread(target=client.stop)
            stopping.start()
            assert mask(selector, None) == READ
            stopping.join()
            with pytest.raises(OSError, match="closed"):
                stream.recv(1)
            selector.unregister(stream)
        stream.close()
        assert stream.fileno() == -1
    for theirs in came:
        theirs.close()


def test_8_mib_pass_each_way_between_two_that_only_select(ends: Ends) -> None:
    there, back = os.urandom(8 << 20), os.urandom(8 << 20)
    parties = {ends[0]: Party(ends[0], there), ends[1]: Party(ends[1], back)}
    with selectors.DefaultSelector() as selector:
        for end in ends:
            end.setblocking(False)
            selector.register(end, READ | WRITE)
        while selector.get_map():
            for key, found in selector.select():
                wanted = parties[key.fileobj].advance(found)  # type: ignore[index]
                if not wanted:
                    selector.unregister(key.fileobj)
                elif wanted != key.events:
                    selector.modify(key.fileobj, wanted)
    assert digest(bytes(parties[ends[1]].received)) == digest(there)
    assert digest(bytes(parties[ends[0]].received)) == digest(back)


class Party:
    """Sends and receives, and never does what `select` does not say it can."""

    def __init__(self, end: Any, data: bytes) -> None:
        self.end = end
        self.received = bytearray()
        self.rest = memoryview(data)
        self.is_over = False

    def advance(self, found: int) -> int:
        """Do what can be done; return what to wait for."""
        if found & READ:
            data = self.end.recv(PIECE)
            self.received += data
            self.is_over = not data
        if found & WRITE:
            # What was found last may have filled the buffer to the brim.
            with contextlib.suppress(BlockingIOError):
                self.rest = self.rest[self.end.send(self.rest[:PIECE]) :]
            if not self.rest:
                self.end.shutdown(socket.SHUT_WR)
        return (0 if self.is_over else READ) | (WRITE if self.rest else 0)


def test_only_a_stream_that_is_selected_on_has_a_file_descriptor_and_a_closed_one_none() -> None:
    with ends_of("plain") as (ours, theirs):
        before = set(open_sockets().values())
        ours.sendall(b"!")
        assert theirs.recv(1) == b"!"
        assert set(open_sockets().values()) <= before
        assert ours.fileno() == ours.fileno()
        assert len(set(open_sockets().values()) - before) == 2
        ours.abort()
        assert set(open_sockets().values()) <= before
