from __future__ import annotations

import errno
import struct

import pytest

from pknet import Transmit
from pknet_io import UdpSocket, constants
from tests.io.sockets import loopback, numbered, receive_datagrams, receive_one, split, until_deliverable

linux = pytest.mark.skipif(not constants.LINUX, reason="needs Linux")


def test_nothing_to_receive_is_none(receiver):
    assert receiver.receive() is None


def test_a_datagram_tells_where_it_came_from(sender, receiver, host):
    sender.send(Transmit(b"data", (host, receiver.address[1])))
    received = receive_one(receiver)
    assert bytes(received.data) == b"data"
    assert received.remote == sender.address
    assert received.segment_size is None
    assert received.ecn == 0
    assert receiver.receive() is None
    assert receiver.stats.received == 1


def test_the_data_is_a_window_that_the_next_datagram_fills(sender, receiver, host):
    for data in (b"first", b"other"):
        sender.send(Transmit(data, (host, receiver.address[1])))
    first = receive_one(receiver)
    kept = bytes(first.data)
    receive_one(receiver)
    assert (kept, bytes(first.data)) == (b"first", b"other")
    assert first.data.readonly


def test_the_largest_datagram_arrives_whole(sender, receiver, host):
    data = bytes(range(256)) * 255 + bytes(227)
    assert len(data) == 65_507
    sender.send(Transmit(data, (host, receiver.address[1])))
    assert bytes(receive_one(receiver).data) == data


@linux
def test_a_merged_run_comes_with_its_segment_size(sender, receiver, host):
    datagrams = numbered([1402] * 44 + [700])
    sender.send(Transmit(b"".join(datagrams), (host, receiver.address[1]), segment_size=1402))
    received = receive_one(receiver)
    assert received.segment_size == 1402
    assert split(received) == datagrams
    assert (receiver.stats.received, receiver.stats.received_runs) == (45, 1)


@linux
def test_what_the_kernel_had_no_room_for_is_counted(sender, host, opened):
    receiver = opened.enter_context(UdpSocket.bind(host, receive_buffer=8192))
    for _ in range(3):
        for _ in range(50):
            sender.send(Transmit(bytes(1402), receiver.address))
        arrived = len(receive_datagrams(receiver, 1))
        assert arrived < 50
    # The count comes with the next datagram that finds room.
    sender.send(Transmit(b"last", receiver.address))
    receive_one(receiver)
    assert receiver.kernel_drops == 151 - receiver.stats.received
    assert receiver.kernel_drops == receiver.stats.kernel_drops > 100


def test_the_count_of_drops_survives_the_end_of_its_32_bits(receiver):
    for total in (0xFFFF_FFF0, 0xFFFF_FFF0, 0x0000_0010):
        receiver._receiver._count_drops(struct.pack("=I", total))
    assert receiver.kernel_drops == 0x1_0000_0010


@linux
def test_a_refused_port_does_not_stop_the_loop(host, opened):
    sock = loopback(host)
    udp = opened.enter_context(UdpSocket(sock))
    peer = loopback(host)
    remote = peer.getsockname()[:2]
    sock.connect(remote)
    peer.close()
    udp.send(Transmit(b"refused", remote))
    assert udp.receive() is None
    assert udp.stats.icmp_errors == 1
    with UdpSocket.bind(*remote) as peer:
        peer.send(Transmit(b"now open", udp.address))
        assert bytes(receive_one(udp).data) == b"now open"


@pytest.mark.parametrize(
    "code", [errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE]
)
def test_errors_of_earlier_datagrams_are_passed_over(sender, receiver, host, code):
    class Reporting:
        """A socket that reports two errors before it receives."""

        reports = 2

        def recvmsg_into(self, *args):
            if self.reports:
                self.reports -= 1
                raise OSError(code, "an ICMP message")
            return real.recvmsg_into(*args)

        recvfrom_into = recvmsg_into

    real = receiver._receiver._sock
    sender.send(Transmit(b"data", (host, receiver.address[1])))
    receive_one(receiver)
    receiver._receiver._sock = Reporting()
    sender.send(Transmit(b"data", (host, receiver.address[1])))
    assert bytes(receive_one(receiver).data) == b"data"
    assert receiver.stats.icmp_errors == 2


@linux
@pytest.mark.root
def test_a_link_local_peer_is_answered_by_the_interface_it_came_by(in_new_namespace):
    commands = f"""
    ip link set lo up
    ip link add d0 type veth peer name d1
    ip link set d0 addrgenmode none up
    ip link set d1 addrgenmode none up
    ip addr add fe80::1/64 dev d0 nodad
    ip addr add fe80::2/64 dev d0 nodad
    {until_deliverable("fe80::1")}
    {until_deliverable("fe80::2")}
    """

    def talk() -> None:
        with UdpSocket.bind("::") as node, UdpSocket.bind("fe80::1%d0") as peer:
            assert peer.send(Transmit(b"by name", ("fe80::2%d0", node.address[1])))
            first = receive_one(node)
            host, port = first.remote
            assert (host.partition("%")[0], port) == ("fe80::1", peer.address[1])
            assert first.remote == peer.address
            assert peer.send(Transmit(b"by number", (f"fe80::2%{host.partition('%')[2]}", node.address[1])))
            assert receive_one(node).local is first.local
            assert node.send(Transmit(b"answer", first.remote, local=first.local))
            assert receive_one(peer).remote == (first.local.host, node.address[1])
            assert first.local.host == f"fe80::2%{host.partition('%')[2]}"

    in_new_namespace(commands, talk)
