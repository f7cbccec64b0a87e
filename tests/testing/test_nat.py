"""Each kind of NAT, by what hosts on both sides notice; what NATs do to each other is in test_clash.py."""

from dataclasses import replace

import pytest

from pknet.testing import (
    NATS,
    Address,
    Behaviour,
    Host,
    Link,
    NatBehaviour,
    SimulatedNetwork,
    SimulatedSocket,
    SimulationError,
    Traffic,
)

OUTSIDE = "203.0.113.11"


class Home:
    """A host behind a NAT, and two hosts outside with two sockets each."""

    def __init__(self, nat: str | NatBehaviour, seed: int = 0, trace: bool = False) -> None:
        self.network = SimulatedNetwork(seed, trace=trace)
        self.nat = self.network.nat(nat, OUTSIDE, inside="10.1.0.0/24")
        self.host: Host = self.network.host("10.1.0.2", behind=self.nat)
        self.socket = self.host.bind(1315)
        self.one, self.other = self.network.host("192.0.2.1"), self.network.host("192.0.2.2")
        self.outside = [self.one.bind(1), self.one.bind(2), self.other.bind(1), self.other.bind(2)]

    def mapped(self, to: SimulatedSocket, socket: SimulatedSocket | None = None) -> Address | None:
        """Send from inside, and return whom the receiver sees; None if it sees nothing."""
        (socket or self.socket).send(b"out", to.address)
        self.network.run(0.01)
        return to.received.pop().remote if to.received else None

    def reaches(
        self, sender: SimulatedSocket, mapped: Address, socket: SimulatedSocket | None = None
    ) -> bool:
        """Send from outside, and return whether it comes in."""
        sender.send(b"in", mapped)
        self.network.run(0.01)
        received = (socket or self.socket).received
        return bool(received) and received.pop().remote == sender.address


# name: the mapping behaviour, whether the port is kept, and who may send to a mapping besides the one that it
# was made for: another port of the same host; another host.
MEASURED: dict[str, tuple[Behaviour, bool, bool, bool]] = {
    "dmz": ("endpoint-independent", True, True, True),
    "cone": ("endpoint-independent", True, False, False),
    "symmetric": ("address-and-port-dependent", False, False, False),
    "cone-firewalled": ("endpoint-independent", True, False, False),
    "symmetric-firewalled": ("address-and-port-dependent", False, False, False),
    "full-cone": ("endpoint-independent", True, True, True),
    "address-restricted": ("endpoint-independent", True, True, False),
    "symmetric-sequential": ("address-and-port-dependent", False, False, False),
    "address-dependent": ("address-dependent", False, False, False),
    "cgnat": ("endpoint-independent", False, False, False),
    "port-block": ("endpoint-independent", False, False, False),
    "one-to-one": ("endpoint-independent", True, True, True),
}


def test_every_nat_is_measured_here() -> None:
    assert NATS.keys() == MEASURED.keys() | {"firewall", "no-udp"}


@pytest.mark.parametrize("name", MEASURED)
def test_the_mapping_is_what_the_name_says(name: str) -> None:
    home = Home(name)
    mapping, keeps_port, _, _ = MEASURED[name]
    first, port, host, _ = (home.mapped(socket) for socket in home.outside)
    assert first is not None
    assert first[0] == OUTSIDE
    assert (first[1] == 1315) == keeps_port
    assert (first == port) == (mapping != "address-and-port-dependent")
    assert (first == host) == (mapping == "endpoint-independent")
    # And what was mapped once stays so.
    assert home.mapped(home.outside[0]) == first


@pytest.mark.parametrize("name", MEASURED)
def test_the_filtering_is_what_the_name_says(name: str) -> None:
    home = Home(name)
    _, _, other_port, other_host = MEASURED[name]
    mapped = home.mapped(home.outside[0])
    assert mapped is not None
    assert home.reaches(home.outside[0], mapped)
    assert home.reaches(home.outside[1], mapped) == other_port
    assert home.reaches(home.outside[2], mapped) == other_host


@pytest.mark.parametrize("name", MEASURED)
def test_whom_the_inside_writes_to_may_answer(name: str) -> None:
    home = Home(name)
    for socket in home.outside:
        mapped = home.mapped(socket)
        assert mapped is not None
        assert home.reaches(socket, mapped)


