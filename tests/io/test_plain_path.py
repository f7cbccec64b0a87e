"""Systems without Linux's options: one datagram a call, and no sendmsg (Windows)."""

from __future__ import annotations

import socket

import pytest

from pknet import Transmit
from pknet_io import UdpSocket, constants
from tests.io.sockets import (
    FULL,
    FailingSocket,
    PlainSocket,
    loopback,
    numbered,
    receive_datagrams,
    receive_one,
)

LACKING = dict.fromkeys(
    ["receive_pktinfo", "pktinfo", "receive_tos", "received_tos", "send_tos", "send_ttl", "dont_fragment"]
)


class FailingPlainSocket(PlainSocket, FailingSocket):
    pass


@pytest.fixture(params=["macos", "windows"])
def kind(request, monkeypatch):
    """The class of socket that a system has, with its constants in place of Linux's."""
    for name in ("UDP_SEGMENT", "UDP_GRO", "SO_RXQ_OVFL"):
        monkeypatch.setattr(constants, name, None)
    monkeypatch.setattr(constants, "IPV4", constants.IPV4._replace(**LACKING))
    if request.param == "windows":
        monkeypatch.setattr(constants, "IPV6", constants.IPV6._replace(**LACKING))
        return FailingPlainSocket
    # macOS has RFC 3542 as Linux has it.
    monkeypatch.setattr(constants, "IPV6", constants.IPV6._replace(dont_fragment=None))
    return FailingSocket


@pytest.fixture
def full_receiver(opened, host):
    """A socket with all that this system has, opened before the rest was taken away."""
    return opened.enter_context(UdpSocket.bind(host))


@pytest.fixture
def plain(full_receiver, kind, host, opened):
    return opened.enter_context(UdpSocket(loopback(host, kind)))


def test_a_run_arrives_as_its_datagrams_on_any_system(plain, full_receiver):
    datagrams = numbered([1402] * 44 + [700])
    assert plain.send(Transmit(b"".join(datagrams), full_receiver.address, segment_size=1402))
    assert receive_datagrams(full_receiver, 45) == datagrams
    assert (plain.stats.sent, plain.stats.sent_runs) == (45, 0)


def test_datagrams_are_received_on_any_system(plain, full_receiver):
    datagrams = numbered([1402] * 20)
    for datagram in datagrams:
        assert full_receiver.send(Transmit(datagram, plain.address))
    received = receive_one(plain)
    assert received.segment_size is None
    assert received.remote == full_receiver.address
    assert received.local is plain.local
    assert received.ecn == 0
    assert [bytes(received.data), *receive_datagrams(plain, 19)] == datagrams
    assert plain.receive() is None
    assert (plain.stats.received, plain.stats.received_runs, plain.kernel_drops) == (20, 0, 0)


def test_an_answer_leaves_on_any_system(plain, full_receiver):
    full_receiver.send(Transmit(b"question", plain.address))
    received = receive_one(plain)
    assert plain.send(Transmit(b"answer", received.remote, local=received.local))
    assert receive_one(full_receiver).remote == plain.address


def test_a_run_goes_on_where_the_buffer_was_full_on_any_system(plain, full_receiver):
    datagrams = numbered([1402] * 9)
    run = Transmit(b"".join(datagrams), full_receiver.address, segment_size=1402)
    plain._sock.fail(0, 0, 0, FULL, FULL, 0)
    assert [plain.send(run), plain.send(run), plain.send(run)] == [False, False, True]
    assert receive_datagrams(full_receiver, 9) == datagrams


def test_ecn_bits_are_sent_on_any_system(plain, full_receiver):
    for ecn in (2, 2, 0, 1):
        assert plain.send(Transmit(b"data", full_receiver.address, ecn=ecn))
        assert receive_one(full_receiver).ecn == ecn


def test_a_ttl_is_for_its_datagram_alone_on_any_system(plain, full_receiver, host):
    option = (41, socket.IPV6_UNICAST_HOPS) if ":" in host else (0, socket.IP_TTL)
    during: list[int] = []
    usual = plain._sock.getsockopt(*option)
    plain._sock._maybe_fail = lambda: during.append(plain._sock.getsockopt(*option))
    assert plain.send(Transmit(b"data", full_receiver.address, ttl=5))
    assert receive_datagrams(full_receiver, 1) == [b"data"]
    if plain._sender._family.send_ttl is None:
        assert during == [5]
    assert plain._sock.getsockopt(*option) == usual


def test_it_is_known_that_df_cannot_be_set(plain, full_receiver):
    assert not plain.can_set_dont_fragment
    assert plain.send(Transmit(b"data", full_receiver.address, dont_fragment=True))
    assert receive_datagrams(full_receiver, 1) == [b"data"]


def test_a_wildcard_socket_has_one_handle_on_any_system(kind, opened):
    node = opened.enter_context(UdpSocket(loopback("0.0.0.0", kind)))
    client = opened.enter_context(UdpSocket(loopback("127.0.0.1", kind)))
    client.send(Transmit(b"question", ("127.0.0.1", node.address[1])))
    assert receive_one(node).local is node.local


def test_closed_is_closed_on_any_system(plain, full_receiver):
    plain.close()
    with pytest.raises(OSError, match=r"\[Errno 9\]"):
        plain.receive()
    for options in ({}, {"segment_size": 2}, {"ttl": 3}, {"ecn": 1}, {"dont_fragment": True}):
        with pytest.raises(OSError, match=r"\[Errno 9\]"):
            plain.send(Transmit(b"data", full_receiver.address, **options))
