"""Hosts and sockets: who gets a datagram, and what the network does without one."""

import pytest

from pknet.testing import Link, SimulatedNetwork, SimulationError
from tests.testing.machines import Listener


def test_a_socket_gets_what_is_sent_to_its_address_and_port() -> None:
    network = SimulatedNetwork()
    one = network.host("192.0.2.1").bind(1000)
    other = network.host("192.0.2.2").bind(2000)
    one.send(b"hello", ("192.0.2.2", 2000))
    assert [(received.data, received.remote) for received in other.received] == [
        (b"hello", ("192.0.2.1", 1000))
    ]


@pytest.mark.parametrize(
    ("remote", "reason"), [(("192.0.2.2", 2001), "port closed"), (("192.0.2.3", 2000), "no route")]
)
def test_what_nobody_awaits_is_dropped_for_a_reason(remote: tuple[str, int], reason: str) -> None:
    network = SimulatedNetwork()
    network.host("192.0.2.2").bind(2000)
    network.host("192.0.2.1").bind(1000).send(b"hello", remote)
    network.run(1)
    assert network.drops == {reason: 1}


def test_ipv6_hosts_reach_each_other_however_the_address_is_written() -> None:
    network = SimulatedNetwork()
    one = network.host("2001:db8::1").bind(1000)
    other = network.host("2001:DB8:0::2").bind(2000)
    one.send(b"hello", ("2001:0db8::0002", 2000))
    assert other.received[0].remote == ("2001:db8::1", 1000)


def test_a_host_with_two_addresses_has_sockets_on_each() -> None:
    network = SimulatedNetwork()
    host = network.host("192.0.2.1", "2001:db8::1")
    four, six = host.bind(53), host.bind(53, "2001:db8::1")
    network.host("192.0.2.2").bind(1).send(b"four", four.address)
    network.host("2001:db8::2").bind(1).send(b"six", six.address)
    assert [received.data for received in four.received] == [b"four"]
    assert [received.data for received in six.received] == [b"six"]
    assert host.addresses == ("192.0.2.1", "2001:db8::1")


def test_an_ipv4_socket_can_not_reach_ipv6() -> None:
    network = SimulatedNetwork()
    network.host("2001:db8::2").bind(80)
    with pytest.raises(SimulationError, match="family"):
        network.host("192.0.2.1").bind(1).send(b"hello", ("2001:db8::2", 80))


def test_port_0_takes_ports_that_are_free() -> None:
    host = SimulatedNetwork().host()
    ports = [host.bind().address[1] for _ in range(3)]
    assert ports == [49152, 49153, 49154]
    host.sockets[1].close()
    assert host.bind().address[1] == 49153


def test_a_port_in_use_is_refused_until_it_is_closed() -> None:
    host = SimulatedNetwork().host("192.0.2.1")
    socket = host.bind(80)
    with pytest.raises(SimulationError, match=r"192\.0\.2\.1:80 is in use"):
        host.bind(80)
    socket.close()
    socket.close()
    assert host.bind(80) is not socket


def test_a_closed_socket_neither_sends_nor_receives() -> None:
    network = SimulatedNetwork()
    socket = network.host("192.0.2.1").bind(80)
    other = network.host("192.0.2.2").bind(80)
    socket.close()
    other.send(b"hello", ("192.0.2.1", 80))
    assert network.drops == {"port closed": 1}
    with pytest.raises(SimulationError, match="closed"):
        socket.send(b"hello", other.address)


def test_an_address_is_given_once() -> None:
    network = SimulatedNetwork()
    network.host("192.0.2.1")
    with pytest.raises(SimulationError, match=r"192\.0\.2\.1 is taken in internet"):
        network.host("192.0.2.1")


def test_hosts_without_an_address_get_one_each() -> None:
    network = SimulatedNetwork()
    home = network.nat("cone")
    public = {network.host().address for _ in range(3)}
    private = {network.host(behind=home).address for _ in range(3)}
    assert (len(public), len(private)) == (3, 3)
    assert all(address.startswith("10.1.0.") for address in private)


