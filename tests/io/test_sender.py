from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet import Transmit
from pknet_io import UdpSocket, constants, sender
from pknet_io.too_big import PacketTooBig
from tests.io.sockets import (
    FULL,
    FailingSocket,
    RecordingSocket,
    loopback,
    numbered,
    receive_datagrams,
    receive_one,
)

segmentation = pytest.mark.parametrize(
    "segmented", [pytest.param(True, id="gso"), pytest.param(False, id="sliced")]
)
linux = pytest.mark.skipif(not constants.LINUX, reason="needs Linux")

SOMEWHERE = ("192.0.2.1", 1315)
ELSEWHERE = ("192.0.2.2", 1315)


def run_of(datagrams: list[bytes], remote: tuple[str, int], **options) -> Transmit:
    return Transmit(b"".join(datagrams), remote, segment_size=len(datagrams[0]), **options)


def use_segmentation(sock: UdpSocket, segmented: bool) -> None:
    if segmented and not sock._sender._segments_runs:
        pytest.skip("the kernel does not know UDP_SEGMENT")
    sock._sender._segments_runs = segmented


@pytest.fixture
def recording(opened):
    """A UdpSocket on a kernel that segments, which sends nothing, and the record of what it would have."""
    sock = RecordingSocket()
    udp = opened.enter_context(UdpSocket(sock))
    udp._sender._segments_runs = True
    return udp, sock


@segmentation
def test_a_run_arrives_as_its_datagrams(sender, receiver, host, segmented):
    use_segmentation(sender, segmented)
    datagrams = numbered([1402] * 44 + [700])
    assert sender.send(run_of(datagrams, (host, receiver.address[1])))
    assert receive_datagrams(receiver, 45) == datagrams
    assert sender.stats.sent == 45
    assert sender.stats.sent_runs == (1 if segmented else 0)


@segmentation
@pytest.mark.parametrize("sizes", [[100] * 300 + [1], [1402] * 200, [40_000] * 3, [9]], ids=str)
def test_a_run_beyond_the_limits_of_one_call_arrives_whole(sender, receiver, host, segmented, sizes):
    use_segmentation(sender, segmented)
    datagrams = numbered(sizes)
    assert sender.send(run_of(datagrams, (host, receiver.address[1])))
    assert receive_datagrams(receiver, len(datagrams)) == datagrams


def test_no_call_exceeds_what_every_kernel_takes(recording):
    udp, sock = recording
    udp.send(run_of(numbered([100] * 150), SOMEWHERE))
    assert sock.calls == [100, 100, 100]  # 64, 64, 22
    sock.calls.clear()
    udp.send(run_of(numbered([1402] * 93), SOMEWHERE))
    assert sock.calls == [1402, 1402, None]  # 46, 46, 1
    assert sock.wire[-93:] == numbered([1402] * 93)


def test_an_empty_datagram_is_sent(sender, receiver, host):
    assert sender.send(Transmit(b"", (host, receiver.address[1])))
    assert bytes(receive_one(receiver).data) == b""


def test_a_run_of_nothing_sends_nothing(recording):
    udp, sock = recording
    assert udp.send(Transmit(b"", SOMEWHERE, segment_size=100))
    assert sock.calls == []


@pytest.mark.parametrize("segment_size", [0, -1])
def test_a_segment_size_that_is_not_positive_is_misuse(recording, segment_size):
    udp, _ = recording
    with pytest.raises(ValueError, match="segment_size"):
        udp.send(Transmit(b"data", SOMEWHERE, segment_size=segment_size))


# A full send buffer


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
def test_a_full_send_buffer_leaves_the_datagram_with_the_caller(recording, code):
    udp, sock = recording
    sock.fail(code)
    transmit = Transmit(b"data", SOMEWHERE)
    assert not udp.send(transmit)
    assert sock.wire == []
    assert udp.send(transmit)
    assert sock.wire == [b"data"]
    assert udp.stats.sent == 1
    assert udp.stats.send_drops == {}


