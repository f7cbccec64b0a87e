"""What UDP alone carries over loopback, by runs of 44 datagrams of 1402 bytes (UDP_SEGMENT, UDP_GRO).

    python -m benchmarks.raw [--runs 5] [--megabytes 1024]

No acknowledgements, no order, no loss made up for: the most that any protocol could do by the same system
calls. By `UdpSocket`, as the adapters use it, and by bare calls of `sendmsg` and `recvmsg_into`. The sender
does not wait for the receiver, so some is lost; the rate is of what arrived, the processor time of each side
is for each GB that it sent, or received.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import socket
import statistics
import struct
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.process import CpuTime, Process, say
from pknet import Transmit
from pknet_io import UdpSocket
from pknet_io.constants import SOL_UDP, UDP_GRO, UDP_SEGMENT

SEGMENT = 1402
RUN = bytes(44 * SEGMENT)
SILENCE = 0.5
LIMIT = 120.0
WAYS = "UdpSocket", "bare calls"


def send(way: str, size: int, port: int) -> None:
    """Send so many bytes as fast as the kernel takes them."""
    address = ("127.0.0.1", port)
    with UdpSocket.bind("127.0.0.1") as udp:
        cpu = CpuTime()
        if way == "UdpSocket":
            transmit = Transmit(RUN, address, None, segment_size=SEGMENT)
            for _ in range(size // len(RUN)):
                while not udp.send(transmit):
                    select.select([], [udp], [])
        else:
            udp.sock.setblocking(True)
            segmented = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", SEGMENT))]
            for _ in range(size // len(RUN)):
                udp.sock.sendmsg((RUN,), segmented, 0, address)
        say("sent", cpuSeconds=cpu.used())


def receive(way: str) -> None:
    """Receive until nothing more comes."""
    with UdpSocket.bind("127.0.0.1") as udp:
        say("listening", port=udp.address[1])
        select.select([udp], [], [])
        began, cpu = time.monotonic(), CpuTime()
        came = 0
        ended = began
        buffer = [bytearray(1 << 16)]
        space = socket.CMSG_SPACE(4)
        while select.select([udp], [], [], SILENCE)[0]:
            if way == "UdpSocket":
                while (received := udp.receive()) is not None:
                    came += len(received.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        came += udp.sock.recvmsg_into(buffer, space)[0]
            ended = time.monotonic()
        say("received", bytes=came, seconds=ended - began, cpuSeconds=cpu.used())


@dataclass(frozen=True)
class Measured:
    """What one run gave."""

    megabytes_per_second: float
    sender_cpu: float
    receiver_cpu: float
    arrived: float


def measure(way: str, size: int) -> Measured:
    """Move so many bytes once."""
    command = [sys.executable, "-m", "benchmarks.raw"]
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Process:
            return stack.enter_context(contextlib.closing(Process([*command, *arguments], LIMIT)))

        receiver = start("receive", way)
        sender = start("send", way, str(size), str(next(receiver.news("listening"))["port"]))
        sent, received = next(sender.news("sent")), next(receiver.news("received"))
    return Measured(
        received["bytes"] / received["seconds"] / 1e6,
        sent["cpuSeconds"] / size * 1e9,
        received["cpuSeconds"] / received["bytes"] * 1e9,
        received["bytes"] / size,
    )


def main() -> None:
    """Play one side, or measure and print the medians."""
    if sys.argv[1:2] == ["send"]:
        send(sys.argv[2], *map(int, sys.argv[3:]))
        return
    if sys.argv[1:2] == ["receive"]:
        receive(sys.argv[2])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    if UDP_SEGMENT is None or UDP_GRO is None:
        raise SystemExit("there is no UDP_SEGMENT here: it is Linux's")
    measured: dict[str, list[Measured]] = {way: [] for way in WAYS}
    for _ in range(options.runs):
        for way in WAYS:
            measured[way].append(measure(way, options.megabytes << 20))
    table = Table("", "MB/s", "lowest", "highest", "CPU s/GB, sender", "receiver", "arrived")
    for way, results in measured.items():
        speeds = [result.megabytes_per_second for result in results]
        table.add_row(
            way,
            *(f"{speed:.0f}" for speed in (statistics.median(speeds), min(speeds), max(speeds))),
            f"{statistics.median(result.sender_cpu for result in results):.2f}",
            f"{statistics.median(result.receiver_cpu for result in results):.2f}",
            f"{statistics.median(result.arrived for result in results):.0%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
