"""What is the blocking adapter's own: waking who waits, threads, and the end of the program."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import pknet_blocking
from pknet.utp import Packet, PacketType, UtpConfig, parse_packet
from pknet_io.network import NetworkOptions
from tests.adapters.ends import in_thread
from tests.adapters.harness import open_sockets, pknet_threads, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pknet_blocking import Stream, UtpListener

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def listener() -> Iterator[UtpListener]:
    with pknet_blocking.create_server(("127.0.0.1", 0)) as made:
        yield made


@contextlib.contextmanager
def pair(listener: UtpListener) -> Iterator[tuple[Stream, Stream]]:
    """Give both ends of a connection."""
    ours = pknet_blocking.create_connection(listener.address)
    theirs, address = listener.accept()
    assert address[1] == ours.getsockname()[1]
    with ours, theirs:
        yield ours, theirs
    ours.abort()
    theirs.abort()


def test_the_timeout_of_a_connection_is_that_of_its_methods(listener: UtpListener) -> None:
    with pknet_blocking.create_connection(listener.address, 0.05) as stream:
        with pytest.raises(TimeoutError):
            stream.recv(10)
        stream.abort()


def test_a_dial_past_its_timeout_leaves_nothing() -> None:
    before = open_sockets()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            pknet_blocking.create_connection(deaf.getsockname(), 0.05)
    assert open_sockets().items() <= before.items()


def test_close_wakes_who_waits_in_another_thread(listener: UtpListener) -> None:
    with pair(listener) as (ours, theirs):
        receiving = in_thread(ours.recv, 10)
        sending = in_thread(ours.sendall, bytes(16 << 20))
        wait_until(lambda: theirs.stream.readable >= 1 << 19)
        ours.close()
        assert receiving().errno == sending().errno == errno.EBADF


def test_what_came_before_a_reset_can_still_be_received(listener: UtpListener) -> None:
    with pair(listener) as (ours, theirs):
        ours.sendall(b"before")
        wait_until(lambda: theirs.stream.readable)
        ours.abort()
        with pytest.raises(ConnectionResetError):
            theirs.wait_closed(5)
        assert theirs.recv(10) == b"before"
        with pytest.raises(ConnectionResetError):
            theirs.recv(10)


def test_waiting_for_the_end_of_a_stream_has_a_bound(listener: UtpListener) -> None:
    with pair(listener) as (ours, _):
        with pytest.raises(TimeoutError):
            ours.wait_closed(0.05)


def test_closing_a_listener_wakes_who_accepts_and_ends_who_waits() -> None:
    listener = pknet_blocking.create_server(("127.0.0.1", 0))
    accepting = in_thread(listener.accept)
    listener.close()
    assert accepting().errno == errno.EBADF
    listener = pknet_blocking.create_server(("127.0.0.1", 0))
    waiting = pknet_blocking.create_connection(listener.address)
    wait_until(lambda: listener.connections)
    listener.close()
    with pytest.raises(ConnectionResetError):
        waiting.recv(1)
    waiting.close()
    listener.wait_closed(5)


@pytest.mark.parametrize("backlog", [0, 1, 2])
def test_who_dials_a_listener_with_a_full_backlog_waits_and_gets_in(backlog: int) -> None:
    config = UtpConfig(initial_timeout=0.1, min_timeout=0.1)
    with pknet_blocking.create_server(("127.0.0.1", 0), backlog=backlog) as listener, ExitStack() as ends:
        for _ in range(max(backlog, 1)):
            ends.enter_context(pknet_blocking.create_connection(listener.address))
        wait_until(lambda: len(listener.connections) == max(backlog, 1))
        late = in_thread(lambda: pknet_blocking.create_connection(listener.address, config=config))
        wait_until(lambda: listener._acceptor._endpoint.counters.deferred)
        assert len(listener.connections) == max(backlog, 1)
        for _ in range(max(backlog, 1)):
            ends.enter_context(listener.accept()[0])
        accepted, _ = listener.accept()
        ours = late()
        ends.enter_context(ours)
        ends.enter_context(accepted)
        accepted.sendall(b"hello")
        assert ours.recv(10) == b"hello"


def test_who_has_lost_its_place_to_another_gets_in_when_the_other_is_accepted() -> None:
    with (
        pknet_blocking.create_server(("127.0.0.1", 0), backlog=1) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as slow,
    ):
        slow.settimeout(10)
        slow.connect(listener.address)
        slow.send(bytes(Packet(PacketType.SYN, connection_id=500, seq_nr=100, wnd_size=1 << 20)))
        answer = parse_packet(slow.recv(2000))
        with pknet_blocking.create_connection(listener.address):
            wait_until(lambda: listener.connections)
            last = (answer.seq_nr - 1) & 0xFFFF
            slow.send(bytes(Packet(PacketType.STATE, connection_id=501, seq_nr=101, ack_nr=last)))
            wait_until(lambda: listener._acceptor._endpoint.counters.deferred)
            listener.settimeout(10)
            with listener.accept()[0]:
                accepted, address = listener.accept()
                assert address == slow.getsockname()
                accepted.abort()


def test_a_closed_listener_is_over_when_its_connections_are() -> None:
    with pknet_blocking.create_server(("127.0.0.1", 0)) as listener:
        with pair(listener):
            listener.close()
            with pytest.raises(TimeoutError):
                listener.wait_closed(0.05)
        listener.wait_closed(10)


def test_a_handler_may_stop_its_network() -> None:
    outcome: list[Any] = []

    def stop(stream: Stream) -> None:
        stream.sendall(b"good night")
        server.stop()
        outcome.append(server.is_started)

    options = NetworkOptions("127.0.0.1", 0)
    server = pknet_blocking.Network(pknet_blocking.RendezvousNodes(), options, handler=stop)
    server.start()
    info = server.make_ticket(()).to_node_info()
    with pknet_blocking.Network(pknet_blocking.RendezvousNodes(nodes=[info]), options) as client:
        with client.connect(server.node_id) as stream:
            assert stream.recv(20) == b"good night"
            assert stream.recv(20) == b""
        for thread in threading.enumerate():
            if thread.name == "pknet handler":
                thread.join()
    assert outcome == [False]


def test_a_network_whose_log_goes_over_its_own_stream_does_not_stand_still(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The handler of the log waits for the driver; the driver must not wait for the handler.
    import logging

    class Ship(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for node in started:
                assert node.public_address is None or node.registered_with is not None

    started: list[Any] = []
    logger = logging.getLogger("tests.ship")
    logger.setLevel(logging.INFO)
    ship = Ship()
    logger.addHandler(ship)
    options = NetworkOptions("127.0.0.1", 0, introduces=True)
    try:
        with pknet_blocking.Network(pknet_blocking.RendezvousNodes(logger=logger), options) as rendezvous:
            from pknet.network import RendezvousInfo

            info = RendezvousInfo(rendezvous.node_id, (rendezvous.address,))
            nodes = pknet_blocking.RendezvousNodes(rendezvous=[info], logger=logger)
            with pknet_blocking.Network(nodes, NetworkOptions("127.0.0.1", 0)) as network:
                started.append(network)
                network.wait_registered(10)
    finally:
        logger.removeHandler(ship)
    assert "registered with rendezvous node" in caplog.text


def test_a_program_that_ends_has_delivered_what_it_sent(listener: UtpListener) -> None:
    program = (
        "import pknet_blocking, sys\n"
        "stream = pknet_blocking.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "stream.sendall(bytes(1_000_000))\n"
        "stream.close()\n"
    )
    arguments = [sys.executable, "-W", "error", "-c", program, str(listener.address[1])]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        stream, _ = listener.accept()
        received = 0
        while data := stream.recv(1 << 16):
            received += len(data)
        stream.close()
        _, errors = process.communicate()
    assert received == 1_000_000
    assert errors == b""
    assert process.returncode == 0


def test_nothing_is_left_of_streams_and_listeners_that_are_over() -> None:
    before = open_sockets()
    with pknet_blocking.create_server(("127.0.0.1", 0)) as listener:
        with pair(listener) as (ours, theirs):
            ours.sendall(b"!")
            assert theirs.recv(1) == b"!"
    for thread in pknet_threads():
        thread.join(10)
    assert pknet_threads() == []
    assert open_sockets().items() <= before.items()


def test_to_receive_nothing_of_a_closed_stream_says_that_it_is_closed(listener: UtpListener) -> None:
    with pair(listener) as (ours, _):
        assert ours.recv(0) == b""
        assert ours.recv_into(bytearray()) == 0
        ours.close()
        for receive in (lambda: ours.recv(0), lambda: ours.recv_into(bytearray()), lambda: ours.recvfrom(0)):
            with pytest.raises(OSError, match="closed") as caught:
                receive()
            assert caught.value.errno == errno.EBADF
