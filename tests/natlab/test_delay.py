"""Delayed wires carry what is put into one end to the other, whole, in order, and late."""

import os
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from tests.natlab.delay import DelayedWires

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs descriptors that select can wait for")

DELAY = 0.02


@pytest.fixture
def plugs() -> Iterator[list[socket.socket]]:
    """Two wires between sockets that keep frames apart, as TAP interfaces do: [0] to [1], and [2] to [3]."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(4)]
    ours = [pair[0] for pair in pairs]
    theirs = [pair[1] for pair in pairs]
    for sock in ours:
        sock.settimeout(5)
    for sock in theirs:
        sock.setblocking(False)
    one, two, three, four = (sock.detach() for sock in theirs)
    wires = DelayedWires([(one, two), (three, four)], DELAY)
    yield ours
    wires.close()
    for sock in ours:
        sock.close()


def test_frames_come_out_at_the_other_end_in_order(plugs: list[socket.socket]) -> None:
    frames = [b"frame %d" % number for number in range(100)]
    for frame in frames:
        plugs[0].send(frame)
    assert [plugs[1].recv(2048) for _ in frames] == frames


def test_both_directions_and_all_wires_carry(plugs: list[socket.socket]) -> None:
    for index, other in (0, 1), (1, 0), (2, 3), (3, 2):
        plugs[index].send(b"to %d" % other)
    assert [plug.recv(2048) for plug in plugs] == [b"to 0", b"to 1", b"to 2", b"to 3"]


def test_a_frame_is_late_by_the_delay(plugs: list[socket.socket]) -> None:
    sent = time.monotonic()
    plugs[0].send(b"frame")
    plugs[1].recv(2048)
    assert DELAY <= time.monotonic() - sent < DELAY + 1


def test_the_ends_are_taken_over_and_closed_with_the_wires() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = theirs.detach()
    wires = DelayedWires([(descriptor, end.detach())], DELAY)
    with pytest.raises(OSError):
        os.fstat(descriptor)
    wires.close()
    wires.close()  # harmless
    with ours, other:
        assert ours.recv(2048) == b""  # the last copy of the far end is gone
