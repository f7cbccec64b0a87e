from __future__ import annotations

import pytest

from pknet import Transmit
from pknet_io.outbox import MAX_WAITING, TRANSMIT_COST, Outbox

PEER = ("192.0.2.1", 1)


class FullSocket:
    """A socket that has room for so many transmits."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.dropped = 0

    def send(self, transmit: Transmit) -> bool:
        if self.room:
            self.room -= 1
            self.sent.append(transmit.data)
            return True
        return False

    def drop(self, transmit: Transmit) -> None:
        self.dropped += 1


def test_what_there_is_no_room_for_is_sent_in_order_when_there_is():
    socket = FullSocket(room=1)
    outbox = Outbox(socket)
    assert [outbox.send(Transmit(b"%d" % number, PEER)) for number in range(4)] == [False, True, False, False]
    socket.room = 2
    assert not outbox.flush()
    # What comes later does not overtake what waits.
    socket.room = 5
    assert not outbox.send(Transmit(b"4", PEER))
    assert socket.sent == [b"0", b"1", b"2"]
    assert outbox.flush()
    assert socket.sent == [b"0", b"1", b"2", b"3", b"4"]
    socket.room = 0
    assert outbox.send(Transmit(b"5", PEER))


@pytest.mark.parametrize("size", [20, 65_000])
def test_no_more_waits_than_memory_is_meant_for_it(size):
    socket = FullSocket()
    outbox = Outbox(socket)
    fit = MAX_WAITING // (size + TRANSMIT_COST)
    for _ in range(fit + 3):
        outbox.send(Transmit(bytes(size), PEER))
    assert socket.dropped == 3
    # What has left makes room for as much.
    socket.room = 3
    outbox.flush()
    for _ in range(4):
        outbox.send(Transmit(bytes(size), PEER))
    assert socket.dropped == 4
