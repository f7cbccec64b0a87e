"""`pknet expose`: makes a local TCP service reachable by those who hold the ticket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pknet_asyncio import Network, NetworkOptions, RendezvousNodes
from pknet_cli.keys import default_key_path, load_or_make_key, load_or_make_secret, ticket_path
from pknet_cli.locks import locked
from pknet_cli.output import say
from pknet_cli.parameters import ADDRESS, NODE_ID, RENDEZVOUS, SERVER, format_address, qlog_option
from pknet_cli.running import run, until_stopped
from pknet_io.network import DEFAULT_PORT

if TYPE_CHECKING:
    from pknet.network import NodeId, RendezvousInfo

__all__ = ["expose"]

# How long to wait for the rendezvous nodes before the ticket is printed all the same.
PATIENCE = 5.0


@click.command(short_help="Make a local TCP service reachable, and print its ticket.")
@click.argument("service", type=SERVER, metavar="HOST:PORT")
@click.option(
    "--rendezvous",
    type=RENDEZVOUS,
    multiple=True,
    help="Rendezvous node that introduces others, as `pknet serve` prints it; may be given several times.",
)
@click.option(
    "--listen",
    type=ADDRESS,
    default=f"0.0.0.0:{DEFAULT_PORT}",
    show_default=True,
    help="UDP address to listen on.",
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the node's private key, made if it is not there (default: expose-HOST-PORT.key in the"
    " user's folder for applications, on Linux ~/.config/pknet).",
)
@click.option(
    "--admit",
    type=NODE_ID,
    multiple=True,
    help="Node that may come in without the ticket; may be given several times.",
)
@click.option("--new-ticket", is_flag=True, help="Make a new ticket; the old one admits nobody any more.")
@qlog_option
def expose(
    service: tuple[str, int],
    rendezvous: tuple[RendezvousInfo, ...],
    listen: tuple[str, int],
    key: Path | None,
    admit: tuple[NodeId, ...],
    new_ticket: bool,
    qlog: Path | None,
) -> None:
    """Make the TCP service at HOST:PORT reachable, and print the ticket that `pknet connect` takes.

    The ticket is a secret: who holds it may connect. It stays the same from run to run. On the same network,
    or where this machine is public, no rendezvous node is needed.
    """
    host, port = service
    key_path = key or default_key_path(f"expose-{host}-{port}")
    private_key = load_or_make_key(key_path)
    options = NetworkOptions(*listen, service=service, admit=frozenset(admit).__contains__, qlog=qlog)
    with locked(key_path):
        secret = load_or_make_secret(ticket_path(key_path), new=new_ticket)
        network = Network(RendezvousNodes(private_key, rendezvous=rendezvous), options)
        run(_expose(network, service, rendezvous, secret))


async def _expose(
    network: Network, service: tuple[str, int], rendezvous: tuple[RendezvousInfo, ...], secret: bytes
) -> None:
    async with network:
        say(f"Exposing {format_address(service)} on UDP {format_address(network.address)}.")
        if rendezvous:
            await _wait_for_rendezvous(network, {info.node_id for info in rendezvous})
        click.echo(network.make_ticket(rendezvous, secret).encode())
        say("The line above is the ticket, for `pknet connect`. Who holds it may connect.")
        await until_stopped()


async def _wait_for_rendezvous(network: Network, wanted: set[NodeId]) -> None:
    try:
        await network.wait_registered(PATIENCE)
    except TimeoutError:
        for node_id in wanted - set(network.registered_with):
            say(f"Rendezvous node {node_id} does not introduce others to this one yet; trying on.")
    public = network.public_address
    if public is not None:
        say(f"Seen from outside as {format_address(public.address)} ({public.how}).")