@segmentation
def test_a_run_goes_on_where_the_buffer_was_full(opened, host, receiver, segmented):
    sock = loopback(host, FailingSocket)
    udp = opened.enter_context(UdpSocket(sock))
    use_segmentation(udp, segmented)
    datagrams = numbered([1402] * 100)
    run = run_of(datagrams, (host, receiver.address[1]))
    sock.fail(0, FULL, FULL, 0, FULL)
    assert [udp.send(run), udp.send(run), udp.send(run), udp.send(run)] == [False, False, False, True]
    assert receive_datagrams(receiver, 100) == datagrams
    assert udp.stats.sent == 100


def test_what_is_sent_while_a_run_waits_does_not_disturb_it(recording):
    udp, sock = recording
    udp._sender._segments_runs = False
    first, second = numbered([100] * 5), numbered([90] * 5)
    one, other = run_of(first, SOMEWHERE), run_of(second, SOMEWHERE)
    sock.fail(0, 0, FULL, 0, FULL)
    assert not udp.send(one)
    assert not udp.send(other)
    assert udp.send(Transmit(b"urgent", SOMEWHERE))
    assert udp.send(other)
    assert udp.send(one)
    assert sock.wire == [*first[:2], second[0], b"urgent", *second[1:], *first[2:]]


def test_a_run_that_is_sent_anew_starts_at_its_beginning(recording):
    udp, sock = recording
    udp._sender._segments_runs = False
    datagrams = numbered([100] * 3)
    run = run_of(datagrams, SOMEWHERE)
    sock.fail(0, FULL)
    assert not udp.send(run)
    assert udp.send(run)
    assert udp.send(run)
    assert sock.wire == datagrams * 2


def test_runs_that_are_given_up_are_not_kept_for_ever(recording, monkeypatch):
    udp, sock = recording
    udp._sender._segments_runs = False
    runs = [run_of(numbered([100] * 3), SOMEWHERE) for _ in range(sender._MAX_UNFINISHED + 1)]
    for run in runs:
        sock.fail(0, FULL)
        assert not udp.send(run)
    assert len(udp._sender._unfinished) == sender._MAX_UNFINISHED
    sock.wire.clear()
    assert udp.send(runs[-1])
    assert sock.wire == numbered([100] * 3)[1:]


@given(
    count=st.integers(1, 200),
    size=st.integers(1, 1500),
    last=st.integers(1, 1500),
    segmented=st.booleans(),
    script=st.lists(st.sampled_from([0, FULL, errno.ENOBUFS, errno.EMSGSIZE]), max_size=30),
)
def test_whenever_sending_fails_each_datagram_leaves_once_and_in_order(count, size, last, segmented, script):
    datagrams = numbered([size] * (count - 1) + [min(last, size)])
    with UdpSocket(RecordingSocket()) as udp:
        sock = udp._sock
        udp._sender._segments_runs = segmented
        sock.fail(*script)
        run = Transmit(b"".join(datagrams), SOMEWHERE, segment_size=size)
        while not udp.send(run):
            pass
        # EMSGSIZE has a run sliced, but loses what was one datagram already.
        lost = udp.stats.send_drops.get("EMSGSIZE", 0)
        assert len(sock.wire) == len(datagrams) - lost == udp.stats.sent
        due = iter(datagrams)
        assert all(datagram in due for datagram in sock.wire)


# Kernels and destinations that cannot segment


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT])
def test_a_run_that_is_refused_for_its_size_leaves_in_slices_and_the_next_one_is_tried(recording, code):
    udp, sock = recording
    datagrams = numbered([1402] * 5)
    run = run_of(datagrams, SOMEWHERE)
    sock.fail(code)
    assert udp.send(run)
    assert sock.wire == datagrams
    assert sock.calls == [1402, None, None, None, None, None]
    sock.calls.clear()
    assert udp.send(run)
    assert sock.calls == [1402]
    assert udp.stats.send_drops == {}


def test_where_segmentation_is_impossible_it_is_not_tried_again(recording):
    udp, sock = recording
    run = run_of(numbered([1402] * 2), SOMEWHERE)
    sock.fail(errno.EIO)
    assert udp.send(run)
    assert udp.send(run)
    assert sock.calls == [1402, None, None, None, None]
    assert sock.wire == numbered([1402] * 2) * 2


def test_one_impossible_destination_does_not_cost_the_others_their_runs(recording):
    udp, sock = recording
    sock.fail(errno.EIO)
    assert udp.send(run_of(numbered([1402] * 2), SOMEWHERE))
    sock.calls.clear()
    assert udp.send(run_of(numbered([1402] * 2), ELSEWHERE))
    assert sock.calls == [1402]


