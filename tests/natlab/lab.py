"""The lab: two agents behind two NATs and a server, in network namespaces of one Linux machine."""

import itertools
import os
import shutil
import sys
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.natlab.clean import namespace_name, removed_at_the_end
from tests.natlab.counters import TABLE, Counters, counting_rules, parse_counters
from tests.natlab.delay import DelayedWires
from tests.natlab.namespace import Namespace
from tests.natlab.rules import RULE_SETS

_INTERNET = "203.0.113.254"  # what the internet calls itself when it is a router, in its ICMP errors
_NETWORK = 24  # bits of every network in the lab

_lab_numbers = itertools.count()


def missing_requirements(latency: float = 0.0) -> list[str]:
    """Return what this machine lacks to build a lab with this latency; nothing, if it can."""
    if sys.platform != "linux":
        return ["Linux"]
    missing = [] if os.geteuid() == 0 else ["root"]
    missing += [f"the command {command}" for command in ("ip", "nft") if shutil.which(command) is None]
    if latency > 0 and not Path("/dev/net/tun").exists():
        missing.append("/dev/net/tun")
    return missing


class Router(Namespace):
    """A router between an agent and the internet. Its `address` is the outside one."""

    def counters(self) -> Counters:
        """Return what this router has forwarded so far."""
        return parse_counters(
            self.run(["nft", "--json", "list", "counters", "table", "ip", TABLE], capture_output=True).stdout
        )