@pytest.mark.parametrize("name", MEASURED)
def test_before_anything_was_sent_only_a_dmz_and_a_one_to_one_nat_let_something_in(name: str) -> None:
    home = Home(name)
    assert home.reaches(home.outside[0], (OUTSIDE, 1315)) == (name in {"dmz", "one-to-one"})


def test_a_dmz_lets_in_one_port_and_a_one_to_one_nat_all() -> None:
    for name, let_in in (("dmz", False), ("one-to-one", True)):
        home = Home(name)
        second = home.host.bind(4000)
        assert home.reaches(home.outside[0], (OUTSIDE, 4000), second) == let_in


def test_all_that_leaves_a_dmz_leaves_by_its_port() -> None:
    home = Home(replace(NATS["dmz"][0], dmz=(5000, 1315)))
    second = home.host.bind(4000)
    assert home.mapped(home.outside[0]) == (OUTSIDE, 5000)
    assert home.mapped(home.outside[1], second) == (OUTSIDE, 5000)
    assert home.reaches(home.outside[2], (OUTSIDE, 5000))
    # Both can't talk to one peer from one port.
    assert home.mapped(home.outside[0], second) is None
    assert home.nat.drops == {"no port is free": 1}


def test_a_dmz_without_a_host_is_a_router_alone() -> None:
    network = SimulatedNetwork()
    network.nat("dmz", OUTSIDE)
    network.host().bind().send(b"hello", (OUTSIDE, 1315))
    assert network.drops == {"for the router itself": 1}


def test_a_firewall_leaves_addresses_alone_and_lets_in_answers_only() -> None:
    network = SimulatedNetwork()
    wall = network.nat("firewall", OUTSIDE, inside="198.18.5.0/24")
    host = network.host(behind=wall)
    inside, outside, stranger = host.bind(1), network.host("192.0.2.1").bind(1), network.host().bind(1)
    outside.send(b"unasked", inside.address)
    inside.send(b"hello", outside.address)
    outside.send(b"answer", inside.address)
    stranger.send(b"unasked", inside.address)
    assert host.address == "198.18.5.2"
    assert [received.remote for received in outside.received] == [inside.address]
    assert [received.data for received in inside.received] == [b"answer"]
    assert wall.drops == {"refused by the firewall": 2}


@pytest.mark.parametrize(
    ("filtering", "other_port", "other_host"),
    [
        (None, True, True),
        ("endpoint-independent", True, True),
        ("address-dependent", True, False),
        ("address-and-port-dependent", False, False),
    ],
)
def test_a_router_without_nat_filters_as_it_is_told(
    filtering: Behaviour | None, other_port: bool, other_host: bool
) -> None:
    network = SimulatedNetwork()
    wall = network.nat(NatBehaviour(translates=False, filtering=filtering))
    inside = network.host(behind=wall).bind(1)
    one = network.host("192.0.2.1")
    asked, port, stranger = one.bind(1), one.bind(2), network.host().bind(1)
    stranger.send(b"before", inside.address)
    inside.send(b"hello", asked.address)
    for socket in (asked, port, stranger):
        socket.send(b"in", inside.address)
    came = [(received.data, received.remote) for received in inside.received]
    assert ((b"before", stranger.address) in came) == (filtering is None)
    assert (b"in", asked.address) in came
    assert ((b"in", port.address) in came) == other_port
    assert ((b"in", stranger.address) in came) == other_host


def test_ipv6_is_filtered_but_not_translated() -> None:
    network = SimulatedNetwork()
    home = network.nat("cone", OUTSIDE, inside=["10.1.0.0/24", "2001:db8:1::/64"])
    host = network.host("10.1.0.2", "2001:db8:1::2", behind=home)
    four, six = host.bind(1315), host.bind(1315, "2001:db8:1::2")
    outside = network.host("192.0.2.1", "2001:db8::1")
    outside_four, outside_six = outside.bind(1), outside.bind(1, "2001:db8::1")
    stranger = network.host("2001:db8::2").bind(1)
    four.send(b"four", outside_four.address)
    six.send(b"six", outside_six.address)
    assert outside_four.received[0].remote == (OUTSIDE, 1315)
    assert outside_six.received[0].remote == ("2001:db8:1::2", 1315)
    outside_six.send(b"answer", six.address)
    stranger.send(b"unasked", six.address)
    assert [received.data for received in six.received] == [b"answer"]


