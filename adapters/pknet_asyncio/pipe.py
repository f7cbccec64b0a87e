"""A TCP connection joined to a stream: bytes both ways, half-close both ways, back-pressure both ways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet_io.network import PipeRecord

__all__ = ["join"]

CHUNK = 1 << 18

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(stream: Streams, tcp: Streams, record: PipeRecord) -> None:
    """Pass bytes between a stream to a node and a TCP connection until both directions have ended.

    When one side breaks, the other is reset, so that each program learns of it.
    """

    def count_to_node(size: int) -> None:
        record.bytes_to_node += size

    def count_from_node(size: int) -> None:
        record.bytes_from_node += size

    writers = (stream[1], tcp[1])
    record.close = lambda: [writer.transport.abort() for writer in writers] and None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass_on(tcp[0], stream[1], count_to_node))
            group.create_task(_pass_on(stream[0], tcp[1], count_from_node))
    except* OSError:
        record.close()
    finally:
        # When the network stops, what was taken from one side is still delivered to the other.
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
        count(len(data))
    if writer.can_write_eof():
        writer.write_eof()
