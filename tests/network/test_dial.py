"""One dial: what is tried when, when it has failed, and why that is said to be."""

from __future__ import annotations

from typing import Any

import pytest

from pknet.nat import PathFound
from pknet.network import NodeId, NodeInfo
from pknet.network.dial import DIAL_TIMEOUT, DIRECT_PATIENCE, KNOWN_PATH_PATIENCE, Dials

PEER = NodeId("a" * 52)
NEAR, FAR = ("10.0.0.9", 1315), ("203.0.113.9", 1315)


class Stream:
    """What a dial knows of its stream."""

    def __init__(self) -> None:
        self.is_open = False
        self.close_reason: object = None
        self.secure: object = None
        self.failure: str | None = None
        self.attempts_left = 0

    def fail(self, failure: str, now: float) -> None:
        self.failure = failure
        self.close_reason = "refused"


class Meeting:
    """What a dial knows of its meeting."""

    def __init__(self) -> None:
        self.is_over = False
        self.path: PathFound | None = None
        self.failure: str | None = None

    def end(self, *, path: PathFound | None = None, failure: str | None = None) -> None:
        self.is_over, self.path, self.failure = True, path, failure


class Host:
    """A node as its dials see it."""

    def __init__(self, *addresses: tuple[str, int], path: Any = None, can_dial: bool = True) -> None:
        self.now = 10.0
        self.path = path
        self.can_dial = can_dial
        self.dialled: list[Any] = []
        self.begun: list[Meeting] = []
        self.cancelled: list[Meeting] = []
        self.meetings: Any = self
        self.dials = Dials(self)
        self.stream: Any = Stream()
        self.dials.begin(self.stream, NodeInfo(PEER, addresses), self.now)
        self.dials.work(self.now)

    def path_to(self, node_id: NodeId) -> Any:
        return self.path

    def dial(self, stream: Any, remote: Any, local: Any) -> None:
        if self.can_dial:
            self.dialled.append((remote, local))
            stream.attempts_left += 1

    def begin(self, peer: NodeId, secret: bytes, now: float) -> Any:
        self.begun.append(Meeting())
        return self.begun[-1]

    def cancel(self, meeting: Any, reason: str, now: float) -> None:
        self.cancelled.append(meeting)

    def drop(self, why: str) -> None:
        """Have one attempt fail."""
        self.stream.attempts_left -= 1
        self.stream.failure = why
        self.dials.work(self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.dials.next_timeout()) is not None and due <= end:
            self.now = due
            self.dials.handle_timeout(due)
            self.dials.work(due)
            moved = self.dials.next_timeout()
            assert moved is None or moved > due
        self.now = end


def test_every_address_and_a_meeting_are_tried_at_once() -> None:
    host = Host(NEAR, FAR)
    assert host.dialled == [(NEAR, None), (FAR, None)]
    assert len(host.begun) == 1


def test_a_path_that_is_known_is_tried_alone_and_then_everything() -> None:
    host = Host(NEAR, path=(FAR, "local"))
    assert host.dialled == [(FAR, "local")]
    assert host.begun == []
    host.run(KNOWN_PATH_PATIENCE - 0.01)
    assert host.begun == []
    host.run(0.02)
    assert host.dialled[1:] == [(NEAR, None)]
    assert len(host.begun) == 1


def test_a_known_path_that_breaks_at_once_is_not_waited_for() -> None:
    host = Host(NEAR, path=(FAR, "local"))
    host.drop("reset by the peer")
    assert len(host.begun) == 1


def test_the_path_that_the_meeting_finds_is_dialled_once() -> None:
    host = Host()
    host.begun[0].end(path=PathFound(FAR, "fresh", 0.1))
    host.dials.work(host.now)
    host.dials.work(host.now)
    assert host.dialled == [(FAR, "fresh")]
    host.stream.is_open = True
    host.dials.work(host.now)
    assert len(host.dials) == 0
    assert host.stream.failure is None


