from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.errors import PknetError, ProtocolError
from pknet.network.framing import DEFAULT_MAXIMUM, FrameReader, FrameTooLargeError, frame


def test_a_frame_is_its_length_and_its_payload() -> None:
    assert frame(b"hello") == b"\x00\x00\x00\x05hello"


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 50)))
def test_frames_arrive_whole_however_the_stream_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(payload) for payload in payloads)
    reader = FrameReader()
    received: list[bytes] = []
    start = 0
    for cut in [*cuts, len(stream)]:
        received += reader.receive_stream_data(stream[start : start + cut])
        start += cut
    assert received == payloads
    assert not reader.incomplete


def test_a_frame_that_is_cut_off_is_known_to_be_incomplete() -> None:
    reader = FrameReader()
    for size in (1, 4, 8):
        reader = FrameReader()
        assert reader.receive_stream_data(frame(b"hello")[:size]) == []
        assert reader.incomplete


def test_a_reader_that_takes_what_is_wanted_stops_where_the_frame_ends() -> None:
    stream = frame(b"hello") + b"what follows is no frame"
    reader = FrameReader()
    payloads: list[bytes] = []
    while not payloads:
        piece, stream = stream[: min(reader.wanted, 2)], stream[min(reader.wanted, 2) :]
        payloads = reader.receive_stream_data(piece)
    assert payloads == [b"hello"]
    assert stream == b"what follows is no frame"


def test_the_largest_frame_passes_and_one_byte_more_does_not() -> None:
    assert FrameReader().receive_stream_data(frame(bytes(DEFAULT_MAXIMUM))) == [bytes(DEFAULT_MAXIMUM)]
    with pytest.raises(FrameTooLargeError, match="16385 bytes"):
        FrameReader().receive_stream_data((DEFAULT_MAXIMUM + 1).to_bytes(4))


def test_a_length_is_refused_before_its_payload_is_waited_for() -> None:
    with pytest.raises(ProtocolError):
        FrameReader().receive_stream_data(b"\xff\xff\xff\xff")


def test_a_reader_that_failed_reads_no_further() -> None:
    reader = FrameReader(maximum=8)
    with pytest.raises(FrameTooLargeError):
        reader.receive_stream_data(frame(bytes(9)))
    with pytest.raises(FrameTooLargeError):
        reader.receive_stream_data(frame(b"fine"))
    assert not reader.incomplete  # and holds nothing


def test_a_payload_that_is_too_large_is_not_framed() -> None:
    with pytest.raises(PknetError):
        frame(bytes(9), maximum=8)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=10))
def test_no_stream_makes_a_reader_hold_more_than_a_frame(chunks: list[bytes]) -> None:
    reader = FrameReader(maximum=16)
    try:
        for chunk in chunks:
            assert all(len(payload) <= 16 for payload in reader.receive_stream_data(chunk))
            assert len(reader._buffer) < 4 + 16
    except FrameTooLargeError:
        assert len(reader._buffer) == 0
