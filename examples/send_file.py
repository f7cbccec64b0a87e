"""Send a file to whoever holds the ticket.

    python -m examples.send_file offer FILE [--rendezvous NODE_ID@HOST:PORT]     prints a ticket
    python -m examples.send_file fetch TICKET FILE

The rendezvous node, which `pknet serve` is, is needed where neither side can be reached from outside.
"""

import argparse
import asyncio
import hashlib
from pathlib import Path

from pknet.network import RendezvousInfo, Ticket, parse_node_id
from pknet_asyncio import Network, NetworkOptions, RendezvousNodes

CHUNK = 1 << 18


async def offer(file: Path, rendezvous: list[RendezvousInfo], options: NetworkOptions) -> None:
    """Send the file to each node that comes, until Ctrl-C."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with file.open("rb") as source:
            while chunk := source.read(CHUNK):
                writer.write(chunk)
                await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with Network(RendezvousNodes(rendezvous=rendezvous), options, handler=send) as network:
        print(network.make_ticket(rendezvous).encode(), flush=True)
        await asyncio.Event().wait()


async def fetch(ticket: Ticket, file: Path, options: NetworkOptions) -> None:
    """Write what comes to a file; print its size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    async with Network(RendezvousNodes(nodes=[ticket.to_node_info()]), options) as network:
        reader, writer = await network.connect(ticket.node_id)
        with file.open("wb") as target:
            while chunk := await reader.read(CHUNK):
                target.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        writer.close()
    print(size, digest.hexdigest())


def rendezvous_info(text: str) -> RendezvousInfo:
    """Read what `pknet serve` prints."""
    node_id, _, address = text.partition("@")
    host, _, port = address.rpartition(":")
    return RendezvousInfo(parse_node_id(node_id), ((host, int(port)),))


def main() -> None:
    """Run one side."""
    parser = argparse.ArgumentParser(description="Send a file to whoever holds the ticket.")
    parser.add_argument("--host", default="0.0.0.0", help="local address to use")
    roles = parser.add_subparsers(dest="role", required=True)
    offering = roles.add_parser("offer")
    offering.add_argument("file", type=Path)
    offering.add_argument("--rendezvous", type=rendezvous_info, action="append", default=[])
    fetching = roles.add_parser("fetch")
    fetching.add_argument("ticket", type=Ticket.parse)
    fetching.add_argument("file", type=Path)
    arguments = parser.parse_args()
    options = NetworkOptions(arguments.host, port=0)
    if arguments.role == "offer":
        asyncio.run(offer(arguments.file, arguments.rendezvous, options))
    else:
        asyncio.run(fetch(arguments.ticket, arguments.file, options))


if __name__ == "__main__":
    main()
