from __future__ import annotations

import socket
import struct

import pytest

from pknet_io import control
from pknet_io.constants import IPV4, IPV6

if IPV4.pktinfo is None or IPV6.pktinfo is None:
    pytest.skip("the system has no IP_PKTINFO", allow_module_level=True)


def pktinfo(interface: int, spec_dst: str, destination: str) -> bytes:
    return struct.pack("=I", interface) + socket.inet_aton(spec_dst) + socket.inet_aton(destination)


def pktinfo6(host: str, interface: int) -> bytes:
    return socket.inet_pton(socket.AF_INET6, host) + struct.pack("=I", interface)


def test_the_answer_to_a_broadcast_leaves_from_our_own_address():
    assert control.destination(IPV4, pktinfo(2, "192.0.2.7", "192.0.2.255")) == "192.0.2.7"


@pytest.mark.parametrize("host", ["224.0.0.1", "239.1.2.3", "255.255.255.255"])
def test_no_answer_leaves_from_an_ipv4_group(host):
    assert control.destination(IPV4, pktinfo(2, host, host)) is None


def test_no_answer_leaves_from_an_ipv6_group():
    assert control.destination(IPV6, pktinfo6("ff02::1", 2)) is None


def test_an_answer_may_leave_by_another_interface_than_the_question_came():
    assert control.source(IPV4, "192.0.2.7")[2] == pktinfo(0, "192.0.2.7", "0.0.0.0")
    host = control.destination(IPV6, pktinfo6("2001:db8::7", 2))
    assert host == "2001:db8::7"
    assert control.source(IPV6, host)[2] == pktinfo6("2001:db8::7", 0)


@pytest.mark.parametrize("address", ["fe80::7", "febf::7"])
def test_a_link_local_answer_leaves_by_the_interface_of_the_question(address):
    host = control.destination(IPV6, pktinfo6(address, 2))
    assert host == f"{address}%2"
    assert control.source(IPV6, host)[2] == pktinfo6(address, 2)


def test_all_messages_of_one_datagram_fit_the_space():
    sizes = [4, 20, 4, 4]  # UDP_GRO, IPV6_PKTINFO, IPV6_TCLASS, SO_RXQ_OVFL
    assert sum(socket.CMSG_SPACE(size) for size in sizes) <= control.CONTROL_SPACE
