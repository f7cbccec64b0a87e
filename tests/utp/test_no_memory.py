"""Memory that runs out in the midst of something: an exception, and nothing is half done."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import pytest

from pknet._core.utp_invariants import check_connection
from tests.utp.peer import DATA, SEGMENT, Peer

_testcapi: Any = pytest.importorskip("_testcapi", reason="no allocator can be told to fail")

STREAM = Random(5).randbytes(6 * SEGMENT + 100)


def fails_at(number: int, peer: Peer) -> bool:
    """Have one allocation fail while an endpoint sends what is due; return whether it got as far as that."""
    transmits = peer.endpoint.transmits
    _testcapi.set_nomemory(number, number + 1)
    try:
        transmits()
    except MemoryError:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False


@pytest.mark.parametrize("is_sent_again", [False, True])
def test_what_there_was_no_memory_to_send_arrives_all_the_same(is_sent_again: bool) -> None:
    failures = 0
    for number in count(1):
        peer = Peer()
        connection = peer.dial_and_prove()
        connection.send(STREAM, peer.now)
        if is_sent_again:
            peer.take()
            peer.sent.clear()
            peer.ack_nr -= 7
            peer.now += 2
            peer.endpoint.handle_timeout(peer.now)
        failed = fails_at(number, peer)
        failures += failed
        check_connection(connection)
        # It is done as soon as the endpoint is asked again, with no timer and no packet to help.
        peer.take()
        assert connection.in_flight > 0
        for _ in range(20):
            peer.pass_time(1)
            peer.state()
        assert connection.unacknowledged == 0
        arrived = {packet.seq_nr: packet.payload for _, packet in peer.sent if packet.type == DATA}
        assert b"".join(arrived[seq_nr] for seq_nr in sorted(arrived)) == STREAM
        if not failed and number > failures + 5:
            break
    # With an allocator that keeps no free objects at hand; with Python's own there are two or one more.
    assert failures >= (3 if is_sent_again else 4)