def test_no_udp_passes_in_neither_direction() -> None:
    home = Home("no-udp")
    assert home.mapped(home.outside[0]) is None
    home.nat.map_port(1315, home.socket.address)
    assert not home.reaches(home.outside[0], (OUTSIDE, 1315))
    assert home.nat.drops == {"UDP is blocked": 2}


def test_a_router_does_not_begin_to_translate_while_it_runs() -> None:
    home = Home("cone")
    with pytest.raises(SimulationError, match="translate"):
        home.nat.behaviour = NATS["firewall"][0]


def test_udp_that_is_blocked_later_is_blocked_in_flows_that_were_there() -> None:
    home = Home("cone")
    assert home.mapped(home.outside[0]) is not None
    home.nat.behaviour = NATS["no-udp"][0]
    assert home.mapped(home.outside[0]) is None


def test_a_sequential_nat_takes_the_next_port_for_each_flow() -> None:
    home = Home("symmetric-sequential")
    ports = [mapped[1] for socket in home.outside if (mapped := home.mapped(socket))]
    assert ports == list(range(ports[0], ports[0] + 4))


def test_a_sequential_nat_starts_over_at_the_end_of_its_ports() -> None:
    behaviour = replace(NATS["symmetric-sequential"][0], port_range=(2000, 2002))
    home = Home(behaviour)
    ports = [mapped[1] for socket in home.outside if (mapped := home.mapped(socket))]
    assert sorted(ports[:3]) == [2000, 2001, 2002]
    assert ports[3] == ports[0]


def test_a_random_nat_takes_ports_from_the_whole_range() -> None:
    home = Home("symmetric")
    remote = home.network.host("192.0.2.9")
    ports = [mapped[1] for _ in range(500) if (mapped := home.mapped(remote.bind()))]
    assert min(ports) >= 1024
    assert len(set(ports)) > 490
    # Uniform: each third of the range has its share, within five standard deviations.
    for third in range(3):
        share = sum(1 for port in ports if third * 21504 <= port - 1024 < (third + 1) * 21504)
        assert abs(share - 500 / 3) < 5 * (500 * 2 / 9) ** 0.5


def test_a_port_block_keeps_a_port_that_is_in_it_and_else_picks_one() -> None:
    home = Home("port-block")
    inside_block = home.host.bind(40007)
    assert home.mapped(home.outside[0], inside_block) == (OUTSIDE, 40007)
    mapped = home.mapped(home.outside[0])
    assert mapped is not None
    assert 40000 <= mapped[1] <= 40099


def test_a_port_block_runs_out() -> None:
    home = Home(NatBehaviour(port_range=(40000, 40002)))
    mapped = [home.mapped(home.outside[0], home.host.bind()) for _ in range(4)]
    assert {address[1] for address in mapped if address} == {40000, 40001, 40002}
    assert mapped[3] is None
    assert home.nat.drops == {"no port is free": 1}


def test_the_second_host_with_the_same_port_gets_another_towards_the_same_peer() -> None:
    home = Home("cone")
    second = home.network.host(behind=home.nat).bind(1315)
    assert home.mapped(home.outside[0]) == (OUTSIDE, 1315)
    mapped = home.mapped(home.outside[0], second)
    assert mapped is not None
    assert mapped != (OUTSIDE, 1315)
    assert home.reaches(home.outside[0], mapped, second)
    # And keeps that one towards others.
    assert home.mapped(home.outside[2], second) == mapped


def test_a_symmetric_nat_that_preserves_ports_does_so_for_one_peer() -> None:
    home = Home(NatBehaviour(mapping="address-and-port-dependent", port_allocation="preserving"))
    mapped = [home.mapped(socket) for socket in home.outside]
    assert mapped[0] == (OUTSIDE, 1315)
    assert len(set(mapped)) == 4


