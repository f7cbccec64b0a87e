"""Send a file to whoever holds the ticket.

    python -m examples.send_file offer FILE [--rendezvous NODE_ID@HOST:PORT]     prints a ticket
    python -m examples.send_file fetch TICKET FILE

The rendezvous node, which `pknet serve` is, is needed where neither side can be reached from outside.
"""

import argparse
import asyncio
import hashlib
import sys
from pathlib import Path

from pknet.errors import PknetError
from pknet.network import RendezvousInfo, Ticket, parse_node_id
from pknet_asyncio import Network, NetworkOptions, RendezvousNodes

CHUNK = 1 << 18


async def offer(file: Path, rendezvous: list[RendezvousInfo], options: NetworkOptions) -> None:
    """Send the file to each node that comes, until Ctrl-C."""
    file.open("rb").close()  # before anybody is given a ticket to what is not there

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
    node_id, _, addresses = text.partition("@")
    pairs = (address.rpartition(":") for address in addresses.split(","))
    try:
        return RendezvousInfo(
            parse_node_id(node_id), tuple((host.strip("[]"), int(port)) for host, _, port in pairs)
        )
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NODE_ID@HOST:PORT, as `pknet serve` prints it"
        ) from None


def main() -> None:
    """Run one side."""
    parser = argparse.ArgumentParser(description="Send a file to whoever holds the ticket.")
    parser.add_argument("--host", default="0.0.0.0", help="local address to use")
    roles = parser.add_subparsers(dest="role", required=True)
    offering = roles.add_parser("offer")
    offering.add_argument("file", type=Path)
    offering.add_argument("--rendezvous", type=rendezvous_info, action="append", default=[])
    fetching = roles.add_parser("fetch")
    fetching.add_argument("ticket")
    fetching.add_argument("file", type=Path)
    arguments = parser.parse_args()
    options = NetworkOptions(arguments.host, port=0)
    try:
        if arguments.role == "offer":
            asyncio.run(offer(arguments.file, arguments.rendezvous, options))
        else:
            asyncio.run(fetch(Ticket.parse(arguments.ticket), arguments.file, options))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except (PknetError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
