from __future__ import annotations

import contextlib
import errno
import socket

import pytest

from pknet import Transmit
from pknet_io import UdpSocket
from tests.io.sockets import loopback, receive_datagrams, receive_one


def test_the_address_is_host_and_port(host):
    with UdpSocket.bind(host) as sock:
        assert sock.address == (host, sock.address[1])
        assert sock.address[1] > 0
        assert sock.local.host == host
        assert sock.local.socket is sock


def test_by_default_the_socket_is_on_every_ipv4_address():
    with UdpSocket.bind() as sock:
        assert sock.address[0] == "0.0.0.0"


def test_a_port_in_use_is_the_systems_own_error(host):
    with UdpSocket.bind(host) as sock, pytest.raises(OSError, match="in use") as raised:
        UdpSocket.bind(host, sock.address[1])
    assert raised.value.errno == errno.EADDRINUSE


def test_an_address_that_is_not_ours_is_the_systems_own_error():
    with pytest.raises(OSError) as raised:
        UdpSocket.bind("192.0.2.222")
    assert raised.value.errno == errno.EADDRNOTAVAIL


def test_ipv4_and_ipv6_share_a_port_number(opened):
    for _ in range(20):  # another program may have the port in the other family
        six = opened.enter_context(UdpSocket.bind("::"))
        with contextlib.suppress(OSError):
            four = opened.enter_context(UdpSocket.bind("0.0.0.0", six.address[1]))
            break
    client = opened.enter_context(UdpSocket.bind("127.0.0.1"))
    client.send(Transmit(b"data", ("127.0.0.1", four.address[1])))
    assert receive_one(four).remote == client.address
    assert six.receive() is None


def test_an_ipv6_socket_sends_nothing_to_a_mapped_address():
    with UdpSocket.bind("0.0.0.0") as four, UdpSocket.bind("::") as six:
        assert six.send(Transmit(b"data", ("::ffff:127.0.0.1", four.address[1])))
        assert sum(six.stats.send_drops.values()) == 1
        assert four.receive() is None


def test_a_socket_of_the_callers_own_is_taken_over(host, receiver):
    sock = loopback(host)
    sock.setblocking(True)
    with UdpSocket(sock) as udp:
        assert udp.fileno() == sock.fileno()
        assert udp.receive() is None
        udp.send(Transmit(b"data", (host, receiver.address[1])))
        assert receive_datagrams(receiver, 1) == [b"data"]
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("family", "kind"),
    [(socket.AF_INET, socket.SOCK_STREAM), (getattr(socket, "AF_UNIX", None), socket.SOCK_DGRAM)],
)
def test_a_socket_that_is_not_udp_is_misuse(family, kind):
    with socket.socket(family, kind) as sock, pytest.raises(ValueError, match="UDP"):
        UdpSocket(sock)


def test_a_dual_stack_socket_is_misuse():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        with pytest.raises(ValueError, match="V6ONLY"):
            UdpSocket(sock)


def test_a_bound_ipv6_address_needs_no_option():
    sock = loopback("::1")
    with UdpSocket(sock) as udp:
        assert udp.address[0] == "::1"


def test_closing_twice_is_harmless(sender):
    sender.close()
    sender.close()
    assert sender.fileno() == -1
    assert "-1" in repr(sender)
    assert "-1" in repr(sender.local)


@pytest.mark.parametrize(
    "options", [{}, {"segment_size": 2}, {"ttl": 3}, {"ecn": 1}, {"dont_fragment": True}], ids=str
)
def test_a_closed_socket_says_so(sender, host, options):
    sender.close()
    with pytest.raises(OSError) as raised:
        sender.send(Transmit(b"data", (host, 9), **options))
    assert raised.value.errno == errno.EBADF
    assert sender.stats.send_drops == {}


def test_a_closed_socket_receives_nothing(receiver):
    receiver.close()
    with pytest.raises(OSError) as raised:
        receiver.receive()
    assert raised.value.errno == errno.EBADF


def test_a_socket_that_cannot_be_bound_is_not_left_open(sender, host, monkeypatch):
    made: list[socket.socket] = []

    class Remembered(socket.socket):
        def __init__(self, *args: int) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(socket, "socket", Remembered)
    with pytest.raises(OSError, match="in use"):
        UdpSocket.bind(host, sender.address[1])
    assert [sock.fileno() for sock in made] == [-1]