def test_a_cone_may_choose_ports_at_random() -> None:
    home = Home(NatBehaviour(port_allocation="random"))
    mapped = {home.mapped(socket) for socket in home.outside}
    assert len(mapped) == 1
    assert (OUTSIDE, 1315) not in mapped


def silence(name: str, streamed: bool, refresh_inbound: bool, pause: float) -> bool:
    """Return whether an answer still comes in after a pause, or after several with something in between."""
    home = Home(name)
    mapped = home.mapped(home.outside[0])
    assert mapped is not None
    if streamed:
        for _ in range(3):
            assert home.reaches(home.outside[0], mapped)
            home.network.run(1.5)
            home.mapped(home.outside[0])
    for _ in range(5 if refresh_inbound else 1):
        home.network.run(pause)
        if not home.reaches(home.outside[0], mapped):
            return False
    return True


@pytest.mark.parametrize("refresh_inbound", [False, True])
@pytest.mark.parametrize("name", ["cone", "symmetric", "cone-firewalled", "address-restricted"])
def test_a_mapping_lives_as_long_as_linux_keeps_it_and_inbound_traffic_refreshes_it(
    name: str, refresh_inbound: bool
) -> None:
    if name != "address-restricted":
        assert not silence(name, streamed=False, refresh_inbound=refresh_inbound, pause=31.0)
        assert not silence(name, streamed=True, refresh_inbound=refresh_inbound, pause=121.0)
    assert silence(name, streamed=False, refresh_inbound=refresh_inbound, pause=29.0)
    assert silence(name, streamed=True, refresh_inbound=refresh_inbound, pause=119.0)


@pytest.mark.parametrize(("pause", "open_still"), [(299.0, True), (301.0, False)])
def test_a_full_cone_stays_open_for_strangers_for_five_minutes_after_the_last_packet_out(
    pause: float, open_still: bool
) -> None:
    home = Home("full-cone")
    mapped = home.mapped(home.outside[0])
    assert mapped is not None
    home.network.run(pause)
    assert home.reaches(home.outside[3], mapped) == open_still


def test_a_restricted_nat_forgets_each_contact_in_its_own_time() -> None:
    home = Home("address-restricted")
    mapped = home.mapped(home.outside[0])
    assert mapped is not None
    home.network.run(250)
    assert home.mapped(home.outside[2]) == mapped
    home.network.run(45)
    assert home.reaches(home.outside[1], mapped)
    home.network.run(31)
    assert not home.reaches(home.outside[1], mapped)
    assert home.reaches(home.outside[3], mapped)


def test_lifetimes_can_be_chosen() -> None:
    home = Home(NatBehaviour(unreplied_lifetime=5.0))
    mapped = home.mapped(home.outside[0])
    assert mapped is not None
    home.network.run(6.0)
    assert not home.reaches(home.outside[0], mapped)


@pytest.mark.parametrize("name", MEASURED)
def test_no_nat_of_the_table_has_a_hairpin(name: str) -> None:
    home = Home(name)
    second = home.network.host(behind=home.nat).bind(1315)
    mapped = home.mapped(home.outside[0])
    assert mapped is not None
    second.send(b"neighbour", mapped)
    home.network.run(0.01)
    assert home.socket.received == []


def test_with_a_hairpin_two_hosts_meet_through_their_public_addresses() -> None:
    home = Home(replace(NATS["cone"][0], hairpin=True))
    second = home.network.host(behind=home.nat).bind(2000)
    mapped, mapped_second = home.mapped(home.outside[0]), home.mapped(home.outside[0], second)
    assert mapped is not None
    assert mapped_second is not None
    second.send(b"hello", mapped)
    # RFC 4787, REQ-9: it comes from the public address of the sender.
    assert [(received.data, received.remote) for received in home.socket.received] == [
        (b"hello", mapped_second)
    ]
    home.socket.send(b"answer", mapped_second)
    assert [(received.data, received.remote) for received in second.received] == [(b"answer", mapped)]


def test_a_hairpin_does_not_reach_a_port_that_nobody_has() -> None:
    home = Home(replace(NATS["cone"][0], hairpin=True))
    home.socket.send(b"hello", (OUTSIDE, 999))
    assert home.nat.drops == {"for the router itself": 1}


