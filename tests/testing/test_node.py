"""Whole nodes in the simulated network: what tests of programs can rely on."""

from __future__ import annotations

from pknet.network import NodeInfo, PublicAddressChanged, Purpose
from pknet.testing import Link, SimulatedNetwork
from pknet.testing.node import SimulatedNode, echo


def test_the_example_works() -> None:
    network = SimulatedNetwork(seed=1)
    rendezvous = SimulatedNode(network, network.host("192.0.2.1"), introduces=True)
    server = SimulatedNode(
        network, network.host(behind=network.nat("cone")), rendezvous=[rendezvous], service=echo
    )
    client = SimulatedNode(network, network.host(behind=network.nat("symmetric")))
    assert network.run_until(lambda: server.node.registered_with, timeout=5)
    stream = client.connect(server.info(direct=False))
    assert network.run_until(lambda: stream.is_open or stream.closed, timeout=30)
    assert stream.failure is not None


def test_two_nodes_in_the_open_talk() -> None:
    network = SimulatedNetwork(seed=1)
    server = SimulatedNode(network, network.host(), service=echo)
    client = SimulatedNode(network, network.host())
    stream = client.connect(server.info())
    # What is sent before the stream is open waits.
    stream.send(b"hello")
    assert network.run_until(lambda: stream.received == b"hello", timeout=5)
    stream.finish()
    assert network.run_until(lambda: stream.closed, timeout=5)
    assert server.streams[0].closed


def test_a_run_depends_on_the_seed_alone_in_sizes_and_times() -> None:
    def run(seed: int) -> list[tuple[float, str, int]]:
        network = SimulatedNetwork(seed, trace=True)
        wires = {"up": Link(0.01, jitter=0.005, loss=0.05), "down": Link(0.01)}
        server = SimulatedNode(network, network.host(**wires), service=echo)  # type: ignore[arg-type]
        client = SimulatedNode(network, network.host())
        stream = client.connect(server.info())
        network.run_until(lambda: stream.is_open, timeout=30)
        stream.send(bytes(50_000))
        network.run_until(lambda: len(stream.received) == 50_000, timeout=60)
        return [(entry.time, entry.event, entry.length) for entry in network.trace]

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_merged_datagrams_serve_as_well() -> None:
    network = SimulatedNetwork(seed=1)
    server = SimulatedNode(network, network.host(), service=echo, receive_segments=True)
    client = SimulatedNode(network, network.host(), receive_segments=True)
    stream = client.connect(server.info())
    assert network.run_until(lambda: stream.is_open, timeout=5)
    stream.send(bytes(1 << 20))
    assert network.run_until(lambda: len(stream.received) == 1 << 20, timeout=30)


def test_a_reader_can_pause() -> None:
    network = SimulatedNetwork(seed=1)
    server = SimulatedNode(network, network.host())
    client = SimulatedNode(network, network.host())
    stream = client.connect(server.info())
    assert network.run_until(lambda: stream.is_open, timeout=5)
    server.streams[0].is_paused = True
    stream.send(b"hello")
    network.run(1)
    assert server.streams[0].received == b""
    server.streams[0].resume()
    assert server.streams[0].take() == b"hello"
    assert server.streams[0].take() == b""


def test_a_node_that_vanished_leaves_its_port_to_another() -> None:
    network = SimulatedNetwork(seed=1)
    host = network.host()
    first = SimulatedNode(network, host)
    first.vanish()
    second = SimulatedNode(network, host, private_key=first.identity.private_key)
    assert second.node_id == first.node_id
    assert second.address == first.address


def test_what_a_node_tells_is_kept() -> None:
    network = SimulatedNetwork(seed=1)
    rendezvous = SimulatedNode(network, network.host("192.0.2.1"), introduces=True)
    nat = network.nat("cone")
    node = SimulatedNode(network, network.host(behind=nat), rendezvous=[rendezvous])
    network.run(5)
    told = [event for event in node.events if isinstance(event, PublicAddressChanged)]
    assert [event.public_address.address for event in told] == [(nat.address, 1315)]
    assert len(rendezvous.attachment.sockets) == 2


def test_an_association_is_opened_by_its_purpose() -> None:
    network = SimulatedNetwork(seed=1)
    server = SimulatedNode(network, network.host())
    client = SimulatedNode(network, network.host())
    stream = client.connect(NodeInfo(server.node_id, (server.address,)), Purpose.ASSOCIATION)
    assert network.run_until(lambda: stream.is_open, timeout=5)
    assert server.streams == []
