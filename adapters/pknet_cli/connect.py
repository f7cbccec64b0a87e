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
from pknet_cli.running import run, until_stopped
from pknet_io.errors import system_words

if TYPE_CHECKING:
    from pknet.network import Ticket
    from pknet_asyncio.forwarder import Forwarder

__all__ = ["connect"]


@click.command()
@click.argument("ticket", type=TICKET)
@click.option(
    "--listen",
    type=ADDRESS,
    default="127.0.0.1:0",
    show_default=True,
    help="TCP address to listen on; port 0 is any that is free.",
)
@click.option(
    "--udp",
    type=ADDRESS,
    help="UDP address to use (default: any port, and IPv6 if the ticket has nothing else).",
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with a private key, made if it is not there (default: a new key each time, kept nowhere).",
)
@qlog_option
def connect(
    ticket: Ticket,
    listen: tuple[str, int],
    udp: tuple[str, int] | None,
    key: Path | None,
    qlog: Path | None,
) -> None:
    """Forward a local TCP port to the service that TICKET leads to.

    Prints the address that is listened on, once the node has been reached.
    """
    nodes = RendezvousNodes(None if key is None else load_or_make_key(key), nodes=[ticket.to_node_info()])
    options = NetworkOptions(*(udp or _any_address_for(ticket)), qlog=qlog)
    run(_connect(Network(nodes, options), ticket, listen))


def _any_address_for(ticket: Ticket) -> tuple[str, int]:
    """Return what to bind to: a node has one family, told by its own addresses or its rendezvous nodes'."""
    known = ticket.addresses or [address for info in ticket.rendezvous for address in info.addresses]
    return ("::" if known and all(":" in host for host, _ in known) else "0.0.0.0"), 0


async def _connect(network: Network, ticket: Ticket, listen: tuple[str, int]) -> None:
    async with network:
        # First, since nobody wants to learn that the port is in use when the node has been reached.
        forwarder = await _forward(network, ticket, listen)
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
        click.echo(format_address(forwarder.address))
        say("Connections to that address go to the node.")
        await until_stopped()


async def _forward(network: Network, ticket: Ticket, listen: tuple[str, int]) -> Forwarder:
    try:
        return await network.forward(ticket.node_id, *listen)
    except OSError as error:
        raise click.ClickException(
            f"can't listen on TCP {format_address(listen)}: {system_words(error)}"
        ) from None
