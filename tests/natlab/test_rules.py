"""Each rule-set makes the NAT that its entry says, as plain sockets measure it."""

from collections.abc import Iterator
from socket import socket

import pytest

from tests.natlab import RULE_SETS, Behaviour, NatLab, missing_requirements

MISSING = missing_requirements()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason="the lab needs " + ", ".join(MISSING)),
]

Address = tuple[str, int]


@pytest.fixture(params=RULE_SETS)
def nat(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lab(nat: str) -> Iterator[NatLab]:
    with NatLab(nat, "dmz") as lab:
        yield lab


def mapped_address(agent: socket, server: socket) -> Address:
    """Return where the server sees the agent, as STUN would."""
    agent.sendto(b"binding request", server.getsockname())
    source: Address = server.recvfrom(100)[1]
    return source


def server_sockets(lab: NatLab) -> tuple[socket, socket, socket]:
    """Return a socket of the server, one with another port, and one with another address."""
    one, other = lab.server.addresses
    return lab.server.socket(3478, one), lab.server.socket(3479, one), lab.server.socket(3478, other)


def received_before(agent: socket, last: bytes) -> list[bytes]:
    """Return what the agent receives before `last`, which the network would not let overtake it."""
    return list(iter(lambda: agent.recv(100), last))


def test_a_mapping_depends_on_what_the_rule_set_says(nat: str, lab: NatLab) -> None:
    agent = lab.agent1.socket(1315)
    first, port_differs, address_differs = (mapped_address(agent, server) for server in server_sockets(lab))
    measured: Behaviour
    if first == port_differs == address_differs:
        measured = "endpoint-independent"
    elif first == port_differs:
        measured = "address-dependent"
    else:
        measured = "address-and-port-dependent"
    assert measured == RULE_SETS[nat].mapping


def test_the_agent_is_seen_at_the_routers_address_with_its_port_kept_or_not(nat: str, lab: NatLab) -> None:
    host, port = mapped_address(lab.agent1.socket(1315), server_sockets(lab)[0])
    assert host == lab.router1.address
    assert (port == 1315) == RULE_SETS[nat].keeps_port


def test_the_filter_lets_in_what_the_rule_set_says(nat: str, lab: NatLab) -> None:
    agent = lab.agent1.socket(1315)
    server, port_differs, address_differs = server_sockets(lab)
    mapped = mapped_address(agent, server)
    port_differs.sendto(b"from another port", mapped)
    address_differs.sendto(b"from another address", mapped)
    server.sendto(b"from whom the agent spoke to", mapped)
    admitted: dict[Behaviour, list[bytes]] = {
        "endpoint-independent": [b"from another port", b"from another address"],
        "address-dependent": [b"from another port"],
        "address-and-port-dependent": [],
    }
    assert received_before(agent, b"from whom the agent spoke to") == admitted[RULE_SETS[nat].filtering]


@pytest.mark.parametrize(("nat", "keeps_port"), [("cone", False), ("cone-firewalled", True)])
def test_only_a_firewall_keeps_an_early_packet_from_taking_the_agents_port(
    lab: NatLab, keeps_port: bool
) -> None:
    agent = lab.agent1.socket(1315)
    server, stranger, unused = server_sockets(lab)
    mapped = mapped_address(agent, server)
    stranger.sendto(b"too early", mapped)
    assert (mapped_address(agent, stranger) == mapped) == keeps_port
    # The address of new mappings is the changed one, while the old flow goes on telling the old one.
    assert (mapped_address(agent, unused) == mapped) == keeps_port
    assert mapped_address(agent, server) == mapped


def test_the_dmz_port_can_differ_from_the_agents() -> None:
    with NatLab("dmz", "dmz", agent_port=2000, dmz_port=3000) as lab:
        agent, server = lab.agent1.socket(2000), lab.server.socket(3478)
        server.sendto(b"unasked for", (lab.router1.address, 3000))
        assert agent.recv(100) == b"unasked for"
        assert mapped_address(agent, server) == (lab.router1.address, 3000)
