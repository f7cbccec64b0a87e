"""A plain uTP stream there and back, for the lab: `python -m tests.natlab.echo ADAPTER CEILING HOST [PORT]`.

Without a port, it serves: it sends back what comes. With one, it sends the payload and reads it back, again
for each line of its standard input. CEILING is the largest UDP payload to be
sent. It prints one JSON line when it has news.
"""

import asyncio
import json
import random
import sys
import threading
from typing import Any

import pknet_asyncio
import pknet_blocking
from pknet.utp import UtpConfig

PIECE = 1 << 16
PAYLOAD = random.Random(9).randbytes(3 << 20)


def say(**news: object) -> None:
    """Print one line of news."""
    print(json.dumps(news), flush=True)


def tell(arrived: bytes, stream: Any, driver: Any) -> None:
    """Say whether the payload came back, and what it went through."""
    stats = stream.stats()
    say(
        whole=arrived == PAYLOAD,
        max_datagram=stats.max_datagram,
        timeouts=stats.timeouts,
        refused=driver.socket.stats.send_drops.get("EMSGSIZE", 0),
    )


def serve_blocking(config: UtpConfig, host: str) -> None:
    """Serve."""
    with pknet_blocking.create_server((host, 0), config=config) as listener:
        say(port=listener.address[1])
        stream, _ = listener.accept()
        with stream:
            while data := stream.recv(PIECE):
                stream.sendall(data)


def fetch_blocking(config: UtpConfig, host: str, port: int) -> None:
    """Send, and read it back."""
    with pknet_blocking.create_connection((host, port), config=config) as stream:
        line = "\n"
        while line:
            sending = threading.Thread(target=stream.sendall, args=[PAYLOAD])
            sending.start()
            arrived = bytearray()
            while len(arrived) < len(PAYLOAD) and (data := stream.recv(PIECE)):
                arrived += data
            sending.join()
            tell(bytes(arrived), stream, stream._connection.driver)
            line = sys.stdin.readline()


async def serve_asyncio(config: UtpConfig, host: str) -> None:
    """Serve."""

    async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await pknet_asyncio.start_utp_server(send_back, host, config=config) as server:
        say(port=server.address[1])
        await asyncio.to_thread(sys.stdin.read)


async def fetch_asyncio(config: UtpConfig, host: str, port: int) -> None:
    """Send, and read it back."""
    reader, writer = await pknet_asyncio.open_utp_connection(host, port, config=config)
    transport: Any = writer.transport
    line = "\n"
    while line:
        writer.write(PAYLOAD)
        tell(await reader.readexactly(len(PAYLOAD)), transport, transport.driver)
        line = await asyncio.to_thread(sys.stdin.readline)
    writer.close()


def main() -> None:
    """Do what the arguments say."""
    adapter, ceiling, host, *port = sys.argv[1:]
    config = UtpConfig(max_datagram=int(ceiling), max_datagram_ipv6=int(ceiling))
    if adapter == "blocking":
        fetch_blocking(config, host, int(port[0])) if port else serve_blocking(config, host)
    else:
        asyncio.run(fetch_asyncio(config, host, int(port[0])) if port else serve_asyncio(config, host))


if __name__ == "__main__":
    main()
