"""`pknet serve`: a rendezvous node and STUN server on one socket."""

from __future__ import annotations

from pathlib import Path

import click

from pknet_asyncio import Network, NetworkOptions, RendezvousNodes
from pknet_cli.keys import default_key_path, load_or_make_key
from pknet_cli.locks import locked
from pknet_cli.output import say
from pknet_cli.parameters import ADDRESS, HOST, MAX_PORT, PORT, format_address, qlog_option
from pknet_cli.running import run, until_stopped
from pknet_io.network import DEFAULT_PORT

__all__ = ["serve"]


@click.command(short_help="Introduce nodes to each other, and answer STUN.")
@click.option(
    "--listen",
    type=ADDRESS,
    default=f"0.0.0.0:{DEFAULT_PORT}",
    show_default=True,
    help="UDP address to listen on.",
)
@click.option(
    "--public",
    type=HOST,
    help="Name or address by which others reach this node, without the port"
    " (default: this machine's own addresses).",
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the node's private key, made if it is not there (default: serve.key in the user's folder"
    " for applications, on Linux ~/.config/pknet).",
)
@click.option(
    "--alternate-port",
    type=PORT,
    metavar="PORT",
    help="Second UDP port for STUN (default: the next one; 0: any).",
)
@click.option(
    "--no-alternate", is_flag=True, help="Do without: others can't tell then how their NAT maps ports."
)
@qlog_option
def serve(
    listen: tuple[str, int],
    public: str | None,
    key: Path | None,
    alternate_port: int | None,
    no_alternate: bool,
    qlog: Path | None,
) -> None:
    """Introduce nodes to each other, and tell them their public address (STUN).

    Prints NODE_ID@HOST:PORT, which `pknet expose --rendezvous` takes.
    """
    if no_alternate and alternate_port is not None:
        raise click.UsageError("--alternate-port and --no-alternate exclude each other")
    if alternate_port is None and not no_alternate:
        alternate_port = listen[1] + 1 if 0 < listen[1] < MAX_PORT else 0
    key_path = key or default_key_path("serve")
    nodes = RendezvousNodes(load_or_make_key(key_path))
    options = NetworkOptions(*listen, introduces=True, alternate_port=alternate_port, qlog=qlog)
    with locked(key_path):
        run(_serve(Network(nodes, options), public))


async def _serve(network: Network, public: str | None) -> None:
    async with network:
        port = network.address[1]
        hosts = [public] if public else [host for host, _ in network.local_addresses]
        addresses = ",".join(format_address((host, port)) for host in hosts)
        say(f"Rendezvous node and STUN server on UDP {format_address(network.address)}. For the others:")
        click.echo(f"{network.node_id}@{addresses}")
        await until_stopped()
