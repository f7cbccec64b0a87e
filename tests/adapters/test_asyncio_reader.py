"""The reader of a stream that breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pknet_asyncio.reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BROKEN = ConnectionResetError("it broke")


def broken_reader() -> StreamReader:
    """Return a reader of a stream that broke after a line and a half."""
    reader = StreamReader()
    reader.feed_data(b"a line\nand a half")
    reader.set_exception(BROKEN)
    return reader


async def test_what_came_before_the_failure_is_read_first() -> None:
    reader = broken_reader()
    assert reader.exception() is BROKEN
    assert await reader.readline() == b"a line\n"
    assert await reader.read(3) == b"and"
    assert await reader.read(0) == b""
    assert await reader.readexactly(2) == b" a"
    assert await reader.read(100) == b" half"
    with pytest.raises(ConnectionResetError):
        await reader.read(100)
    with pytest.raises(ConnectionResetError):
        await reader.read()


@pytest.mark.parametrize(
    "read",
    [StreamReader.read, lambda reader: reader.readexactly(18), lambda reader: reader.readuntil(b".")],
    ids=["all", "exactly", "until"],
)
async def test_what_would_need_more_than_came_raises_the_failure(
    read: Callable[[StreamReader], Awaitable[bytes]],
) -> None:
    with pytest.raises(ConnectionResetError):
        await read(broken_reader())


async def test_a_line_that_is_not_whole_is_no_line() -> None:
    reader = broken_reader()
    with pytest.raises(ConnectionResetError):
        async for line in reader:
            assert line == b"a line\n"


async def test_a_broken_stream_is_not_at_its_end() -> None:
    reader = broken_reader()
    with pytest.raises(ConnectionResetError):
        while not reader.at_eof():
            await reader.read(100)


@pytest.mark.parametrize(
    "read", [StreamReader.readline, lambda reader: reader.readexactly(18)], ids=["line", "exactly"]
)
async def test_what_came_of_a_line_that_is_not_whole_can_still_be_read(
    read: Callable[[StreamReader], Awaitable[bytes]],
) -> None:
    reader = broken_reader()
    assert await reader.readline() == b"a line\n"
    with pytest.raises(ConnectionResetError):
        await read(reader)
    assert await reader.read(5) == b"and a"
    assert await reader.read() == b" half"
    with pytest.raises(ConnectionResetError):
        await reader.read()


async def test_who_asks_for_a_line_again_loses_nothing_of_it() -> None:
    reader = broken_reader()
    assert await reader.readline() == b"a line\n"
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await reader.readline()
    assert await reader.read() == b"and a half"
    assert not reader.at_eof()


async def test_who_waits_when_the_stream_breaks_is_woken() -> None:
    reader = StreamReader()
    waiting = asyncio.create_task(reader.read(1))
    await asyncio.sleep(0)
    reader.set_exception(BROKEN)
    with pytest.raises(ConnectionResetError):
        await waiting


async def test_what_was_whole_ends_in_peace_though_the_other_direction_breaks_later() -> None:
    reader = StreamReader()
    reader.feed_data(b"all")
    reader.feed_eof()
    reader.set_exception(BROKEN)
    assert not reader.at_eof()
    assert await reader.read() == b"all"
    assert await reader.read() == b""
    assert reader.at_eof()
    assert reader.exception() is BROKEN