class NatLab:
    """Two agents, each behind a router that is the NAT asked for by name, and a server with two addresses.

        agent1 -- router1 ------ internet ------ router2 -- agent2
        10.1.0.2  203.0.113.11       |      203.0.113.12   10.2.0.2
                                  server
                         203.0.113.1 and 203.0.113.2

    It is a context manager: the network is there inside the with block, and nothing of it afterwards. No part
    of it has a way to the machine's own network. Any number of labs can stand side by side.

    `latency` is the time in seconds from any of router1, router2 and server to any other. With `hops` = 1 the
    internet is a router, at which a packet's TTL can run out; with 0 it is a switch. `agent_port` and
    `dmz_port` are the UDP ports that "dmz" joins. With `gso` = False every datagram crosses as a packet of
    its own, as on a real wire, and is counted as one; True is faster.
    """

    def __init__(
        self,
        nat1: str,
        nat2: str,
        *,
        latency: float = 0.0,
        hops: int = 0,
        agent_port: int = 1315,
        dmz_port: int = 1315,
        gso: bool = False,
    ) -> None:
        if hops not in {0, 1}:
            raise ValueError(f"hops is 0 or 1, not {hops}")
        for nat in nat1, nat2:
            if nat not in RULE_SETS:
                raise ValueError(f"no rule-set is called {nat!r}")
        self._nats = nat1, nat2
        self._latency = latency
        self._hops = hops
        self._agent_port = agent_port
        self._dmz_port = dmz_port
        self._gso = gso
        number = next(_lab_numbers)
        self.agent1 = Namespace(namespace_name(number, "agent1"), "10.1.0.2")
        self.agent2 = Namespace(namespace_name(number, "agent2"), "10.2.0.2")
        self.router1 = Router(namespace_name(number, "router1"), "203.0.113.11")
        self.router2 = Router(namespace_name(number, "router2"), "203.0.113.12")
        self.server = Namespace(namespace_name(number, "server"), "203.0.113.1", "203.0.113.2")
        self.internet = Namespace(namespace_name(number, "internet"), _INTERNET)
        self._outside = {"router1": self.router1, "router2": self.router2, "server": self.server}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # unwinds what was built if the rest fails
            self._build(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def _build(self, stack: ExitStack) -> None:
        namespaces = (self.agent1, self.agent2, *self._outside.values(), self.internet)
        stack.enter_context(removed_at_the_end([namespace.name for namespace in namespaces]))
        for namespace in namespaces:
            namespace.create()
        self._lay_wires(stack)
        # The agents are the last to be added, so they end first, while the network still carries.
        for namespace in reversed(namespaces):
            stack.callback(namespace.close)
        self._join_outside()
        for agent, router, peer, nat in (
            (self.agent1, self.router1, self.router2, self._nats[0]),
            (self.agent2, self.router2, self.router1, self._nats[1]),
        ):
            self._join_agent(agent, router)
            router.nft(counting_rules("ext", self.server.addresses, peer.address))
            rules = RULE_SETS[nat].script(
                AGENT_HOST=agent.address,
                AGENT_PORT=self._agent_port,
                ROUTER_EXT="ext",
                ROUTER_EXT_IP=router.address,
                DMZ_PORT=self._dmz_port,
            )
            router.nft(rules)
        self._await_carrier()

    def _lay_wires(self, stack: ExitStack) -> None:
        """Lay a wire from each outside node to the internet: `ext` there, the node's role here."""
        if self._latency > 0:
            wires = []
            for role, node in self._outside.items():
                wires.append((node.open_tap("ext"), self.internet.open_tap(role)))
            # A packet takes two of them.
            stack.callback(DelayedWires(wires, self._latency / 2).close)
        else:
            for role, node in self._outside.items():
                _add_veth(node, "ext", self.internet, role)

    def _join_outside(self) -> None:
        """Give the outside nodes their addresses, and make the internet a switch or a router between them.

        Neighbours are permanent: looking one up over a long wire would hold back the first packet to it, and
        when that one arrives is what hole punching is about.
        """
        for node in self._outside.values():
            node.ip(
                f"link set ext address {_mac(node.address)}",
                *self._link_up("ext"),
                *(f"address add {address}/{_NETWORK} dev ext" for address in node.addresses),
            )
            for other in self._outside.values():
                if other is not node:
                    next_mac = _mac(_INTERNET if self._hops else other.address)
                    node.ip(*_neighbours(other.addresses, next_mac, "ext"))
        if self._hops:
            self.internet.sysctl("net/ipv4/ip_forward", 1)
            self.internet.ip(f"address add {_INTERNET}/32 dev lo")
            for role, node in self._outside.items():
                self.internet.ip(
                    f"link set {role} address {_mac(_INTERNET)}",
                    *self._link_up(role),
                    *(f"route add {address} dev {role}" for address in node.addresses),
                    *_neighbours(node.addresses, _mac(node.address), role),
                )
        else:
            self.internet.ip("link add switch type bridge", "link set switch up")
            for role in self._outside:
                self.internet.ip(f"link set {role} master switch", *self._link_up(role))

    def _join_agent(self, agent: Namespace, router: Router) -> None:
        """Join an agent to its router, which is the first address of their network and its way out."""
        gateway = IPv4Address(agent.address) - 1
        _add_veth(agent, "ext", router, "int")
        router.sysctl("net/ipv4/ip_forward", 1)
        router.ip(*self._link_up("int"), f"address add {gateway}/{_NETWORK} dev int")
        agent.ip(
            *self._link_up("ext"),
            f"address add {agent.address}/{_NETWORK} dev ext",
            f"route add default via {gateway}",
        )

    def _await_carrier(self) -> None:
        """See to it that every link carries packets from now on."""
        for node in (self.agent1, self.agent2, self.router1, self.router2, self.server):
            node.await_carrier("ext")
        for router in (self.router1, self.router2):
            router.await_carrier("int")
        for role in self._outside:
            self.internet.await_carrier(role)

    def _link_up(self, interface: str) -> list[str]:
        cut = [] if self._gso else [f"link set {interface} gso_max_segs 1"]
        return [*cut, f"link set {interface} up"]


def _add_veth(one: Namespace, interface: str, other: Namespace, peer_interface: str) -> None:
    one.ip(f"link add {interface} type veth peer name {peer_interface} netns {other.name}")


def _neighbours(addresses: tuple[str, ...], mac: str, interface: str) -> list[str]:
    return [f"neighbour add {address} lladdr {mac} dev {interface} nud permanent" for address in addresses]


def _mac(address: str) -> str:
    """Return a locally administered MAC address made of the IP address."""
    return "02:00:" + IPv4Address(address).packed.hex(":")
