"""The main job, shown: a file on one node, fetched from another through a uTP stream.

`make demo` runs it on this machine, with no root and no configuration: a rendezvous node and a node that
exposes a local HTTP service, both by the command `pknet`, and a second node in this program. `make demo
NAT=cone,cone` (as root on Linux) puts the two nodes behind NATs of their own: see `demo_nat`.
"""

import argparse
import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pknet.network import NodeInfo, Ticket
from pknet_asyncio import Network, NetworkOptions, RendezvousNodes

SIZE = 64 << 20
FILE = "file.bin"
REQUEST = f"GET /{FILE} HTTP/1.0\r\n\r\n".encode()
PATIENCE = 30.0

console = Console(highlight=False)


def say(text: str) -> None:
    """Print one step."""
    console.print(text, markup=False, soft_wrap=True)


@contextmanager
def shared_folder() -> Iterator[tuple[Path, str]]:
    """Make a folder with the file, for as long as the block runs; give its SHA-256 too."""
    with tempfile.TemporaryDirectory(prefix="pknet-demo-") as folder:
        digest = hashlib.sha256()
        with (Path(folder) / FILE).open("wb") as file:
            for _ in range(SIZE >> 20):
                block = os.urandom(1 << 20)
                digest.update(block)
                file.write(block)
        yield Path(folder), digest.hexdigest()


def pknet(*arguments: str) -> list[str]:
    """Return the command line of `pknet`."""
    return [sys.executable, "-m", "pknet_cli", *arguments]


def http_server(folder: Path, port: int) -> list[str]:
    """Return the command line of the small HTTP service that is exposed; port 0 for any."""
    return [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "-d", str(folder), str(port)]


def first_line(process: subprocess.Popen[str]) -> str:
    """Return what a process prints first. Raises RuntimeError if it ends before."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"{' '.join(map(str, process.args))} ended with status {process.wait()}")  # type: ignore[arg-type]
    return line


@contextmanager
def download(what: str) -> Iterator["Download"]:
    """Show the progress of a download, and what came of it in the end."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Download(progress, what)


class Download:
    """The body of an HTTP answer, counted and hashed as it comes."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=SIZE)
        self._head: bytes | None = b""
        self._digest = hashlib.sha256()
        self._started = time.monotonic()
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Take what came, header and all."""
        if self._head is not None:
            header, blank, body = (self._head + data).partition(b"\r\n\r\n")
            self._head = None if blank else header
            data = body
        self._digest.update(data)
        self.size += len(data)
        self._progress.update(self._task, completed=self.size)

    def matches(self, expected: str) -> bool:
        """Say what came, and return whether it is what it should be."""
        seconds = time.monotonic() - self._started
        found = self._digest.hexdigest()
        speed = self.size / 1e6 / seconds
        say(f"  {self.size} bytes in {seconds:.2f} s, {speed:.0f} MB/s, SHA-256 {found[:16]}…")
        right = self.size == SIZE and found == expected
        say(
            "  The checksum matches."
            if right
            else f"  WRONG: {SIZE} bytes with SHA-256 {expected[:16]}… were sent."
        )
        return right


async def fetch_by_connect(network: Network, ticket: Ticket, expected: str) -> bool:
    """Fetch the file over a stream opened by `Network.connect`."""
    started = time.monotonic()
    reader, writer = await network.connect(ticket.node_id)
    host, port = writer.get_extra_info("peername")
    say(f"Connected in {(time.monotonic() - started) * 1000:.0f} ms, directly, to {host} port {port}.")
    public = network.public_address
    if public is not None:
        say(
            f"This node learnt that it is seen as {public.address[0]} port {public.address[1]}: {public.how}."
        )
    with download("Network.connect") as answer:
        writer.write(REQUEST)
        async for data in chunks(reader):
            answer.feed(data)
    writer.close()
    await writer.wait_closed()
    return answer.matches(expected)


async def fetch_by_forward(network: Network, ticket: Ticket, expected: str) -> bool:
    """Fetch the file over a local TCP port that leads to the node."""
    forwarder = await network.forward(ticket.node_id)
    say(f"TCP port {forwarder.address[1]} of this machine now leads to the node; an HTTP client uses it.")
    reader, writer = await asyncio.open_connection(*forwarder.address)
    with download("forwarded port ") as answer:
        writer.write(REQUEST)
        async for data in chunks(reader):
            answer.feed(data)
    writer.close()
    await writer.wait_closed()
    return answer.matches(expected)


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Read to the end, piece by piece."""
    while data := await asyncio.wait_for(reader.read(1 << 18), PATIENCE):
        yield data


async def fetch_both_ways(ticket: Ticket, expected: str) -> bool:
    """Be the second node."""
    info = ticket.to_node_info()
    say("Fetching it from a second node, which knows only the ticket's rendezvous node, as if far away.")
    far = NodeInfo(info.node_id, (), info.rendezvous, info.secret)
    async with Network(RendezvousNodes(nodes=[far]), NetworkOptions(host="127.0.0.1", port=0)) as network:
        return await fetch_by_connect(network, ticket, expected) and await fetch_by_forward(
            network, ticket, expected
        )


def run_on_this_machine() -> bool:
    """Run the three nodes side by side; return whether every checksum matched."""
    processes: list[subprocess.Popen[str]] = []

    def start(command: list[str]) -> str:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        return first_line(process)

    with shared_folder() as (folder, expected), tempfile.TemporaryDirectory() as keys:
        try:
            say(f"A file of {SIZE >> 20} MiB with SHA-256 {expected[:16]}…")
            # "Serving HTTP on 127.0.0.1 port 38201 (http://127.0.0.1:38201/) ..."
            port = start(http_server(folder, 0)).split(" port ")[1].split(" ")[0]
            say(f"A small HTTP service on TCP port {port} serves it.")
            rendezvous = start(pknet("serve", "--listen", "127.0.0.1:0", "--key", f"{keys}/serve.key"))
            say(f"pknet serve: a rendezvous node, {rendezvous}")
            options = ["--rendezvous", rendezvous, "--listen", "127.0.0.1:0", "--key", f"{keys}/expose.key"]
            ticket = start(pknet("expose", f"127.0.0.1:{port}", *options))
            say(f"pknet expose: the service is reachable by who holds the ticket {ticket[:24]}…")
            return asyncio.run(fetch_both_ways(Ticket.parse(ticket), expected))
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


def main() -> None:
    """Run the demo; the exit status is 0 only if every checksum matched, and 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description="Fetch a file from one node by another.")
    parser.add_argument(
        "--nat", metavar="NAT1,NAT2", help="put the nodes behind these NATs (root, Linux, nftables)"
    )
    arguments = parser.parse_args()
    try:
        sys.exit(0 if run(arguments.nat) else 1)
    except KeyboardInterrupt:
        say("Interrupted.")
        sys.exit(130)


def run(nats: str | None) -> bool:
    """Run the demo, across NATs if they are named; return whether every checksum matched."""
    if nats:
        from examples.demo_nat import run_across_nats

        return run_across_nats(nats)
    matched = run_on_this_machine()
    if sys.platform == "linux" and os.geteuid() == 0:
        say("Across two NATs: make demo NAT=cone,cone")
    return matched


if __name__ == "__main__":
    main()