def test_the_memory_of_destinations_is_bounded(recording, monkeypatch):
    monkeypatch.setattr(sender, "_MAX_REMOTES", 3)
    udp, sock = recording
    for port in range(1, 9):
        sock.fail(errno.EIO)
        assert udp.send(run_of(numbered([100] * 2), ("192.0.2.1", port)))
        assert len(udp._sender._unsegmented) <= 3
        assert len(udp._sender._sockaddrs) <= 3
    assert len(sock.wire) == 16


@pytest.mark.root
def test_a_run_of_segments_above_the_mtu_of_the_path_arrives(in_new_namespace, host):
    datagrams = numbered([1402] * 20)

    def send_and_receive() -> tuple[list[bytes], int, int]:
        with UdpSocket.bind(host) as sender, UdpSocket.bind(host) as receiver:
            use_segmentation(sender, True)
            assert sender.send(run_of(datagrams, receiver.address))
            in_slices = sender.stats.sent_runs
            assert sender.send(run_of(numbered([1200] * 20), receiver.address))
            return receive_datagrams(receiver, 40), in_slices, sender.stats.sent_runs

    arrived, before, after = in_new_namespace("ip link set lo mtu 1300 up", send_and_receive)
    assert arrived == datagrams + numbered([1200] * 20)
    assert (before, after) == (0, 1)


# What cannot be sent


def test_a_datagram_too_large_for_udp_is_dropped_and_counted(sender, receiver, host):
    remote = (host, receiver.address[1])
    assert sender.send(Transmit(bytes(70_000), remote))
    assert sender.send(Transmit(b"after", remote))
    assert receive_datagrams(receiver, 1) == [b"after"]
    assert sender.stats.send_drops == {"EMSGSIZE": 1}
    assert sender.stats.sent == 1


@pytest.mark.parametrize(
    "code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.EADDRNOTAVAIL, errno.ENOMEM]
)
@pytest.mark.parametrize("segment_size", [None, 100])
def test_what_the_kernel_refuses_for_good_is_dropped_and_counted(recording, code, segment_size):
    udp, sock = recording
    sock.fail(code)
    assert udp.send(Transmit(bytes(300), SOMEWHERE, segment_size=segment_size))
    assert sock.wire == []
    assert udp.stats.send_drops == {errno.errorcode[code]: 1 if segment_size is None else 3}
    assert udp.stats.sent == 0


def test_a_firewall_that_stops_one_slice_does_not_stop_the_others(recording):
    udp, sock = recording
    udp._sender._segments_runs = False
    datagrams = numbered([100] * 3)
    sock.fail(0, errno.EPERM)
    assert udp.send(run_of(datagrams, SOMEWHERE))
    assert sock.wire == [datagrams[0], datagrams[2]]
    assert udp.stats.send_drops == {"EPERM": 1}


