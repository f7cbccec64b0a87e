"""What a program drops without having closed it is closed, as sockets are: its thread and its sockets go."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import pknet_blocking
from tests.adapters.ends import KINDS, LISTENERS, LOOPBACK, ends_of
from tests.adapters.harness import open_sockets, pknet_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Way = Callable[[list[Any]], None]

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def listener() -> Iterator[pknet_blocking.UtpListener]:
    with pknet_blocking.create_server(LOOPBACK) as made:
        yield made


def drop(held: list[Any]) -> None:
    """Let go of the last reference to what is held."""
    with pytest.warns(ResourceWarning, match="unclosed <"):
        held.clear()


def drop_in_a_cycle(held: list[Any]) -> None:
    """Let go of it where only the garbage collector finds it."""
    held.append(held[:])
    held[-1].append(held[-1])
    with pytest.warns(ResourceWarning, match="unclosed <"):
        held.clear()
        gc.collect()


@pytest.mark.parametrize("way", [drop, drop_in_a_cycle])
def test_nothing_is_left_of_a_connection_that_was_dropped(
    listener: pknet_blocking.UtpListener, way: Way
) -> None:
    threads, sockets = set(pknet_threads()), set(open_sockets().values())
    held = [pknet_blocking.create_connection(listener.address)]
    theirs, _ = listener.accept()
    (thread,) = set(pknet_threads()) - threads
    assert held[0].fileno() >= 0
    if sys.platform == "linux":
        # UDP, the pair that wakes the thread, and the pair to select on.
        assert len(set(open_sockets().values()) - sockets) == 5
    held[0].sendall(b"last words")
    way(held)
    assert theirs.recv(20) == b"last words"
    assert theirs.recv(20) == b""
    theirs.close()
    thread.join()
    assert set(open_sockets().values()) <= sockets


@pytest.mark.parametrize("way", [drop, drop_in_a_cycle])
@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("kind", list(KINDS))
def test_the_peer_of_what_was_dropped_gets_all_and_then_an_end(kind: str, end: int, way: Way) -> None:
    with KINDS[kind]() as connect:
        held = list(connect())
        with held.pop(1 - end) as theirs:
            held[0].sendall(b"last words")
            way(held)
            assert theirs.recv(20) == b"last words"
            assert theirs.recv(20) == b""


@pytest.mark.parametrize("kind", list(LISTENERS))
def test_a_listener_that_was_dropped_is_closed_and_what_it_accepted_goes_on(kind: str) -> None:
    listen, connect = LISTENERS[kind]
    held = [listen(LOOPBACK)]
    address = held[0].getsockname()
    with connect(address) as ours, held[0].accept()[0] as theirs:
        drop(held)
        with pytest.raises(ConnectionError):
            while True:
                with connect(address) as late:
                    late.recv(1)
        ours.sendall(b"!")
        assert theirs.recv(1) == b"!"


def test_what_a_handler_drops_is_closed() -> None:
    def forget(stream: pknet_blocking.Stream) -> None:
        stream.sendall(b"I forget")

    options = pknet_blocking.NetworkOptions(*LOOPBACK)
    with pytest.warns(ResourceWarning, match="unclosed <"):
        with pknet_blocking.Network(pknet_blocking.RendezvousNodes(), options, handler=forget) as server:
            nodes = pknet_blocking.RendezvousNodes(nodes=[server.make_ticket(()).to_node_info()])
            with pknet_blocking.Network(nodes, options) as client, client.connect(server.node_id) as stream:
                assert stream.recv(20) == b"I forget"
                assert stream.recv(20) == b""


def test_a_path_that_is_kept_needs_nobody_to_hold_it() -> None:
    options = pknet_blocking.NetworkOptions(*LOOPBACK)
    with pknet_blocking.Network(pknet_blocking.RendezvousNodes(), options) as server:
        nodes = pknet_blocking.RendezvousNodes(nodes=[server.make_ticket(()).to_node_info()])
        with pknet_blocking.Network(nodes, options) as client:
            assert client.reach(server.node_id) == server.address
            gc.collect()
            assert [stream.is_closing for stream in client.connections] == [False]


def test_nobody_is_warned_of_a_stream_that_its_network_has_closed() -> None:
    with KINDS["nodes"]() as connect:
        ours, theirs = connect()
    theirs.close()
    # A warning would be an error here.
    del ours


@pytest.mark.parametrize("with_a_file", [False, True])
def test_a_finalizer_neither_waits_for_the_lock_nor_calls_the_machine(
    listener: pknet_blocking.UtpListener, with_a_file: bool
) -> None:
    held: list[Any] = [pknet_blocking.create_connection(listener.address)]
    theirs, _ = listener.accept()
    connection = held[0]._connection
    if with_a_file:
        held.append(held[0].makefile("rb"))
        held[0].close()
    is_taken, is_dropped = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.driver.lock:
            is_taken.set()
            assert is_dropped.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_taken.wait(20)
    # Some thread is in the midst of something; it might be this one.
    held.clear() if with_a_file else drop(held)
    assert not connection.stream.is_closing
    is_dropped.set()
    holder.join()
    with theirs:
        assert theirs.recv(1) == b""


def test_a_program_that_ends_has_delivered_what_it_sent_on_a_stream_that_it_dropped(
    listener: pknet_blocking.UtpListener,
) -> None:
    program = (
        "import pknet_blocking, sys\n"
        "pknet_blocking.create_connection(('127.0.0.1', int(sys.argv[1]))).sendall(bytes(1_000_000))\n"
    )
    arguments = [sys.executable, "-W", "always", "-c", program, str(listener.address[1])]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        stream, _ = listener.accept()
        received = 0
        while data := stream.recv(1 << 16):
            received += len(data)
        stream.close()
        _, errors = process.communicate()
    assert received == 1_000_000
    assert b"ResourceWarning: unclosed <Stream" in errors
    assert process.returncode == 0


def test_nothing_is_kept_of_a_dial_that_is_over(listener: pknet_blocking.UtpListener) -> None:
    stream = pknet_blocking.create_connection(listener.address)
    listener.accept()[0].close()
    stream.close()
    known = weakref.ref(stream._connection.driver)
    stream._connection.driver.join()
    del stream
    gc.collect()
    assert known() is None


def test_a_stream_that_lives_as_long_as_the_program_does_it_no_harm(
    listener: pknet_blocking.UtpListener,
) -> None:
    program = (
        "import pknet_blocking, sys\n"
        "stream = pknet_blocking.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "stream.fileno()\n"
        "file = stream.makefile('rw')\n"
        "cycle = [stream, file]\n"
        "cycle.append(cycle)\n"
    )
    arguments = [sys.executable, "-W", "ignore", "-c", program, str(listener.address[1])]
    done = subprocess.run(arguments, capture_output=True, check=False)
    listener.accept()[0].close()
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_end_that_is_held_by_a_file_alone_goes_on() -> None:
    with ends_of("plain") as (ours, theirs):
        file = ours.makefile("rwb")
        ours.close()
        gc.collect()
        file.write(b"still here")
        file.flush()
        assert theirs.recv(20) == b"still here"
        file.close()
