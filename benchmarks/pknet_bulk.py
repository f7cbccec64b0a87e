"""One side of a stream of zeros by pknet's asyncio adapter, without end.

    python -m benchmarks.pknet_bulk receive
    python -m benchmarks.pknet_bulk send CONTROLLER PORT [DIRECTORY]

The receiver prints its port, then how much has come, as JSON lines, until it is ended. DIRECTORY is for the
sender's event log, which `pknet plot` draws.
"""

from __future__ import annotations

import asyncio
import sys
import time

import pknet_asyncio
from benchmarks.process import say
from pknet.utp import UtpConfig
from pknet_io import QlogDirectory

STEP = 0.05
BLOCK = 1 << 18


async def receive() -> None:
    """Receive from whoever comes."""
    size, began = 0, 0.0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal size, began
        while data := await reader.read(BLOCK):
            began = began or time.monotonic()
            size += len(data)

    async with await pknet_asyncio.start_utp_server(handle, "127.0.0.1", limit=1 << 20) as server:
        say("listening", port=server.address[1])
        while True:
            await asyncio.sleep(STEP)
            if size:
                say("progress", bytes=size, seconds=time.monotonic() - began)


async def send(controller: str, port: int, directory: str | None) -> None:
    """Send to that port."""
    log = None if directory is None else QlogDirectory(directory)
    config = UtpConfig(congestion_control=controller, open_log=log)
    _, writer = await pknet_asyncio.open_utp_connection("127.0.0.1", port, config=config)
    zeros = bytes(BLOCK)
    while True:
        writer.write(zeros)
        await writer.drain()


def main() -> None:
    """Play one side."""
    if sys.argv[1] == "receive":
        asyncio.run(receive())
    else:
        controller, port, *directory = sys.argv[2:]
        asyncio.run(send(controller, int(port), directory[0] if directory else None))


if __name__ == "__main__":
    main()