def test_a_forwarded_port_lets_everyone_in_until_it_is_taken_back() -> None:
    home = Home("symmetric-firewalled")
    home.nat.map_port(5000, home.socket.address)
    assert home.reaches(home.outside[0], (OUTSIDE, 5000))
    home.socket.send(b"answer", home.outside[0].address)
    assert home.outside[0].received[0].remote == (OUTSIDE, 5000)
    home.nat.unmap_port(5000)
    assert not home.reaches(home.outside[1], (OUTSIDE, 5000))
    with pytest.raises(SimulationError, match="5000"):
        home.nat.unmap_port(5000)


def test_a_flush_ends_all_mappings() -> None:
    for name in ("cone", "full-cone", "address-restricted"):
        home = Home(name)
        mapped = home.mapped(home.outside[0])
        assert mapped is not None
        home.nat.flush()
        assert home.nat.flows() == []
        assert not home.reaches(home.outside[0], mapped)
    assert home.mapped(home.outside[1]) == (OUTSIDE, 1315)
    assert home.reaches(home.outside[1], (OUTSIDE, 1315))


def test_a_new_outside_address_ends_all_mappings_and_makes_new_ones() -> None:
    home = Home("cone")
    assert home.mapped(home.outside[0]) == (OUTSIDE, 1315)
    home.nat.set_address("203.0.113.99")
    assert home.nat.address == "203.0.113.99"
    assert not home.reaches(home.outside[0], (OUTSIDE, 1315))
    assert not home.reaches(home.outside[0], ("203.0.113.99", 1315))
    assert home.network.drops["no route"] == 1
    assert home.mapped(home.outside[1]) == ("203.0.113.99", 1315)
    assert home.reaches(home.outside[1], ("203.0.113.99", 1315))


def test_an_outside_address_that_is_taken_is_refused() -> None:
    home = Home("cone")
    with pytest.raises(SimulationError, match="taken"):
        home.nat.set_address(home.one.address)
    assert home.mapped(home.outside[0]) == (OUTSIDE, 1315)


def test_a_nat_counts_what_it_forwards_for_each_peer() -> None:
    home = Home("cone")
    one, other = home.outside[0], home.outside[1]
    home.socket.send(b"four", one.address)
    home.socket.send(b"sixsix", other.address)
    one.send(b"ab", (OUTSIDE, 1315))
    one.send(b"refused", (OUTSIDE, 99))
    assert home.nat.traffic[one.address] == Traffic(1, 4, 1, 2)
    assert home.nat.traffic[other.address] == Traffic(1, 6, 0, 0)
    assert home.nat.traffic_with("192.0.2.1") == Traffic(2, 10, 1, 2)
    assert home.nat.traffic_with("192.0.2.2") == Traffic()


def test_a_full_table_of_flows_stops_new_flows_only() -> None:
    home = Home(NatBehaviour(max_flows=2))
    assert [home.mapped(socket) is not None for socket in home.outside] == [True, True, False, False]
    assert home.mapped(home.outside[0]) is not None
    assert home.nat.drops == {"table of flows full": 2}


def test_a_nat_behind_a_nat_maps_twice() -> None:
    network = SimulatedNetwork()
    carrier = network.nat("symmetric", "203.0.113.50", inside="100.64.0.0/24")
    home = network.nat("cone", behind=carrier)
    inside = network.host(behind=home).bind(1315)
    outside = network.host().bind()
    inside.send(b"hello", outside.address)
    mapped = outside.received[0].remote
    assert (home.address, home.outer, home.public_address) == ("100.64.0.2", carrier, "203.0.113.50")
    assert mapped[0] == "203.0.113.50"
    assert mapped[1] != 1315
    outside.send(b"answer", mapped)
    assert [received.remote for received in inside.received] == [outside.address]
    assert [flow.outside for flow in home.flows()] == [("100.64.0.2", 1315)]
    assert [flow.outside for flow in carrier.flows()] == [mapped]