def test_a_path_that_breaks_at_once_is_said_to_have() -> None:
    host = Host()
    host.begun[0].end(path=PathFound(FAR, None, 0.1))
    host.dials.work(host.now)
    host.drop("the peer is node x, expected was node y")
    assert host.stream.failure == (
        "the path that was found broke at once: the peer is node x, expected was node y"
    )


def test_a_meeting_that_failed_ends_a_dial_that_has_no_addresses() -> None:
    host = Host()
    host.begun[0].end(failure="no direct path, because")
    host.dials.work(host.now)
    assert host.stream.failure == "no direct path, because"


def test_addresses_have_a_little_time_after_the_meeting_failed() -> None:
    host = Host(NEAR)
    host.begun[0].end(failure="no rendezvous")
    host.dials.work(host.now)
    assert host.stream.failure is None
    host.run(DIRECT_PATIENCE + 0.01)
    assert host.stream.failure == (
        "no rendezvous; not reached at its own addresses (10.0.0.9 port 1315): no answer"
    )


def test_addresses_that_have_all_failed_are_not_waited_for() -> None:
    host = Host(NEAR)
    host.drop("refused by the peer")
    host.begun[0].end(failure="no rendezvous")
    host.dials.work(host.now)
    assert host.stream.failure == (
        "no rendezvous; not reached at its own addresses (10.0.0.9 port 1315): refused by the peer"
    )


def test_addresses_that_nothing_can_be_sent_to_are_not_said_to_be_silent() -> None:
    host = Host(("::1", 1315), can_dial=False)
    host.begun[0].end(failure="no rendezvous")
    host.dials.work(host.now)
    assert host.stream.failure == (
        "no rendezvous; not reached at its own addresses (::1 port 1315):"
        " no address of a kind that this node can reach"
    )


def test_addresses_that_failed_do_not_end_a_dial_whose_meeting_goes_on() -> None:
    host = Host(NEAR)
    host.drop("refused by the peer")
    host.run(DIRECT_PATIENCE + 5)
    assert host.stream.close_reason is None


def test_many_addresses_are_not_all_named() -> None:
    host = Host(*((f"10.0.0.{number}", 1) for number in range(1, 8)))
    for _ in range(7):
        host.drop("no")
    host.begun[0].end()
    host.dials.work(host.now)
    assert host.stream.failure is not None
    assert "10.0.0.4 port 1 and 3 more)" in host.stream.failure
    assert "10.0.0.5" not in host.stream.failure


@pytest.mark.parametrize("proven", [False, True])
def test_no_dial_takes_longer_than_its_time(proven: bool) -> None:
    host = Host(NEAR)
    if proven:
        # The peer has proved its key, and then says nothing.
        host.stream.secure = object()
    host.run(DIAL_TIMEOUT - 0.01)
    assert host.stream.close_reason is None
    host.run(0.02)
    assert host.stream.failure is not None
    assert host.stream.failure.endswith("it does not answer")
    assert host.dials.next_timeout() is None


@pytest.mark.parametrize("how", ["opened", "given up"])
def test_a_stream_that_is_open_or_given_up_calls_the_meeting_off(how: str) -> None:
    host = Host(NEAR)
    if how == "opened":
        host.stream.is_open = True
    else:
        host.stream.close_reason = "aborted"
    host.dials.work(host.now)
    assert host.cancelled == host.begun
    assert len(host.dials) == 0


def test_all_dials_end_when_the_node_stops() -> None:
    host = Host(NEAR)
    host.dials.stop(host.now)
    assert host.stream.failure == "the node was stopped"
    assert host.cancelled == host.begun
    assert host.dials.next_timeout() is None


def test_a_peer_that_has_proved_its_key_and_says_nothing_is_waited_for_quietly() -> None:
    host = Host(FAR, path=(FAR, None))
    host.stream.secure = object()
    due = host.dials.next_timeout()
    assert due == host.now + DIAL_TIMEOUT
