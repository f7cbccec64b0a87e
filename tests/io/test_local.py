from __future__ import annotations

import pytest

from pknet import Transmit
from pknet_io import LocalAddress, UdpSocket, constants, local
from tests.io.sockets import receive_one, until_deliverable

pytestmark = pytest.mark.skipif(not constants.LINUX, reason="needs 127.0.0.0/8 and IP_PKTINFO")


@pytest.fixture
def node(opened):
    return opened.enter_context(UdpSocket.bind("0.0.0.0"))


@pytest.fixture
def client(opened):
    return opened.enter_context(UdpSocket.bind("127.0.0.1"))


def ask(client: UdpSocket, node: UdpSocket, host: str) -> LocalAddress:
    client.send(Transmit(b"question", (host, node.address[1])))
    return receive_one(node).local


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
def test_the_answer_leaves_from_the_address_that_was_asked(client, node, asked):
    handle = ask(client, node, asked)
    assert (handle.host, handle.socket) == (asked, node)
    node.send(Transmit(b"answer", client.address, local=handle))
    assert receive_one(client).remote == (asked, node.address[1])


def test_a_run_leaves_from_the_address_that_was_asked(client, node):
    handle = ask(client, node, "127.0.0.2")
    node.send(Transmit(bytes(300), client.address, local=handle, segment_size=100, ttl=3, ecn=2))
    received = receive_one(client)
    assert received.remote == ("127.0.0.2", node.address[1])
    assert received.ecn == 2
    assert len(received.data) == 300


def test_without_a_handle_the_system_chooses(client, node):
    ask(client, node, "127.0.0.2")
    for handle in (None, node.local, client.local, "a handle of the caller's own"):
        node.send(Transmit(b"answer", client.address, local=handle))
        assert receive_one(client).remote == ("127.0.0.1", node.address[1])


def test_one_address_has_one_handle(client, node):
    handles = [ask(client, node, host) for host in ("127.0.0.2", "127.0.0.3", "127.0.0.2")]
    assert handles[0] is handles[2]
    assert handles[0] != handles[1]
    assert len(set(handles)) == 2
    assert "127.0.0.2" in repr(handles[0])


def test_the_handles_of_two_sockets_differ(client, node, opened):
    other = opened.enter_context(UdpSocket.bind("0.0.0.0"))
    assert ask(client, node, "127.0.0.2") != ask(client, other, "127.0.0.2")


def test_a_socket_on_one_address_has_one_handle(client, opened):
    node = opened.enter_context(UdpSocket.bind("127.0.0.2"))
    handle = ask(client, node, "127.0.0.2")
    assert handle is node.local
    assert handle.host == "127.0.0.2"


def test_a_stranger_cannot_fill_the_table(client, node, monkeypatch):
    monkeypatch.setattr(local, "_MAX_ADDRESSES", 2)
    known = [ask(client, node, host) for host in ("127.0.0.2", "127.0.0.3")]
    beyond = ask(client, node, "127.0.0.4")
    assert beyond is node.local
    node.send(Transmit(b"answer", client.address, local=beyond))
    assert receive_one(client).remote == ("127.0.0.1", node.address[1])
    assert [ask(client, node, host) for host in ("127.0.0.2", "127.0.0.3")] == known


def test_one_address_keeps_its_handle_however_many_messages_name_it(node, monkeypatch):
    monkeypatch.setattr(local, "_MAX_ADDRESSES", 2)
    table = node._receiver._local_addresses
    address = bytes([192, 0, 2, 1])
    handles = {table.learn(interface.to_bytes(4, "little") + address * 2) for interface in range(1, 20)}
    assert [handle.host for handle in handles] == ["192.0.2.1"]
    assert len(table.by_message) <= 4


@pytest.mark.root
def test_the_answer_leaves_from_the_ipv6_address_that_was_asked(in_new_namespace):
    def talk() -> list[tuple[str, int]]:
        with UdpSocket.bind("::") as node, UdpSocket.bind("::1") as client:
            handle = ask(client, node, "2001:db8::5")
            node.send(Transmit(b"answer", client.address, local=handle))
            node.send(Transmit(b"answer", client.address))
            return [receive_one(client).remote[0], receive_one(client).remote[0]]

    commands = (
        f"ip link set lo up; ip addr add 2001:db8::5/128 dev lo nodad; {until_deliverable('2001:db8::5')}"
    )
    assert in_new_namespace(commands, talk) == ["2001:db8::5", "::1"]
