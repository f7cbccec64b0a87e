"""Real streams between kernels, over paths that carry less than Ethernet, with their ICMP and without."""

import itertools
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from tests.natlab.clean import namespace_name, removed_at_the_end
from tests.natlab.namespace import Namespace

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

HEADERS = {4: 28, 6: 48}
ETHERNET = 1500
# What PathMtu may leave on the table.
FOUND_WITHIN = 16
ROUNDS = 8

# RFC 792 and RFC 4443: without these, what is too long just vanishes.
BLACK_HOLE = """
table inet silence {
    chain output {
        type filter hook output priority 0
        icmp type destination-unreachable drop
        icmpv6 type packet-too-big drop
    }
}
"""

_numbers = itertools.count(1000)


class NarrowPath:
    """Two hosts, and two routers between them whose wire to each other has an MTU that can be set.

    left -- router1 ====== router2 -- right
    10.9.1.2                      10.9.3.2
    fd09:1::2                     fd09:3::2
    """

    def __init__(self, mtu: int, *, says_so: bool) -> None:
        number = next(_numbers)
        roles = ("left", "router1", "router2", "right")
        self.nodes = [Namespace(namespace_name(number, role)) for role in roles]
        self.left, self.router1, self.router2, self.right = self.nodes
        self._mtu = mtu
        self._says_so = says_so
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # unwinds what was built if the rest fails
            stack.enter_context(removed_at_the_end([node.name for node in self.nodes]))
            for node in self.nodes:
                node.create()
                for scope in "all", "default":
                    node.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 0)
                stack.callback(node.close)
            self._build()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._exit.close()

    def narrow(self, mtu: int) -> None:
        """Set what the wire between the routers carries, in bytes of IP."""
        self.router1.ip(f"link set right mtu {mtu}")
        self.router2.ip(f"link set left mtu {mtu}")

    def _build(self) -> None:
        for one, other in itertools.pairwise(self.nodes):
            one.ip(f"link add right type veth peer name left netns {other.name}")
        for node, interface, network, host in (
            (self.left, "right", 1, 2),
            (self.router1, "left", 1, 1),
            (self.router1, "right", 2, 1),
            (self.router2, "left", 2, 2),
            (self.router2, "right", 3, 1),
            (self.right, "left", 3, 2),
        ):
            node.ip(
                # Each datagram a packet of its own, as on a real wire.
                f"link set {interface} gso_max_segs 1",
                f"link set {interface} up",
                f"address add 10.9.{network}.{host}/24 dev {interface}",
                f"address add fd09:{network}::{host}/64 dev {interface} nodad",
            )
        for node in self.router1, self.router2:
            node.sysctl("net/ipv4/ip_forward", 1)
            node.sysctl("net/ipv6/conf/all/forwarding", 1)
            if not self._says_so:
                node.nft(BLACK_HOLE)
        self.left.ip("route add default via 10.9.1.1", "route add default via fd09:1::1")
        self.router1.ip("route add 10.9.3.0/24 via 10.9.2.2", "route add fd09:3::/64 via fd09:2::2")
        self.router2.ip("route add 10.9.1.0/24 via 10.9.2.1", "route add fd09:1::/64 via fd09:2::1")
        self.right.ip("route add default via 10.9.3.1", "route add default via fd09:3::1")
        self.narrow(self._mtu)
        for node in self.nodes[:-1]:
            node.await_carrier("right")
        for node in self.nodes[1:]:
            node.await_carrier("left")


class Talk:
    """A stream from left to right and back, each end a process of its own."""

    def __init__(self, path: NarrowPath, adapter: str, version: int, ceiling: int) -> None:
        host = "10.9.3.2" if version == 4 else "fd09:3::2"
        self._serving = self._start(path.right, adapter, str(ceiling), host)
        port = self._news(self._serving)["port"]
        self._fetching = self._start(path.left, adapter, str(ceiling), host, str(port))

    def arrived(self) -> dict[str, Any]:
        """Wait until the payload has gone there and back; return what the stream says of it."""
        return self._news(self._fetching)

    def go_on(self) -> None:
        """Have it done once more."""
        assert self._fetching.stdin is not None
        self._fetching.stdin.write("\n")
        self._fetching.stdin.flush()

    def _start(self, node: Namespace, *arguments: str) -> "subprocess.Popen[str]":
        process: subprocess.Popen[str] = node.popen(
            [sys.executable, "-m", "tests.natlab.echo", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        return process

    def _news(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the program ended without a word"
        news: dict[str, Any] = json.loads(line)
        return news


def ceiling_for(version: int, says_so: bool) -> int:
    """Return what a program may ask for: all that Ethernet carries.

    But not over IPv6 where ICMP is silenced: neither routers nor Linux fragment what is too long there, so
    what was lost would stay so.
    """
    return ETHERNET - HEADERS[version] if version == 4 or says_so else 1232


def assert_finds(talk: Talk, largest: int) -> dict[str, Any]:
    """Have the payload go there and back until packets are as long as they may be; return what came last.

    Each probe takes a round trip, and on a fast path a payload takes few.
    """
    for _ in range(ROUNDS):
        news = talk.arrived()
        assert news["whole"]
        if largest - FOUND_WITHIN < news["max_datagram"] <= largest:
            return news
        talk.go_on()
    pytest.fail(f"packets should be {largest} bytes long, and are {news['max_datagram']}")


pytestmark += [
    pytest.mark.parametrize("adapter", ["asyncio", "blocking"]),
    pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"]),
    pytest.mark.parametrize("says_so", [True, False], ids=["ICMP", "black hole"]),
]


def test_a_stream_finds_out_what_a_tunnel_carries(adapter: str, version: int, says_so: bool) -> None:
    # IPv6 knows no less than 1280.
    mtu = 1000 if version == 4 else 1280
    ceiling = ceiling_for(version, says_so)
    with NarrowPath(mtu, says_so=says_so) as path:
        talk = Talk(path, adapter, version, ceiling)
        news = assert_finds(talk, min(mtu - HEADERS[version], ceiling))
    # The narrow wire is none of the host's own.
    assert news["refused"] == 0


def test_a_stream_goes_on_where_a_path_narrows_under_way(adapter: str, version: int, says_so: bool) -> None:
    ceiling = ceiling_for(version, says_so)
    with NarrowPath(ETHERNET, says_so=says_so) as path:
        talk = Talk(path, adapter, version, ceiling)
        assert_finds(talk, ceiling)
        path.narrow(1300)
        talk.go_on()
        assert_finds(talk, min(1300 - HEADERS[version], ceiling))


def test_a_host_whose_own_interface_is_narrow_is_told_at_once(
    adapter: str, version: int, says_so: bool
) -> None:
    ceiling = ETHERNET - HEADERS[version]
    with NarrowPath(ETHERNET, says_so=says_so) as path:
        for host, interface in (path.left, "right"), (path.right, "left"):
            host.ip(f"link set {interface} mtu 1400")
        talk = Talk(path, adapter, version, ceiling)
        news = talk.arrived()
    assert news["whole"]
    assert news["max_datagram"] == 1400 - HEADERS[version]
    assert news["refused"] == 1
