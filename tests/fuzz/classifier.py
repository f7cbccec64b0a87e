"""The classifier: the stretches of a run cover it, and each datagram is in one of its own kind."""

from __future__ import annotations

from pknet._core.classifier import DatagramKind, classify, classify_segments, is_utp
from pknet.errors import ProtocolError
from pknet.stun import is_stun, parse_message
from pknet.utp import parse_packet
from tests.fuzz.target_input import TargetInput


def one_input(data: bytes) -> None:
    source = TargetInput(data)
    segment_size = source.u8() + 1
    run = source.rest()
    at = 0
    before = None
    for kind, start, stop in classify_segments(run, segment_size):
        assert start == at < stop <= len(run)
        assert kind != before or kind == DatagramKind.STUN
        for first in range(start, stop, segment_size):
            datagram = run[first : min(first + segment_size, stop)]
            assert classify(datagram) == kind
            check(datagram, kind)
            if kind == DatagramKind.STUN:
                assert stop - start <= segment_size
        at, before = stop, kind
    assert at == len(run)


def check(datagram: bytes, kind: int) -> None:
    """What a codec takes must never be taken for something else."""
    assert is_stun(datagram) == (kind == DatagramKind.STUN)
    try:
        parse_message(datagram)
        assert kind == DatagramKind.STUN
    except ProtocolError:
        pass
    try:
        parse_packet(datagram)
        assert is_utp(datagram)
    except ProtocolError:
        pass
    if kind == DatagramKind.UTP:
        assert is_utp(datagram)
