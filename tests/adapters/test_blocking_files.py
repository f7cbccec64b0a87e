"""Files over streams of the blocking adapter; each test runs over TCP sockets too."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from tests.adapters.ends import KINDS, Ends, ends_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(params=list(KINDS))
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with ends_of(request.param) as made:
        yield made


def test_lines_of_text_go_both_ways(ends: Ends) -> None:
    ours, theirs = ends
    with ours.makefile("rw", encoding="utf-8", newline="\r\n") as file, theirs.makefile("rwb") as raw:
        assert file.mode == "rw"
        file.write("wer da?\n")
        file.flush()
        assert raw.readline() == b"wer da?\r\n"
        raw.write("ich, natürlich\r\n".encode())
        raw.flush()
        assert file.readline() == "ich, natürlich\r\n"


@pytest.mark.parametrize(
    ("mode", "buffering", "kind"),
    [
        ("r", None, io.TextIOWrapper),
        ("w", None, io.TextIOWrapper),
        ("b", None, io.BufferedReader),
        ("rb", -1, io.BufferedReader),
        ("wb", 10, io.BufferedWriter),
        ("rwb", None, io.BufferedRWPair),
        ("rwb", 0, io.RawIOBase),
    ],
)
def test_the_mode_makes_the_file(ends: Ends, mode: str, buffering: int | None, kind: type) -> None:
    with ends[0].makefile(mode, buffering) as file:
        assert isinstance(file, kind)
        assert file.writable() == ("w" in mode)
        assert file.readable() == ("r" in mode or "w" not in mode)


def test_a_wrong_mode_is_refused_and_leaves_nothing(ends: Ends) -> None:
    ours, theirs = ends
    with pytest.raises(ValueError, match="invalid mode"):
        ours.makefile("a")
    with pytest.raises(ValueError, match="must be binary"):
        ours.makefile("r", 0)
    with pytest.raises(LookupError):
        ours.makefile("r", encoding="no such")
    ours.close()
    assert theirs.recv(10) == b""


def test_an_unbuffered_file_does_only_what_it_was_opened_for(ends: Ends) -> None:
    ours, theirs = ends
    with ours.makefile("wb", 0) as writer, theirs.makefile("rb", 0) as reader:
        assert writer.write(b"abc") == 3
        assert reader.read(10) == b"abc"
        assert reader.fileno() == theirs.fileno()
        with pytest.raises(io.UnsupportedOperation):
            writer.read(1)
        with pytest.raises(io.UnsupportedOperation):
            reader.write(b"x")
    for call in (lambda: reader.read(1), lambda: writer.write(b"x"), reader.readable, writer.writable):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_file_of_a_stream_that_may_not_wait_has_nothing_yet(ends: Ends) -> None:
    ours, theirs = ends
    ours.setblocking(False)
    with ours.makefile("rwb", 0) as file, ours.makefile("rb") as buffered:
        assert file.read(10) is None
        assert buffered.read(10) is None
        while file.write(bytes(1 << 16)) is not None:
            pass
        # It is the peer that has to read.
        assert theirs.recv(1) == b"\0"


def test_a_file_that_has_timed_out_is_read_no_more(ends: Ends) -> None:
    ours, theirs = ends
    ours.settimeout(0.05)
    with ours.makefile("rb") as file:
        theirs.sendall(b"half")
        with pytest.raises(TimeoutError):
            file.read(10)
        theirs.sendall(b"the other half")
        with pytest.raises(OSError, match="timed out"):
            file.read(10)


def test_a_stream_is_closed_with_the_last_of_its_files(ends: Ends) -> None:
    ours, theirs = ends
    first, second = ours.makefile("wb"), ours.makefile("rb")
    ours.close()
    first.write(b"more")
    first.close()
    assert theirs.recv(10) == b"more"
    theirs.sendall(b"an answer")
    assert second.read(9) == b"an answer"
    assert ours.fileno() != -1
    second.close()
    second.close()
    assert theirs.recv(10) == b""
    assert ours.fileno() == -1


def test_a_file_that_is_dropped_is_closed(ends: Ends) -> None:
    ours, theirs = ends
    file = ours.makefile("wb")
    ours.close()
    file.write(b"buffered")
    del file
    assert theirs.recv(10) == b"buffered"
    assert theirs.recv(10) == b""
