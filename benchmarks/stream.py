"""One side of a transfer over loopback: by pknet's adapters or by the kernel's TCP.

    python -m benchmarks.stream receive WAY BYTES usual|raised
    python -m benchmarks.stream send WAY BYTES PORT

WAY: asyncio (its protocols), streams (those of asyncio), blocking, or tcp. The receiver prints its port; then
what came, in how many seconds, with how much processor time, and its SHA-256. The sender prints its processor
time. All in lines of JSON. Content is made, and hashes are taken, outside of what is timed. `usual` is the
receive buffer that Linux gives to whoever asks for more and is not root, unless it has been set up otherwise;
`raised` is 4 MiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
import time
from typing import TYPE_CHECKING, cast

import pknet_asyncio
import pknet_blocking
from benchmarks.process import CpuTime, say
from tests.interop.peers.utp_native import seeded_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 1 << 18
CYCLE = 16 << 20
"""The content is this much of a seeded stream, over and over."""
SEED = "benchmark"
USUAL_BUFFER = 212_992
"""net.core.rmem_max as Linux has it from the start, in bytes; what is asked for is cut to that."""
RAISED_BUFFER = 4 << 20


class Sink:
    """Where what comes is kept until it is hashed."""

    def __init__(self, size: int) -> None:
        # Not zeros: those would be no memory yet.
        self._kept = bytearray(b"\1") * size
        self._size = 0
        self._began = 0.0
        self._cpu = CpuTime()

    def room(self) -> memoryview:
        """Return where the next bytes may be put, for `filled`."""
        self._begin()
        return memoryview(self._kept)[self._size : self._size + BLOCK]

    def filled(self, size: int) -> None:
        """Take note that so many were put there."""
        self._size += size

    def add(self, data: bytes) -> None:
        """Keep one piece."""
        self._begin()
        self._kept[self._size : self._size + len(data)] = data
        self._size += len(data)

    def report(self) -> None:
        """Say what came."""
        seconds = time.monotonic() - self._began
        cpu_seconds = self._cpu.used()
        digest = hashlib.sha256(memoryview(self._kept)[: self._size]).hexdigest()
        say("received", bytes=self._size, seconds=seconds, cpuSeconds=cpu_seconds, sha256=digest)

    def _begin(self) -> None:
        self._began = self._began or time.monotonic()


class Source:
    """What is sent, in pieces."""

    def __init__(self, size: int) -> None:
        cycle = memoryview(seeded_stream(SEED, CYCLE))
        self._pieces = [cycle[at : at + BLOCK] for at in range(0, CYCLE, BLOCK)] * (size // CYCLE)
        self._cpu = CpuTime()

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self._pieces)

    def report(self, connection: object = None) -> None:
        """Say what that has cost."""
        say(
            "sent",
            cpuSeconds=self._cpu.used(),
            packets=getattr(connection, "packets_sent", None),
            retransmitted=getattr(connection, "packets_retransmitted", None),
        )


def udp_socket(buffer: str) -> socket.socket | None:
    """Return a UDP socket with the usual receive buffer, None to have the adapter make its own."""
    if buffer == "raised":
        return None
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, USUAL_BUFFER)
    sock.bind(("127.0.0.1", 0))
    return sock


class Receiver(asyncio.BufferedProtocol):
    """Has the transport write into the sink."""

    def __init__(self, sink: Sink, done: asyncio.Event) -> None:
        self._sink = sink
        self._done = done

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes belong."""
        return self._sink.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of them."""
        self._sink.filled(nbytes)

    def eof_received(self) -> None:
        """Say what came."""
        self._sink.report()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._done.set()


class Sender(asyncio.Protocol):
    """Writes as fast as the transport lets it."""

    def __init__(self, source: Source, done: asyncio.Event) -> None:
        self._source = source
        self._pieces = iter(source)
        self._done = done
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._write()

    def pause_writing(self) -> None:
        """Wait."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_paused = False
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say what it has cost."""
        self._source.report(self._transport.stream)  # type: ignore[attr-defined]
        self._done.set()

    def _write(self) -> None:
        for piece in self._pieces:
            self._transport.write(piece)
            if self._is_paused:
                return
        self._transport.close()


async def receive_asyncio(sink: Sink, buffer: str) -> None:
    """Receive by the asyncio adapter, as a protocol that has a buffer."""
    done = asyncio.Event()
    sock = udp_socket(buffer)
    async with await pknet_asyncio.create_utp_server(
        lambda: Receiver(sink, done), None if sock else "127.0.0.1", None if sock else 0, sock=sock
    ) as server:
        say("listening", port=server.address[1])
        await done.wait()


async def send_asyncio(source: Source, port: int) -> None:
    """Send by the asyncio adapter, as a protocol."""
    done = asyncio.Event()
    await pknet_asyncio.create_utp_connection(lambda: Sender(source, done), "127.0.0.1", port)
    await done.wait()


async def receive_streams(sink: Sink, buffer: str) -> None:
    """Receive by the asyncio adapter, from a StreamReader."""
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BLOCK):
            sink.add(data)
        sink.report()
        writer.close()
        done.set()

    sock = udp_socket(buffer)
    async with await pknet_asyncio.start_utp_server(handle, "127.0.0.1", sock=sock, limit=1 << 20) as server:
        say("listening", port=server.address[1])
        await done.wait()


async def send_streams(source: Source, port: int) -> None:
    """Send by the asyncio adapter, to a StreamWriter."""
    _, writer = await pknet_asyncio.open_utp_connection("127.0.0.1", port)
    for piece in source:
        writer.write(piece)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    source.report(writer.transport.stream)  # type: ignore[attr-defined]


def receive_blocking(sink: Sink, buffer: str) -> None:
    """Receive by the blocking adapter."""
    with pknet_blocking.create_server(("127.0.0.1", 0), sock=udp_socket(buffer)) as server:
        say("listening", port=server.address[1])
        stream, _ = server.accept()
        with stream:
            while size := stream.recv_into(sink.room()):
                sink.filled(size)
            sink.report()


def send_blocking(source: Source, port: int) -> None:
    """Send by the blocking adapter."""
    with pknet_blocking.create_connection(("127.0.0.1", port)) as stream:
        for piece in source:
            stream.sendall(piece)
    stream.wait_closed(30)
    source.report(stream.stream)


def receive_tcp(sink: Sink, buffer: str) -> None:
    """Receive by the kernel's TCP, which grows its buffers by itself unless told."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if buffer == "raised":
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RAISED_BUFFER)
        say("listening", port=server.getsockname()[1])
        stream, _ = server.accept()
        with stream:
            while size := stream.recv_into(sink.room()):
                sink.filled(size)
            sink.report()


def send_tcp(source: Source, port: int) -> None:
    """Send by the kernel's TCP."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        for piece in source:
            stream.sendall(piece)
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)
    source.report()


RECEIVERS: dict[str, Callable[[Sink, str], None]] = {
    "asyncio": lambda *arguments: asyncio.run(receive_asyncio(*arguments)),
    "streams": lambda *arguments: asyncio.run(receive_streams(*arguments)),
    "blocking": receive_blocking,
    "tcp": receive_tcp,
}
SENDERS: dict[str, Callable[[Source, int], None]] = {
    "asyncio": lambda *arguments: asyncio.run(send_asyncio(*arguments)),
    "streams": lambda *arguments: asyncio.run(send_streams(*arguments)),
    "blocking": send_blocking,
    "tcp": send_tcp,
}


def main() -> None:
    """Play one side."""
    role, way, size, rest = sys.argv[1:]
    if role == "receive":
        RECEIVERS[way](Sink(int(size)), rest)
    else:
        SENDERS[way](Source(int(size)), int(rest))


if __name__ == "__main__":
    main()
