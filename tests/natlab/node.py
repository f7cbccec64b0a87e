"""A program with a Network, for the lab: `python -m tests.natlab.node ROLE …` prints one JSON line when it
has news.

serve: a rendezvous node. provide: hands PAYLOAD bytes to each node that shows the ticket. fetch: connects by
the ticket and reads them all. The first two run until their standard input ends.
"""

import asyncio
import hashlib
import json
import random
import sys
import time

from pknet.network import NodeInfo, RendezvousInfo, Ticket
from pknet_asyncio import ConnectError, Network, NetworkOptions, RendezvousNodes

PAYLOAD = 8 << 20


def payload() -> bytes:
    """Return the bytes that are handed out."""
    return random.Random(8).randbytes(PAYLOAD)


def say(**news: object) -> None:
    """Print one line of news."""
    print(json.dumps(news), flush=True)


async def until_told() -> None:
    """Wait until standard input ends."""
    await asyncio.to_thread(sys.stdin.read)


async def serve() -> None:
    """Be the rendezvous node."""
    async with Network(RendezvousNodes(), NetworkOptions(introduces=True, alternate_port=1316)) as network:
        say(node_id=network.node_id)
        await until_told()


async def provide(rendezvous: RendezvousInfo) -> None:
    """Hand out the payload."""
    data = payload()

    async def hand_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.write_eof()
        await reader.read()
        writer.close()

    async with Network(RendezvousNodes(rendezvous=[rendezvous]), handler=hand_out) as network:
        await network.wait_registered()
        say(ticket=network.make_ticket([rendezvous]).encode(), mapping=str(network.mapping))
        await until_told()


async def fetch(ticket: Ticket) -> None:
    """Read the payload and say what it was and how it came."""
    info = ticket.to_node_info()
    # What a ticket's holder far away has: the node's private address is of no use to it.
    far = NodeInfo(info.node_id, (), info.rendezvous, info.secret)
    async with Network(RendezvousNodes(nodes=[far])) as network:
        started = time.monotonic()
        try:
            reader, writer = await network.connect(ticket.node_id)
        except ConnectError as error:
            say(error=str(error), seconds=time.monotonic() - started, mapping=str(network.mapping))
            return
        connected = time.monotonic()
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        say(
            sha256=hashlib.sha256(data).hexdigest(),
            remote=writer.get_extra_info("peername"),
            seconds=connected - started,
            megabytes_per_second=len(data) / 1e6 / (time.monotonic() - connected),
            mapping=str(network.mapping),
        )


def main() -> None:
    """Play the role that the command line names."""
    role, *arguments = sys.argv[1:]
    if role == "serve":
        asyncio.run(serve())
    elif role == "provide":
        node_id, host, port = arguments
        asyncio.run(provide(RendezvousInfo(node_id, ((host, int(port)),))))
    elif role == "fetch":
        asyncio.run(fetch(Ticket.parse(arguments[0])))
    else:
        raise SystemExit(f"no role is called {role}")


if __name__ == "__main__":
    main()
