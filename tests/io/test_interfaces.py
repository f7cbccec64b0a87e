from __future__ import annotations

import socket
import struct

import pytest

from pknet_io import interfaces, local_addresses, to_sockaddr

linux = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs netlink")

DEPRECATED, TENTATIVE, DAD_FAILED = 0x20, 0x40, 0x08


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def address_message(host: str, *, interface: int = 2, flags: int = 0, peer: str | None = None) -> bytes:
    """Build what the kernel says of one address (rtnetlink(7))."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    body = struct.pack("=BBBBI", family, 24, flags & 0xFF, 0, interface)
    if peer is not None:
        body += attribute(1, socket.inet_pton(family, peer)) + attribute(2, socket.inet_pton(family, host))
    else:
        body += attribute(1, socket.inet_pton(family, host))
    body += attribute(3, b"a-label\0") + attribute(8, struct.pack("=I", flags))
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


@pytest.fixture
def machine(monkeypatch):
    """Let the test say what this machine's default routes and interfaces are."""

    def describe(default_routes: list[str], *messages: bytes) -> None:
        monkeypatch.setattr(interfaces, "_default_route_addresses", lambda: iter(default_routes))
        monkeypatch.setattr(interfaces, "_dump_addresses", lambda: b"".join(messages))

    return describe


def test_this_machine_has_addresses_that_can_be_bound():
    addresses = local_addresses()
    assert addresses
    assert len(set(addresses)) == len(addresses)
    for host in addresses:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sockaddr = to_sockaddr((host, 0), family)
            assert sockaddr is not None
            sock.bind(sockaddr)


@linux
def test_the_address_of_the_default_route_comes_first(machine):
    machine(["192.0.2.9"], *map(address_message, ["127.0.0.1", "10.0.0.1", "192.0.2.9", "::1"]))
    assert local_addresses() == ["192.0.2.9", "10.0.0.1"]


@linux
def test_link_local_addresses_come_last_with_their_scope(machine):
    messages = map(address_message, ["169.254.1.1", "fe80::1", "2001:db8::1", "10.0.0.1"])
    machine([], *messages)
    assert local_addresses() == ["10.0.0.1", "2001:db8::1", "169.254.1.1", "fe80::1%2"]


@linux
def test_loopback_is_named_only_if_there_is_nothing_else(machine):
    machine([], address_message("127.0.0.1"), address_message("::1"))
    assert local_addresses() == ["127.0.0.1", "::1"]
    machine([])
    assert local_addresses() == ["127.0.0.1"]


@linux
@pytest.mark.parametrize("flag", [DEPRECATED, TENTATIVE, DAD_FAILED])
def test_an_address_that_must_not_be_used_is_left_out(machine, flag):
    machine([], address_message("2001:db8::1", flags=flag), address_message("2001:db8::2", flags=0x80))
    assert local_addresses() == ["2001:db8::2"]


@linux
def test_on_a_point_to_point_link_our_own_end_is_named(machine):
    machine([], address_message("10.0.0.1", peer="10.0.0.2"))
    assert local_addresses() == ["10.0.0.1"]


@linux
def test_without_netlink_the_default_routes_are_what_is_known(machine, monkeypatch):
    machine(["192.0.2.9"])

    def refuse() -> bytes:
        raise PermissionError("a sandbox")

    monkeypatch.setattr(interfaces, "_dump_addresses", refuse)
    assert local_addresses() == ["192.0.2.9"]
    monkeypatch.delattr(socket, "AF_NETLINK")
    assert local_addresses() == ["192.0.2.9"]


@linux
def test_loopback_is_what_a_machine_without_any_family_has(monkeypatch):
    class NoSockets(socket.socket):
        def __init__(self, *args: object) -> None:
            raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(interfaces.socket, "socket", NoSockets)
    assert local_addresses() == ["127.0.0.1"]


@pytest.mark.root
def test_every_interface_of_a_machine_is_found(in_new_namespace):
    commands = """
    ip link set lo up
    ip link add d0 type veth peer name d1
    ip link set d0 addrgenmode none up
    ip link set d1 addrgenmode none up
    ip addr add 10.9.0.1/24 dev d0
    ip addr add 10.8.0.1/24 dev d1
    ip addr add 2001:db8:9::1/64 dev d0 nodad
    ip addr add 2001:db8:9::2/64 dev d0 nodad preferred_lft 0
    ip addr add fe80::9/64 dev d0 nodad
    ip route add default via 10.8.0.2
    """

    def found() -> tuple[list[str], int]:
        return local_addresses(), socket.if_nametoindex("d0")

    addresses, d0 = in_new_namespace(commands, found)
    assert addresses == ["10.8.0.1", "10.9.0.1", "2001:db8:9::1", f"fe80::9%{d0}"]


@pytest.mark.root
def test_a_machine_with_no_interface_up_has_loopback_only(in_new_namespace):
    assert in_new_namespace("", local_addresses) == ["127.0.0.1"]