@pytest.mark.parametrize("remote", [("::1", 1), ("localhost", 1), ("192.0.2.1", 65_536), ("", 0)])
def test_a_remote_that_this_socket_cannot_reach_is_dropped_and_counted(recording, remote, monkeypatch):
    def ask_the_resolver(*args: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", ask_the_resolver)
    udp, sock = recording
    assert udp.send(Transmit(bytes(250), remote, segment_size=100))
    assert sock.calls == []
    assert udp.stats.send_drops == {"EAFNOSUPPORT": 3}


def test_the_name_of_an_interface_is_looked_up_each_time(opened, monkeypatch):
    """An interface that was unplugged comes back with another number."""
    sock = RecordingSocket(socket.AF_INET6)
    udp = opened.enter_context(UdpSocket(sock))
    for index in (3, 8):
        monkeypatch.setattr(socket, "if_nametoindex", {"eth7": index}.__getitem__)
        assert udp.send(Transmit(b"data", ("fe80::1%eth7", 1315)))
    assert sock.addresses == [("fe80::1", 1315, 0, 3), ("fe80::1", 1315, 0, 8)]


@pytest.mark.root
def test_without_a_route_datagrams_are_dropped_and_counted(in_new_namespace):
    def send() -> dict[str, int]:
        with UdpSocket.bind() as sock:
            assert sock.send(Transmit(b"data", SOMEWHERE))
            return sock.stats.send_drops

    assert in_new_namespace("ip link set lo up", send) == {"ENETUNREACH": 1}


@linux
def test_a_datagram_after_a_refused_one_is_not_lost(opened, host, receiver):
    """Linux reports the refusal of the first by failing the second call, which then has sent nothing."""
    sock = loopback(host)
    udp = opened.enter_context(UdpSocket(sock))
    closed = opened.enter_context(UdpSocket.bind(host))
    sock.connect(closed.address)
    closed.close()
    assert udp.send(Transmit(b"refused", sock.getpeername()[:2]))
    assert udp.send(Transmit(b"wanted", (host, receiver.address[1])))
    assert receive_datagrams(receiver, 1) == [b"wanted"]
    assert udp.stats.icmp_errors == 1
    assert udp.stats.sent == 2


# TTL, Don't Fragment, ECN


@pytest.fixture
def hop_limits(opened, host):
    """A socket of the system's own that tells the TTL of what comes."""
    sock = opened.enter_context(loopback(host))
    sock.settimeout(10)
    if ":" in host:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL of <linux/in.h>

    def receive() -> int:
        _, [(_, _, value)], _, _ = sock.recvmsg(2048, 64)
        return struct.unpack("=i", value)[0]

    return sock.getsockname()[:2], receive


@linux
@pytest.mark.parametrize("by_option", [False, True], ids=["message", "option"])
def test_the_ttl_holds_for_its_datagram_alone(sender, hop_limits, by_option):
    if by_option:
        sender._sender._family = sender._sender._family._replace(send_ttl=None)
    remote, receive_ttl = hop_limits
    for ttl in (7, None, 255, None):
        assert sender.send(Transmit(b"data", remote, ttl=ttl))
    assert [receive_ttl() for _ in range(4)] == [7, 64, 255, 64]


@linux
def test_the_ttl_holds_for_each_datagram_of_a_run(sender, hop_limits):
    remote, receive_ttl = hop_limits
    assert sender.send(run_of(numbered([100] * 3), remote, ttl=9))
    assert [receive_ttl() for _ in range(3)] == [9, 9, 9]


@pytest.mark.parametrize("by_option", [False, True], ids=["message", "option"])
def test_a_ttl_that_no_packet_has_is_a_counted_drop(sender, receiver, host, by_option):
    if by_option:
        sender._sender._family = sender._sender._family._replace(send_ttl=None)
    remote = (host, receiver.address[1])
    assert sender.send(Transmit(b"data", remote, ttl=256))
    assert sender.send(Transmit(b"after", remote))
    assert receive_datagrams(receiver, 1) == [b"after"]
    assert sender.stats.send_drops == {"EINVAL": 1}


@linux
@pytest.mark.parametrize("by_option", [False, True], ids=["message", "option"])
def test_the_ecn_bits_reach_the_other_side(sender, receiver, host, by_option):
    if by_option:
        sender._sender._family = sender._sender._family._replace(send_tos=None)
    marks = [0, 1, 2, 3, 0, 2, 2, 0]
    for ecn in marks:
        assert sender.send(Transmit(b"data", (host, receiver.address[1]), ecn=ecn))
        assert receive_one(receiver).ecn == ecn


@linux
def test_the_ecn_bits_of_a_run_reach_the_other_side(sender, receiver, host):
    assert sender.send(run_of(numbered([100] * 3), (host, receiver.address[1]), ecn=1))
    assert receive_one(receiver).ecn == 1


@linux
def test_a_mark_leaves_the_traffic_class_of_the_socket_alone(opened, host):
    sock = loopback(host)
    level, option = (41, socket.IPV6_TCLASS) if ":" in host else (0, socket.IP_TOS)
    sock.setsockopt(level, option, 0x20)  # CS1
    udp = opened.enter_context(UdpSocket(sock))
    with loopback(host) as receiver:
        receiver.settimeout(10)
        receiver.setsockopt(level, socket.IPV6_RECVTCLASS if level else socket.IP_RECVTOS, 1)
        for ecn in (2, 0):
            assert udp.send(Transmit(b"data", receiver.getsockname()[:2], ecn=ecn))
        classes = [receiver.recvmsg(2048, 64)[1][0][2][0] for _ in range(2)]
    assert classes == [0x22, 0x20]


@linux
def test_dont_fragment_is_set_and_cleared_and_left_as_it_was(opened, host, receiver):
    sock = loopback(host)
    level, option = (41, 23) if ":" in host else (0, 10)  # IPV6_MTU_DISCOVER, IP_MTU_DISCOVER
    usual = sock.getsockopt(level, option)
    udp = opened.enter_context(UdpSocket(sock))
    assert udp.can_set_dont_fragment
    states = []
    for wanted in (None, True, True, False, None, True, None):
        assert udp.send(Transmit(b"data", (host, receiver.address[1]), dont_fragment=wanted))
        states.append(sock.getsockopt(level, option))
    assert states == [usual, 3, 3, 0, usual, 3, usual]  # IP_PMTUDISC_PROBE, IP_PMTUDISC_DONT


@pytest.mark.root
def test_only_what_may_not_be_fragmented_is_stopped_by_a_small_mtu(in_new_namespace, host):
    def send_and_receive() -> tuple[list[bytes], dict[str, int]]:
        with UdpSocket.bind(host) as sender, UdpSocket.bind(host) as receiver:
            for name, wanted in ((b"a", None), (b"b", True), (b"c", False), (b"d", True), (b"e", None)):
                assert sender.send(Transmit(name * 1402, receiver.address, dont_fragment=wanted))
            return receive_datagrams(receiver, 3), sender.stats.send_drops

    arrived, drops = in_new_namespace("ip link set lo mtu 1300 up", send_and_receive)
    assert arrived == [b"a" * 1402, b"c" * 1402, b"e" * 1402]
    assert drops == {"EMSGSIZE": 2}


def test_a_system_that_refuses_to_set_df_still_sends(sender, receiver, host):
    sender._sender._family = sender._sender._family._replace(dont_fragment=9999)
    assert sender.send(Transmit(b"data", (host, receiver.address[1]), dont_fragment=True))
    assert receive_datagrams(receiver, 1) == [b"data"]
    assert not sender.can_set_dont_fragment


# What is too long for the path


@pytest.mark.root
def test_what_is_longer_than_the_interface_carries_is_told_with_what_would_fit(in_new_namespace, host):
    headers = 48 if ":" in host else 28

    def send() -> list[PacketTooBig]:
        with UdpSocket.bind(host) as sender, UdpSocket.bind(host) as receiver:
            for size, wanted in ((1402, True), (1402, None), (1402, False), (100, True)):
                assert sender.send(Transmit(bytes(size), receiver.address, dont_fragment=wanted))
            assert sender.send(run_of(numbered([1300] * 3), receiver.address, dont_fragment=True))
            told = sender.take_too_big()
            assert {remote for _, _, remote, _ in told} == {receiver.address}
            assert sender.take_too_big() == []
            return told

    told = in_new_namespace("ip link set lo mtu 1300 up", send)
    assert [data for data, _, _, _ in told] == [
        datagram[:64] for datagram in [bytes(1402), *numbered([1300] * 3)]
    ]
    assert {max_datagram for _, max_datagram, _, _ in told} == {1300 - headers}


def test_a_system_that_does_not_tell_the_mtu_says_so(recording, monkeypatch):
    udp, sock = recording
    udp._sender._family = udp._sender._family._replace(mtu=None)
    sock.fail(errno.EMSGSIZE)
    assert udp.send(Transmit(b"long", SOMEWHERE, local=None, dont_fragment=True))
    assert udp.take_too_big() == [(b"long", None, SOMEWHERE, None)]


def test_what_nobody_takes_note_of_is_kept_within_bounds(recording, monkeypatch):
    monkeypatch.setattr(sender, "_MAX_TOO_BIG", 3)
    udp, sock = recording
    for _ in range(5):
        sock.fail(errno.EMSGSIZE)
        assert udp.send(Transmit(b"long", SOMEWHERE, dont_fragment=True))
    assert len(udp.take_too_big()) == 3
    assert udp.stats.send_drops == {"EMSGSIZE": 5}


@linux
def test_df_costs_a_call_only_when_it_changes(sender, receiver, host):
    remote = (host, receiver.address[1])
    for wanted in (True, True, True, False, False, True, True):
        assert sender.send(Transmit(b"data", remote, dont_fragment=wanted))
    assert sender.stats.dont_fragment_changes == 3
