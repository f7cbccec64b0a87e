"""Streams and listeners of the blocking adapter behave as sockets: each test runs over TCP sockets too."""

from __future__ import annotations

import errno
import io
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pknet_blocking
from pknet_blocking.utp import MAX_LINGERING
from tests.adapters.ends import KINDS, LISTENERS, LOOPBACK, Ends, ends_of, in_thread
from tests.adapters.harness import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(30)

MORE_THAN_FITS = bytes(32 << 20)


@pytest.fixture(params=list(KINDS))
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with ends_of(request.param) as made:
        yield made


@pytest.fixture(params=["plain", "nodes"])
def streams(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with ends_of(request.param) as made:
        yield made


@pytest.fixture(params=list(LISTENERS))
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """Give a listener, and what connects to it."""
    listen, connect = LISTENERS[request.param]
    with listen(LOOPBACK) as listener:
        yield listener, connect


def test_a_timeout_bounds_each_method(ends: Ends) -> None:
    ours, _ = ends
    ours.settimeout(0.05)
    assert ours.gettimeout() == 0.05
    assert ours.getblocking()
    with pytest.raises(TimeoutError, match="timed out"):
        ours.recv(10)
    with pytest.raises(TimeoutError, match="timed out"):
        ours.sendall(MORE_THAN_FITS)
    with pytest.raises(ValueError, match="out of range"):
        ours.settimeout(-1)


def test_what_may_not_wait_says_so(ends: Ends) -> None:
    ours, theirs = ends
    ours.setblocking(False)
    assert not ours.getblocking()
    assert ours.gettimeout() == 0
    for receive in (lambda: ours.recv(10), lambda: ours.recv_into(bytearray(10))):
        with pytest.raises(BlockingIOError) as caught:
            receive()
        assert caught.value.errno == errno.EAGAIN
    taken = 0
    with pytest.raises(BlockingIOError):
        while True:
            taken += ours.send(bytes(1 << 16))
    with pytest.raises(BlockingIOError):
        ours.sendall(MORE_THAN_FITS)
    received = 0
    while received < taken:
        received += len(theirs.recv(1 << 16))
    # There is room again.
    ours.setblocking(True)
    assert ours.gettimeout() is None
    ours.sendall(b"more")
    while not (data := theirs.recv(1 << 16)).endswith(b"more"):
        assert data.strip(b"\0") == b""


def test_nothing_is_received_at_once(ends: Ends) -> None:
    ours, _ = ends
    assert ours.recv(0) == b""
    assert ours.recv_into(bytearray()) == 0
    assert ours.send(b"") == 0
    ours.sendall(b"")


def test_recv_into_fills_what_it_is_given(ends: Ends) -> None:
    ours, theirs = ends
    ours.sendall(b"abcdefgh")
    buffer = bytearray(b"........")
    assert theirs.recv_into(memoryview(buffer)[2:5]) == 3
    assert theirs.recv_into(buffer, 1) == 1
    assert bytes(buffer) == b"d.abc..."
    assert theirs.recv_into(buffer, nbytes=0) == 4
    with pytest.raises(ValueError, match="too small"):
        theirs.recv_into(buffer, 9)
    with pytest.raises(ValueError, match="negative"):
        theirs.recv_into(buffer, -1)
    with pytest.raises(ValueError, match="negative"):
        theirs.recv(-1)


def test_it_tells_who_is_at_each_end(ends: Ends) -> None:
    ours, theirs = ends
    assert ours.getpeername() == theirs.getsockname()
    # A UDP socket that is bound to every address does not say which one it uses.
    assert theirs.getpeername()[1] == ours.getsockname()[1]
    assert ours.family == socket.AF_INET
    assert ours.type == socket.SOCK_STREAM
    assert f"laddr={ours.getsockname()}, raddr={ours.getpeername()}" in repr(ours)


def test_after_close_everything_says_that_it_is_closed(ends: Ends) -> None:
    ours, theirs = ends
    with ours as same:
        assert same is ours
        ours.sendall(b"last words")
    calls: list[Callable[[], object]] = [
        lambda: ours.recv(10),
        lambda: ours.recv_into(bytearray(10)),
        lambda: ours.send(b"x"),
        lambda: ours.send(b""),
        lambda: ours.sendall(b"x"),
        lambda: ours.sendall(b""),
        lambda: ours.shutdown(socket.SHUT_RDWR),
        ours.getsockname,
        ours.getpeername,
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert ours.fileno() == -1
    ours.close()
    assert theirs.recv(10) == b"last words"
    assert theirs.recv(10) == b""


def test_each_direction_can_be_ended_by_itself(ends: Ends) -> None:
    ours, theirs = ends
    ours.shutdown(socket.SHUT_WR)
    for data in (b"x", MORE_THAN_FITS):
        with pytest.raises(BrokenPipeError):
            ours.sendall(data)
    assert theirs.recv(10) == b""
    theirs.sendall(b"still heard")
    assert ours.recv(5) == b"still"
    # What has come is there, then there is an end.
    ours.shutdown(socket.SHUT_RD)
    assert ours.recv(20) == b" heard"
    assert ours.recv(20) == b""
    with pytest.raises(OSError) as caught:
        ours.shutdown(77)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
def test_shutdown_wakes_who_receives_in_another_thread(ends: Ends, how: int) -> None:
    ours, theirs = ends
    theirs.sendall(b"!")
    assert ours.recv(1) == b"!"
    receiving = in_thread(ours.recv, 10)
    ours.shutdown(how)
    assert receiving() == b""
    if how == socket.SHUT_RDWR:
        assert theirs.recv(10) == b""
    else:
        ours.sendall(b"still heard")
        assert theirs.recv(20) == b"still heard"


def test_accept_waits_no_longer_than_it_may(server: tuple[Any, Callable[..., Any]]) -> None:
    listener, connect = server
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError, match="timed out"):
        listener.accept()
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    with connect(listener.getsockname()) as ours:
        # What is accepted waits, whatever its listener does.
        assert select.select([listener], [], [], 20)[0] == [listener]
        theirs, address = listener.accept()
        with theirs:
            assert address[1] == ours.getsockname()[1]
            assert theirs.gettimeout() is None
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_a_listener_that_is_closed_says_so(server: tuple[Any, Callable[..., Any]]) -> None:
    listener, connect = server
    assert listener.family == socket.AF_INET
    address = listener.getsockname()
    listener.close()
    for call in (listener.accept, listener.getsockname):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert listener.fileno() == -1
    # Its port is free at once.
    listen, _ = next(kind for kind in LISTENERS.values() if kind[1] is connect)
    listen(address).close()


def test_what_a_stream_can_not_do_is_a_clear_error(streams: Ends) -> None:
    ours, _ = streams
    assert ours.proto == socket.IPPROTO_UDP
    with pytest.raises(io.UnsupportedOperation, match="file descriptor"):
        ours.detach()
    for call in (
        lambda: ours.recv(10, socket.MSG_PEEK),
        lambda: ours.recv_into(bytearray(10), 0, socket.MSG_PEEK),
        lambda: ours.send(b"x", socket.MSG_OOB),
        lambda: ours.sendall(b"x", socket.MSG_OOB),
    ):
        with pytest.raises(ValueError, match="flags"):
            call()


def test_the_family_is_that_of_the_addresses() -> None:
    listen, connect = LISTENERS["plain"]
    with listen(("::1", 0)) as listener, connect(listener.address) as stream:
        assert listener.family == stream.family == socket.AF_INET6
        stream.abort()


def test_a_reset_is_told_once_and_then_the_stream_is_at_its_end() -> None:
    with ends_of("plain") as (ours, theirs):
        theirs.abort()
        with pytest.raises(ConnectionResetError) as caught:
            ours.recv(10)
        assert caught.value.errno == errno.ECONNRESET
        assert ours.recv(10) == b""
        assert ours.recv_into(bytearray(10)) == 0
        with pytest.raises(BrokenPipeError) as broken:
            ours.send(b"x")
        assert broken.value.errno == errno.EPIPE
        # Who asks how it went is told each time.
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                ours.wait_closed(5)


def test_a_reset_may_be_told_to_who_sends() -> None:
    with ends_of("plain") as (ours, theirs):
        theirs.abort()
        with pytest.raises(ConnectionResetError):
            ours.wait_closed(5)
        with pytest.raises(ConnectionResetError):
            ours.send(b"x")
        assert ours.recv(10) == b""


def test_the_time_that_a_program_allows_is_told_from_a_peer_that_is_gone(ends: Ends) -> None:
    ours, _ = ends
    ours.settimeout(0.01)
    assert ours.timeout == 0.01
    with pytest.raises(TimeoutError, match="timed out") as caught:
        ours.recv(10)
    assert caught.value.errno is None


def test_options_that_programs_set_on_tcp_sockets_are_taken(ends: Ends) -> None:
    ours, _ = ends
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 1 << 16
    with pytest.raises(OSError, match="Protocol not available"):
        ours.setsockopt(socket.SOL_SOCKET, 9999, 1)


def test_several_buffers_leave_in_one_call(ends: Ends) -> None:
    ours, theirs = ends
    assert ours.sendmsg([b"one ", bytearray(b"two "), memoryview(b"three")]) == 13
    ours.shutdown(socket.SHUT_WR)
    with theirs.makefile("rb") as file:
        assert file.read() == b"one two three"


def test_recvfrom_gives_what_recv_does(ends: Ends) -> None:
    ours, theirs = ends
    ours.sendall(b"x")
    data, _ = theirs.recvfrom(10)
    assert data == b"x"


@pytest.mark.parametrize(("offset", "count"), [(0, None), (10, None), (5, 700_000), (999_990, 100)])
def test_a_file_is_sent(ends: Ends, offset: int, count: int | None, tmp_path: Path) -> None:
    ours, theirs = ends
    content = bytes(range(250)) * 4000
    path = tmp_path / "file"
    path.write_bytes(content)
    part = content[offset:][:count]
    read = in_thread(lambda: theirs.makefile("rb").read())
    with path.open("rb") as file:
        assert ours.sendfile(file, offset, count) == len(part)
        assert file.tell() == offset + len(part)
    ours.shutdown(socket.SHUT_WR)
    assert read() == part


def test_a_listener_may_be_told_to_listen(server: tuple[Any, Callable[..., Any]]) -> None:
    listener, connect = server
    listener.listen()
    listener.listen(-1)
    listener.listen(5)
    with connect(listener.getsockname()) as ours, listener.accept()[0] as theirs:
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"


def test_addresses_are_given_as_to_sockets() -> None:
    with pknet_blocking.create_server(("::1", 0, 0, 0)) as listener:  # type: ignore[arg-type]
        port = listener.address[1]
        for address in ("::1", port, 0, 0), ["::1", str(port)]:
            pknet_blocking.create_connection(address, 5).close()  # type: ignore[arg-type]
        pknet_blocking.create_connection(("::1", port), 5, ("::1", 0)).close()
    with pknet_blocking.create_server(("", 0)) as listener:
        assert listener.address[0] == "0.0.0.0"
    for wrong in ("127.0.0.1:80", ("127.0.0.1",), ("127.0.0.1", None), (1, 2), None):
        with pytest.raises(TypeError, match="is"):
            pknet_blocking.create_connection(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out of range"):
        pknet_blocking.create_connection(("127.0.0.1", 1), -1)


def test_dials_that_are_over_do_not_pile_up() -> None:
    with pknet_blocking.create_server(LOOPBACK) as listener:
        before = most = threading.active_count()
        for _ in range(3 * MAX_LINGERING):
            ours = pknet_blocking.create_connection(listener.address)
            theirs, _ = listener.accept()
            ours.close()
            assert theirs.recv(1) == b""
            theirs.close()
            ours.wait_closed(5)
            most = max(most, threading.active_count())
        # Not only when they have lingered for long enough; some may be about to end.
        assert most < before + 2 * MAX_LINGERING
        wait_until(lambda: threading.active_count() <= before + MAX_LINGERING)
