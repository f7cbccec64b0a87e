"""One side of a transfer by pknet, over loopback.

    python -m benchmarks.pknet_stream receive asyncio|blocking [KERNEL_BUFFER]
    python -m benchmarks.pknet_stream send asyncio|blocking PORT BYTES

The receiver prints its port, then what it received, as JSON lines. KERNEL_BUFFER is its SO_RCVBUF in bytes;
without it the adapter asks for as much as it likes.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
import time

import pknet_asyncio
import pknet_blocking

BLOCK = 1 << 18
ZEROS = bytes(BLOCK)


def say(**news: object) -> None:
    """Print one line of news."""
    print(json.dumps(news), flush=True)


def cpu_seconds() -> float:
    """Return the processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Tally:
    """What was received: bytes, and when."""

    def __init__(self) -> None:
        self.size = 0
        self.started = 0.0

    def add(self, data: bytes) -> None:
        """Count one piece."""
        self.started = self.started or time.monotonic()
        self.size += len(data)

    def report(self) -> None:
        """Say what was received."""
        seconds = time.monotonic() - self.started
        say(bytes=self.size, seconds=seconds, cpu_seconds=cpu_seconds())


def bound_socket(buffer: int | None) -> socket.socket | None:
    """Return a UDP socket with that receive buffer, None to let the adapter make its own."""
    if buffer is None:
        return None
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.bind(("127.0.0.1", 0))
    return sock


async def receive_asyncio(buffer: int | None) -> None:
    """Receive by the asyncio adapter."""
    tally, done = Tally(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BLOCK):
            tally.add(data)
        tally.report()
        writer.close()
        done.set()

    sock = bound_socket(buffer)
    async with await pknet_asyncio.start_utp_server(handle, "127.0.0.1", sock=sock, limit=1 << 20) as server:
        say(port=server.address[1])
        await done.wait()


async def send_asyncio(port: int, size: int) -> None:
    """Send by the asyncio adapter."""
    _, writer = await pknet_asyncio.open_utp_connection("127.0.0.1", port)
    for _ in range(size // BLOCK):
        writer.write(ZEROS)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    report_sent(writer.transport.stream)  # type: ignore[attr-defined]


def receive_blocking(buffer: int | None) -> None:
    """Receive by the blocking adapter."""
    tally = Tally()
    with pknet_blocking.create_server(("127.0.0.1", 0), sock=bound_socket(buffer)) as server:
        say(port=server.address[1])
        stream, _ = server.accept()
        with stream:
            while data := stream.recv(BLOCK):
                tally.add(data)
            tally.report()
    server.wait_closed(10)


def send_blocking(port: int, size: int) -> None:
    """Send by the blocking adapter."""
    with pknet_blocking.create_connection(("127.0.0.1", port)) as stream:
        for _ in range(size // BLOCK):
            stream.sendall(ZEROS)
    stream.wait_closed(30)
    report_sent(stream.stream)


def report_sent(connection: object) -> None:
    """Say what was sent."""
    say(
        cpu_seconds=cpu_seconds(),
        packets=connection.packets_sent,  # type: ignore[attr-defined]
        retransmitted=connection.packets_retransmitted,  # type: ignore[attr-defined]
    )


def main() -> None:
    """Play one side."""
    role, adapter, *numbers = sys.argv[1:]
    if role == "receive":
        buffer = int(numbers[0]) if numbers else None
        asyncio.run(receive_asyncio(buffer)) if adapter == "asyncio" else receive_blocking(buffer)
    else:
        port, size = map(int, numbers)
        asyncio.run(send_asyncio(port, size)) if adapter == "asyncio" else send_blocking(port, size)


if __name__ == "__main__":
    main()