def test_two_homes_of_one_carrier_reach_each_other_below_its_nat() -> None:
    network = SimulatedNetwork()
    carrier = network.nat("symmetric-firewalled", "203.0.113.50", inside="100.64.0.0/24")
    homes = [network.nat("full-cone", behind=carrier) for _ in range(2)]
    sockets = [network.host(behind=home).bind(1315) for home in homes]
    for socket, other in ((0, 1), (1, 0)):
        sockets[socket].send(b"hello", (homes[other].address, 1315))
    assert [received.remote[0] for received in sockets[0].received] == [homes[1].address]
    assert carrier.traffic == {}


def test_a_chain_of_nats_is_made_by_name_and_its_innermost_returned() -> None:
    network = SimulatedNetwork()
    home = network.nat("cgnat", "203.0.113.50", up=Link(latency=0.5), name="home")
    assert home.outer is not None
    assert (home.name, home.outer.address, home.public_address) == ("home", "203.0.113.50", "203.0.113.50")
    assert home.up is None
    assert network.nats == [home.outer, home]
    outside = network.host().bind()
    network.host(behind=home).bind().send(b"hello", outside.address)
    network.run(1)
    assert [received.time for received in outside.received] == [0.5]


def test_both_wires_of_a_nat_delay() -> None:
    network = SimulatedNetwork()
    home = network.nat("cone", up=Link(latency=0.1), down=Link(latency=0.2))
    inside, outside = network.host(behind=home).bind(), network.host().bind()
    inside.send(b"hello", outside.address)
    network.run(1)
    outside.send(b"answer", outside.received[0].remote)
    network.run(1)
    assert [received.time for received in outside.received] == [0.1]
    assert [received.time for received in inside.received] == [1.2]


def test_a_host_that_already_talks_to_a_peer_sees_it_on_another_port_when_it_comes_by_a_second_mapping() -> (
    None
):
    home = Home("full-cone")
    peer = home.outside[0]
    # The router has a flow of its own with the peer, so that the host's flow gets another port than 1315.
    peer.send(b"early", (OUTSIDE, 1315))
    assert home.mapped(home.outside[2]) == (OUTSIDE, 1315)
    second = home.mapped(peer)
    assert second not in {None, (OUTSIDE, 1315)}
    home.network.run(25)
    home.mapped(peer)
    home.network.run(10)
    # The router's own flow is over, that of the host is not; the first mapping is still open to all.
    peer.send(b"again", (OUTSIDE, 1315))
    again = home.socket.received.pop()
    assert again.remote[0] == peer.address[0]
    assert again.remote != peer.address
    home.socket.send(b"answer", again.remote)
    assert peer.received.pop().remote == (OUTSIDE, 1315)


def test_a_ttl_that_ends_at_a_nat_makes_no_mapping_there_and_one_that_ends_behind_it_does() -> None:
    for ttl, mappings in ((1, 0), (2, 1)):
        home = Home("cone")
        home.socket.send(b"hello", home.outside[0].address, ttl=ttl)
        assert len(home.nat.flows()) == mappings
        assert home.outside[0].received == []


@pytest.mark.parametrize(
    "values",
    [
        {"mapping": "cone"},
        {"filtering": "none"},
        {"port_allocation": "parity"},
        {"port_range": (2000, 1000)},
        {"port_range": (0, 1000)},
    ],
)
def test_behaviours_that_do_not_exist_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(SimulationError):
        NatBehaviour(**values)  # type: ignore[arg-type]


def test_a_name_that_no_nat_has_is_refused() -> None:
    with pytest.raises(SimulationError, match="no NAT is called 'moat'; there are dmz, cone"):
        SimulatedNetwork().nat("moat")
    with pytest.raises(SimulationError, match="chain"):
        SimulatedNetwork().nat([])


def test_nats_get_addresses_and_insides_of_their_own() -> None:
    network = SimulatedNetwork()
    nats = [network.nat("cone") for _ in range(3)]
    assert [nat.address for nat in nats] == ["203.0.113.11", "203.0.113.12", "203.0.113.13"]
    assert len({network.host(behind=nat).address for nat in nats}) == 3


def test_a_prefix_that_is_full_is_an_error() -> None:
    network = SimulatedNetwork()
    home = network.nat("cone", inside="10.9.9.0/30")
    network.host(behind=home)
    with pytest.raises(SimulationError, match=r"no address is free in 10\.9\.9\.0/30"):
        network.host(behind=home)
