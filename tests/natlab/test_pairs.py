"""Real nodes, each a process of its own, behind real NATs: who meets whom directly.

What should happen is written down here beforehand. That a stream was direct is proved by the routers'
counters, not by what the nodes say.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.natlab import Counters, NatLab
from tests.natlab.node import PAYLOAD, payload

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

# One way from any router or the server to any other, in seconds; between them is one hop, as in any real
# network.
LATENCY = 0.010
LABS_AT_ONCE = 3

DIRECT, NONE = True, False

# fmt: off
NATS = ("dmz", "cone", "symmetric", "cone-firewalled", "symmetric-firewalled")
# The node behind the NAT of the row connects to the one behind the NAT of the column. A symmetric NAT and one
# that filters by address and port can't meet: neither side can know the port that the other's packets come
# from.
EXPECTED = {
    #                        dmz     cone    symmetric  cone-fw  symmetric-fw
    "dmz":                  (DIRECT, DIRECT, DIRECT,    DIRECT,  DIRECT),
    "cone":                 (DIRECT, DIRECT, NONE,      DIRECT,  NONE),
    "symmetric":            (DIRECT, NONE,   NONE,      NONE,    NONE),
    "cone-firewalled":      (DIRECT, DIRECT, NONE,      DIRECT,  NONE),
    "symmetric-firewalled": (DIRECT, NONE,   NONE,      NONE,    NONE),
}
# fmt: on
PAIRS = {(one, other): EXPECTED[one][NATS.index(other)] for one in NATS for other in NATS}


@dataclass(frozen=True)
class Outcome:
    """What the fetching node said, and what the two routers counted."""

    news: dict[str, Any]
    counters: tuple[Counters, Counters]


def meet(one: str, other: str, *, hops: int = 1) -> Outcome:
    """Have a node behind `one` fetch the payload from a node behind `other`."""

    def start(place: Any, *arguments: str) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = place.popen(
            [sys.executable, "-m", "tests.natlab.node", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        return process

    def hear(process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        news: dict[str, Any] = json.loads(process.stdout.readline())
        return news

    with NatLab(one, other, latency=LATENCY, hops=hops) as lab:
        rendezvous = hear(start(lab.server, "serve"))["node_id"]
        ticket = hear(start(lab.agent2, "provide", rendezvous, lab.server.address, "1315"))["ticket"]
        news = hear(start(lab.agent1, "fetch", ticket))
        return Outcome(news, (lab.router1.counters(), lab.router2.counters()))


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[tuple[str, str], Future[Outcome]]]:
    """All pairs, several labs side by side."""
    with ThreadPoolExecutor(LABS_AT_ONCE) as pool:
        yield {pair: pool.submit(meet, *pair) for pair in PAIRS}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_nodes_meet_where_theory_lets_them(
    one: str, other: str, outcomes: dict[tuple[str, str], Future[Outcome]]
) -> None:
    outcome = outcomes[one, other].result()
    if PAIRS[one, other] is DIRECT:
        assert_direct(outcome)
    else:
        assert_refused_in_words(outcome)


def test_bare_cones_recover_from_the_clash_with_no_hop_between_them() -> None:
    # Without a hop an opener reaches the other router, and takes the port there; only fresh sockets help.
    assert_direct(meet("cone", "cone", hops=0))


def assert_direct(outcome: Outcome) -> None:
    assert outcome.news.get("sha256") == hashlib.sha256(payload()).hexdigest(), outcome.news
    near, far = outcome.counters
    assert near.from_peer.bytes > PAYLOAD
    assert far.to_peer.bytes > PAYLOAD
    for router in outcome.counters:
        assert router.to_server.bytes + router.from_server.bytes < PAYLOAD / 100


def assert_refused_in_words(outcome: Outcome) -> None:
    assert "no direct path, because" in outcome.news["error"]
    assert "symmetric" in outcome.news["error"]
    for router in outcome.counters:
        # Checks were sent and nothing else.
        assert router.to_peer.bytes < 10_000
        assert router.to_server.bytes + router.from_server.bytes < PAYLOAD / 100