@pytest.mark.parametrize(
    "remote", [("example.org", 80), ("192.0.2.1", 0), ("192.0.2.1", 65536), ("192.0.2.1",), "192.0.2.1:80"]
)
def test_only_addresses_can_be_sent_to(remote: object) -> None:
    socket = SimulatedNetwork().host().bind()
    with pytest.raises(SimulationError):
        socket.send(b"hello", remote)  # type: ignore[arg-type]


@pytest.mark.parametrize("ttl", [0, 256])
def test_a_ttl_fits_its_field(ttl: int) -> None:
    socket = SimulatedNetwork().host().bind()
    with pytest.raises(SimulationError, match="TTL"):
        socket.send(b"hello", ("192.0.2.1", 1), ttl=ttl)


def test_a_datagram_holds_no_more_than_udp_can() -> None:
    network = SimulatedNetwork()
    receiver = network.host().bind()
    sender = network.host().bind()
    sender.send(bytes(65507), receiver.address)
    with pytest.raises(SimulationError, match="65508"):
        sender.send(bytes(65508), receiver.address)
    assert len(receiver.received) == 1


def test_an_empty_datagram_is_a_datagram() -> None:
    network = SimulatedNetwork()
    receiver = network.host().bind()
    network.host(up=Link(rate=10, latency=0.1)).bind().send(b"", receiver.address)
    network.run(1)
    assert [received.data for received in receiver.received] == [b""]


def test_a_host_reaches_itself_without_its_wire() -> None:
    network = SimulatedNetwork()
    host = network.host(up=Link(loss=1.0), down=Link(loss=1.0))
    one, other = host.bind(), host.bind()
    one.send(b"hello", other.address)
    assert [received.data for received in other.received] == [b"hello"]


def test_the_ecn_bits_arrive() -> None:
    network = SimulatedNetwork()
    receiver = network.host().bind()
    network.host().bind().send(b"hello", receiver.address, ecn=3)
    assert receiver.received[0].ecn == 3


def test_sockets_stay_open_when_a_host_moves() -> None:
    network = SimulatedNetwork()
    server = network.host("192.0.2.1").bind(80)
    home, office = network.nat("cone", "203.0.113.1"), network.nat("cone", "203.0.113.2")
    phone = network.host(behind=home)
    attachment = phone.attach(Listener(), port=1000)
    attachment.socket.send(b"home", server.address)
    phone.move(office.inside, "10.2.0.77")
    assert attachment.address == ("10.2.0.77", 1000)
    attachment.socket.send(b"office", server.address)
    assert [received.remote for received in server.received] == [("203.0.113.1", 1000), ("203.0.113.2", 1000)]
    server.send(b"to the old place", ("203.0.113.1", 1000))
    server.send(b"to the new place", ("203.0.113.2", 1000))
    network.run(1)
    assert [event[0] for event in attachment.events] == [b"to the new place"]
    assert network.drops == {"no route": 1}


def test_a_host_can_not_move_to_where_its_sockets_have_no_address() -> None:
    network = SimulatedNetwork()
    host = network.host("192.0.2.1")
    socket = host.bind(80)
    with pytest.raises(SimulationError, match="follow"):
        host.move(network.internet, "2001:db8::1")
    with pytest.raises(SimulationError, match="taken"):
        host.move(network.internet, network.host("192.0.2.9").address)
    network.host("192.0.2.2").bind().send(b"still here", socket.address)
    assert [received.data for received in socket.received] == [b"still here"]


def test_a_host_can_not_bind_what_it_has_not() -> None:
    host = SimulatedNetwork().host("192.0.2.1")
    with pytest.raises(SimulationError, match=r"192\.0\.2\.7"):
        host.bind(80, "192.0.2.7")
    with pytest.raises(SimulationError, match="port 70000"):
        host.bind(70000)
