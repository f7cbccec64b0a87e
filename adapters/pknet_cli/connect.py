"""`pknet connect`: a local TCP port that leads to a node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pknet_asyncio import Network, NetworkOptions, RendezvousNodes
from pknet_cli.keys import load_or_make_key
from pknet_cli.output import say
from pknet_cli.parameters import ADDRESS, TICKET, format_address, qlog_option
from pknet_cli.running import run_until_stopped

if TYPE_CHECKING:
    import asyncio

    from pknet.network import Ticket

__all__ = ["connect"]


@click.command()
@click.argument("ticket", type=TICKET)
@click.option(
    "--listen", type=ADDRESS, default=("127.0.0.1", 0), help="TCP address to listen on (default: any port)."
)
@click.option("--udp", type=ADDRESS, default=("0.0.0.0", 0), help="UDP address to use (default: any port).")
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with a private key (default: a new key).",
)
@qlog_option
def connect(
    ticket: Ticket, listen: tuple[str, int], udp: tuple[str, int], key: Path | None, qlog: Path | None
) -> None:
    """Forward a local TCP port to the service that TICKET leads to.

    Prints the address that is listened on, once the node has been reached.
    """
    nodes = RendezvousNodes(None if key is None else load_or_make_key(key), nodes=[ticket.to_node_info()])
    network = Network(nodes, NetworkOptions(*udp, qlog=qlog))
    run_until_stopped(lambda stop: _connect(network, ticket, listen, stop))


async def _connect(network: Network, ticket: Ticket, listen: tuple[str, int], stop: asyncio.Event) -> None:
    async with network:
        say(f"Looking for node {ticket.node_id}.")
        started = time.monotonic()
        address = await network.reach(ticket.node_id)
        took = (time.monotonic() - started) * 1000
        how = (
            "at its own address"
            if address in ticket.addresses
            else "through the hole that both sides punched"
        )
        say(f"Reached it directly, {how}: {format_address(address)}, in {took:.0f} ms.")
        public = network.public_address
        if public is not None:
            say(f"This side is seen from outside as {format_address(public.address)} ({public.how}).")
        forwarder = await network.forward(ticket.node_id, *listen)
        click.echo(format_address(forwarder.address))
        say("Connections to that address go to the node.")
        await stop.wait()
        say("Stopping.")
