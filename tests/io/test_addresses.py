from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet_io import to_address, to_sockaddr

FAMILIES = [socket.AF_INET, socket.AF_INET6]


def test_an_address_has_two_parts_in_both_families():
    assert to_address(("192.0.2.1", 1315)) == ("192.0.2.1", 1315)
    assert to_address(("2001:db8::1", 1315, 0, 0)) == ("2001:db8::1", 1315)


def test_the_scope_of_a_link_local_address_stands_in_its_host():
    assert to_address(("fe80::1", 1315, 0, 7)) == ("fe80::1%7", 1315)
    assert to_address(("fe80::1%eth0", 1315, 0, 7)) == ("fe80::1%7", 1315)
    assert to_sockaddr(("fe80::1%7", 1315), socket.AF_INET6) == ("fe80::1", 1315, 0, 7)


def test_a_scope_may_be_the_name_of_an_interface():
    index, name = socket.if_nameindex()[0]
    assert to_sockaddr((f"fe80::1%{name}", 1315), socket.AF_INET6) == ("fe80::1", 1315, 0, index)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "example.org",
        "127.1",
        "1.2.3.4.5",
        "192.0.2.1\0",
        "192.0.2.1%1",
        "[::1]",
        "fe80::1%no-such-if",
        "fe80::1%4294967296",
        "\ud800",
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_numeric_address_has_no_socket_address(host, family):
    assert to_sockaddr((host, 1315), family) is None


def test_an_address_of_the_other_family_has_no_socket_address():
    assert to_sockaddr(("::1", 1315), socket.AF_INET) is None
    assert to_sockaddr(("127.0.0.1", 1315), socket.AF_INET6) is None


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_outside_16_bits_has_no_socket_address(port):
    assert to_sockaddr(("127.0.0.1", port), socket.AF_INET) is None


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_an_address_is_the_same_after_both_ways(ip, port):
    address = (str(ip), port)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    sockaddr = to_sockaddr(address, family)
    assert sockaddr is not None
    assert to_address(sockaddr) == address


@given(st.text(), st.integers(), st.sampled_from(FAMILIES))
def test_nothing_that_a_peer_may_have_written_raises(host, port, family):
    sockaddr = to_sockaddr((host, port), family)
    if sockaddr is not None:
        assert socket.inet_pton(family, sockaddr[0])
