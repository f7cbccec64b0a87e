from __future__ import annotations

import errno
import socket

import pytest

from pknet_io import UdpSocket, constants, options


class Frugal(socket.socket):
    """A socket that refuses buffers above 100 000 bytes, as the BSDs and macOS do."""

    def setsockopt(self, level, option, value):
        if option in constants.FORCED.values():
            raise PermissionError(errno.EPERM, "Operation not permitted")
        if option in (socket.SO_RCVBUF, socket.SO_SNDBUF) and value > 100_000:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        super().setsockopt(level, option, value)


def test_a_refused_buffer_is_asked_for_again_smaller():
    with Frugal(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        options.request_buffer(sock, socket.SO_RCVBUF, 4 << 20)
        assert options.read_buffer(sock, socket.SO_RCVBUF) == (4 << 20) // 64


def test_a_buffer_that_is_never_given_is_done_without():
    class Stubborn(socket.socket):
        def setsockopt(self, *args):
            raise OSError(errno.ENOBUFS, "No buffer space available")

    with Stubborn(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        usual = options.read_buffer(sock, socket.SO_RCVBUF)
        options.request_buffer(sock, socket.SO_RCVBUF, 4 << 20)
        assert options.read_buffer(sock, socket.SO_RCVBUF) == usual


def test_the_buffers_that_were_given_are_told():
    with UdpSocket.bind(receive_buffer=20_000, send_buffer=30_000) as sock:
        assert (sock.receive_buffer, sock.send_buffer) == (20_000, 30_000)


def test_a_buffer_beyond_the_limit_of_the_system_is_told_as_it_is(monkeypatch):
    monkeypatch.setattr(constants, "FORCED", {})
    with UdpSocket.bind(receive_buffer=1 << 30) as sock:
        assert 0 < sock.receive_buffer < 1 << 30


@pytest.mark.skipif(not constants.FORCED, reason="no system but Linux has options that go beyond the limit")
@pytest.mark.parametrize("may_set_the_limit", [True, False])
def test_who_may_set_the_limit_of_the_system_gets_a_buffer_beyond_it(may_set_the_limit):
    class Kernel:
        """What Linux does, with a limit of 200 000 bytes."""

        def __init__(self):
            self.buffers = {}

        def setsockopt(self, level, option, value):
            assert level == socket.SOL_SOCKET
            if option == 33:  # SO_RCVBUFFORCE, <asm-generic/socket.h>
                if not may_set_the_limit:
                    raise PermissionError(errno.EPERM, "Operation not permitted")
                self.buffers[socket.SO_RCVBUF] = value
            else:
                self.buffers[option] = min(value, 200_000)

    kernel = Kernel()
    options.request_buffer(kernel, socket.SO_RCVBUF, 4 << 20)
    assert kernel.buffers == {socket.SO_RCVBUF: 4 << 20 if may_set_the_limit else 200_000}


def test_an_option_that_the_system_lacks_is_not_turned_on():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not options.turn_on(sock, socket.IPPROTO_IP, None)
        assert not options.turn_on(sock, socket.IPPROTO_IP, 9999)
        assert options.get(sock, socket.IPPROTO_IP, None) is None
        assert options.get(sock, socket.IPPROTO_IP, 9999) is None
        assert options.get(sock, socket.IPPROTO_IP, socket.IP_TTL) is not None


def test_a_kernel_without_udp_segment_segments_nothing(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        monkeypatch.setattr(constants, "UDP_SEGMENT", 9999)
        assert not options.segments_runs(sock)
        monkeypatch.setattr(constants, "UDP_SEGMENT", None)
        assert not options.segments_runs(sock)


@pytest.mark.parametrize("only", [0, 1])
def test_a_bound_ipv6_socket_is_taken_only_if_it_carries_no_ipv4(only):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(("::", 0))
        assert options.use_ipv6_only(sock) == bool(only)
