"""The lab's network: who reaches whom, how late, over how many hops, and that nothing of it remains."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.natlab import NatLab, Router, missing_requirements

MISSING = missing_requirements(latency=0.01)
needs_lab = pytest.mark.skipif(bool(MISSING), reason="the lab needs " + ", ".join(MISSING))


def interfaces_of_the_machine() -> set[str]:
    """Return the names of the interfaces outside of all labs."""
    links = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
    return {line.split(": ")[1] for line in links.splitlines()}


def traces() -> set[str]:
    """Return what labs of this process could leave: namespaces, interfaces of the machine, processes."""
    namespaces = {path.name for path in Path("/run/netns").glob(f"pknat-{os.getpid()}-*")}
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return namespaces | interfaces_of_the_machine() | set(children)


@pytest.mark.root
@needs_lab
@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize("latency", [0.0, 0.005])
def test_the_first_datagram_of_every_pair_arrives(latency: float, hops: int) -> None:
    with NatLab("dmz", "dmz", latency=latency, hops=hops) as lab:
        agent1, agent2 = lab.agent1.socket(1315), lab.agent2.socket(1315)
        server, server2 = lab.server.socket(1315), lab.server.socket(1315, lab.server.addresses[1])
        at_router1, at_router2 = (lab.router1.address, 1315), (lab.router2.address, 1315)
        for source, destination, target in [
            (agent1, at_router2, agent2),
            (agent2, at_router1, agent1),
            (agent1, server.getsockname(), server),
            (agent2, server2.getsockname(), server2),
            (server, at_router1, agent1),
            (server2, at_router2, agent2),
        ]:
            source.sendto(b"hello", destination)
            assert target.recv(100) == b"hello"


@pytest.mark.root
@needs_lab
@pytest.mark.parametrize("hops", [0, 1])
def test_a_datagram_takes_as_long_as_asked(hops: int) -> None:
    with NatLab("dmz", "dmz", latency=0.03, hops=hops) as lab:
        agent1, agent2, server = lab.agent1.socket(1315), lab.agent2.socket(1315), lab.server.socket(3478)
        for sock, destination in [
            (agent2, (lab.router2.address, 1315)),
            (server, server.getsockname()),
        ]:
            sent = time.monotonic()
            agent1.sendto(b"ping", destination)
            sock.recv(100)
            assert 0.03 <= time.monotonic() - sent < 0.3


@pytest.mark.root
@needs_lab
@pytest.mark.parametrize("hops", [0, 1])
def test_a_datagram_needs_a_ttl_for_each_router_on_its_way(hops: int) -> None:
    with NatLab("dmz", "dmz", hops=hops) as lab:
        agent1, agent2 = lab.agent1.socket(1315), lab.agent2.socket(1315)
        for ttl in 1 + hops, 2 + hops, 3 + hops:
            agent1.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            agent1.sendto(b"%d" % ttl, (lab.router2.address, 1315))
        assert agent2.recv(100) == b"%d" % (3 + hops)


def set_ttl_two(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)


def set_timestamp_that_overflows_at_the_second_router(sock: socket.socket) -> None:
    """Set the option of RFC 791, section 3.1: no room for a timestamp, and an overflow count of 14 of 15."""
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([68, 4, 5, 14 << 4]))


@pytest.mark.root
@needs_lab
@pytest.mark.parametrize(
    ("limit_reach", "hops"),
    [
        (set_ttl_two, 1),
        (set_timestamp_that_overflows_at_the_second_router, 0),
        (set_timestamp_that_overflows_at_the_second_router, 1),
    ],
)
def test_an_opener_opens_its_own_nat_and_dies_before_it_can_clash_in_the_other(
    limit_reach: Callable[[socket.socket], None], hops: int
) -> None:
    with NatLab("cone", "cone", hops=hops) as lab:
        agent1, agent2 = lab.agent1.socket(1315), lab.agent2.socket(1315)
        to_agent1, to_agent2 = (lab.router1.address, 1315), (lab.router2.address, 1315)
        for opener, destination in (agent1, to_agent2), (agent2, to_agent1):
            limit_reach(opener)
            opener.sendto(b"opener", destination)
            opener.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
            opener.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"")
        agent1.sendto(b"punch", to_agent2)
        assert agent2.recvfrom(100) == (b"punch", to_agent1)
        agent2.sendto(b"punch", to_agent1)
        assert agent1.recvfrom(100) == (b"punch", to_agent2)


@pytest.mark.root
@needs_lab
def test_labs_stand_side_by_side_and_do_not_hear_each_other() -> None:
    with NatLab("cone", "cone") as one, NatLab("cone", "cone") as other:
        servers = one.server.socket(3478), other.server.socket(3478)
        for name, lab in (b"one", one), (b"other", other):
            lab.agent1.socket().sendto(name, (lab.server.address, 3478))
        assert [server.recv(100) for server in servers] == [b"one", b"other"]


@pytest.mark.root
@needs_lab
def test_the_lab_has_no_way_to_the_machines_own_network() -> None:
    before = interfaces_of_the_machine()
    with NatLab("cone", "dmz", hops=1) as lab:
        assert interfaces_of_the_machine() == before
        for node in lab.router1, lab.router2, lab.server, lab.internet:
            found = node.run(["ip", "route", "get", "198.51.100.1"], check=False, capture_output=True)
            assert found.returncode != 0


@pytest.mark.root
@needs_lab
def test_a_program_runs_inside_under_its_own_process_id() -> None:
    with NatLab("cone", "cone") as lab:
        script = "import os, socket; socket.create_server(('10.1.0.2', 0)).close(); print(os.getpid())"
        process = lab.agent1.popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert int(process.communicate()[0]) == process.pid


@pytest.mark.root
@needs_lab
@pytest.mark.parametrize("latency", [0.0, 0.01])
def test_nothing_is_left_after_the_with_block(latency: float) -> None:
    before = traces()
    with NatLab("cone", "symmetric", latency=latency) as lab:
        sock = lab.agent1.socket()
        process = lab.agent1.popen(["sleep", "600"], stdout=subprocess.PIPE)
        deaf = lab.agent2.popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 600; done"])
        assert traces() > before
    assert traces() <= before
    assert sock.fileno() == -1
    assert process.returncode is not None
    assert deaf.returncode is not None


@pytest.mark.root
@needs_lab
def test_nothing_is_left_when_the_with_block_raises() -> None:
    before = traces()
    with pytest.raises(KeyboardInterrupt), NatLab("cone", "cone", latency=0.01):
        raise KeyboardInterrupt
    assert traces() <= before


@pytest.mark.root
@needs_lab
def test_nothing_is_left_when_the_lab_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Router, script: str) -> None:
        raise RuntimeError("no nft today")

    before = traces()
    monkeypatch.setattr(Router, "nft", fail)
    with pytest.raises(RuntimeError, match="no nft today"), NatLab("cone", "cone", latency=0.01):
        pass
    assert traces() <= before


def test_an_unknown_nat_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'cube'"):
        NatLab("cone", "cube")


def test_more_hops_than_one_are_refused() -> None:
    with pytest.raises(ValueError, match="hops"):
        NatLab("cone", "cone", hops=2)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda command: None if command == "nft" else f"/sbin/{command}")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert missing_requirements() == ["root", "the command nft"]
    assert missing_requirements(latency=0.1) == ["root", "the command nft", "/dev/net/tun"]


def test_another_system_than_linux_is_missing_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert missing_requirements() == ["Linux"]
