"""The trace: what a person reads when a test has failed."""

from pknet.testing import Link, SimulatedNetwork


def traced() -> SimulatedNetwork:
    network = SimulatedNetwork(trace=True)
    server = network.host("192.0.2.1", name="server").bind(80)
    home = network.nat("cone", "203.0.113.11", name="home")
    client = network.host("10.1.0.2", behind=home, up=Link(latency=0.5), name="client").bind(1000)
    client.send(b"hello", server.address)
    network.run(1)
    server.send(b"unasked", ("203.0.113.11", 999))
    return network


def test_a_trace_tells_what_happened_to_each_datagram() -> None:
    inside, outside, server = ("10.1.0.2", 1000), ("203.0.113.11", 1000), ("192.0.2.1", 80)
    assert traced().trace == [
        (0.0, "sent", inside, server, 5, "client", ""),
        (0.5, "translated", outside, server, 5, "home", ""),
        (0.5, "received", outside, server, 5, "server", ""),
        (1.0, "sent", server, ("203.0.113.11", 999), 7, "server", ""),
        (1.0, "dropped", server, ("203.0.113.11", 999), 7, "home", "for the router itself"),
    ]


def test_a_trace_prints_as_a_table() -> None:
    assert str(traced().trace).splitlines() == [
        "time      event       from               to                bytes  where   reason",
        "0.000000  sent        10.1.0.2:1000      192.0.2.1:80      5      client",
        "0.500000  translated  203.0.113.11:1000  192.0.2.1:80      5      home",
        "0.500000  received    203.0.113.11:1000  192.0.2.1:80      5      server",
        "1.000000  sent        192.0.2.1:80       203.0.113.11:999  7      server",
        "1.000000  dropped     192.0.2.1:80       203.0.113.11:999  7      home    for the router itself",
    ]


def test_an_empty_trace_prints_its_heads() -> None:
    assert str(SimulatedNetwork(trace=True).trace).split() == [
        "time", "event", "from", "to", "bytes", "where", "reason"
    ]  # fmt: skip


def test_the_drops_can_be_asked_for() -> None:
    assert [(drop.where, drop.reason) for drop in traced().trace.drops()] == [
        ("home", "for the router itself")
    ]


def test_a_wire_is_named_by_its_owner_unless_it_has_a_name() -> None:
    network = SimulatedNetwork(trace=True)
    receiver = network.host("192.0.2.9").bind()
    for up in (Link(loss=1.0), Link(loss=1.0, name="the submarine cable")):
        network.host(up=up, name="island").bind().send(b"hello", receiver.address)
    assert [drop.where for drop in network.trace.drops()] == ["island up", "the submarine cable"]


def test_ipv6_addresses_are_written_in_brackets() -> None:
    network = SimulatedNetwork(trace=True)
    host = network.host("2001:db8::1")
    host.bind(80).send(b"hello", ("2001:db8::2", 90))
    assert "[2001:db8::1]:80  [2001:db8::2]:90" in str(network.trace)


def test_nothing_is_traced_until_it_is_asked_for() -> None:
    network = SimulatedNetwork()
    one, other = network.host().bind(), network.host().bind()
    one.send(b"hello", other.address)
    assert network.trace == []
    network.tracing = True
    one.send(b"hello", other.address)
    assert [entry.event for entry in network.trace] == ["sent", "received"]
