"""Two machines wired to each other."""

import pytest

from pknet.testing import Link, pair
from tests.testing.machines import Listener, Mirror, Quiet, SegmentListener


def test_two_machines_reach_each_other_over_the_link() -> None:
    wired = pair(Listener(), Mirror(), Link(latency=0.1))
    wired.a.machine.send(b"hello", wired.b.address)
    wired.a.kick()
    wired.network.run(1)
    assert wired.a.events == [(b"192.0.2.1 1315", ("192.0.2.2", 1315), None, pytest.approx(0.2))]


def test_each_direction_has_a_wire_of_its_own() -> None:
    wired = pair(Listener(), Mirror(), Link(rate=1000), Link(latency=0.5), port=9)
    for _ in range(2):
        wired.a.machine.send(bytes(100), wired.b.address)
    wired.a.kick()
    wired.network.run(2)
    assert [event[3] for event in wired.a.events] == pytest.approx([0.6, 0.7])
    assert (wired.a_to_b.datagrams, wired.b_to_a.datagrams) == (2, 2)


def test_one_link_makes_two_wires_that_do_not_share_a_queue() -> None:
    link = Link(rate=1000, queue=100)
    wired = pair(Listener(), Listener(), link)
    for sender, receiver in ((wired.a, wired.b), (wired.b, wired.a)):
        sender.machine.send(bytes(100), receiver.address)
        sender.kick()
    wired.network.run(1)
    assert (len(wired.a.events), len(wired.b.events)) == (1, 1)
    assert link.datagrams == 0


def test_both_machines_can_be_listened_to() -> None:
    heard: list[object] = []
    wired = pair(Listener(), Quiet(), on_event_a=heard.append, start=50.0, seed=1)
    wired.b.machine.send(b"hello", wired.a.address)
    wired.b.kick()
    wired.network.run(1)
    assert heard == wired.a.events == [(b"hello", wired.b.address, None, 50.0)]


def test_both_machines_can_be_given_segments() -> None:
    wired = pair(SegmentListener(), SegmentListener(), receive_segments=True, trace=True)
    wired.a.machine.send(bytes(300), wired.b.address, segment_size=100)
    wired.a.kick()
    wired.network.run(1)
    assert wired.b.events == [(bytes(300), 100, wired.a.address, None, 0.0)]
    assert len(wired.network.trace) == 6


def test_a_wire_can_be_cut_and_mended() -> None:
    wired = pair(Listener(), Mirror())
    for loss in (0.0, 1.0, 0.0):
        wired.a_to_b.loss = loss
        wired.a.machine.send(b"hello", wired.b.address)
        wired.a.kick()
        wired.network.run(1)
    assert [event[3] for event in wired.a.events] == [0.0, 2.0]
