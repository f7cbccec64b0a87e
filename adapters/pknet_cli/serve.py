"""`pknet serve`: a rendezvous node and STUN server on one socket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pknet_asyncio import Network, NetworkOptions, RendezvousNodes
from pknet_cli.keys import default_key_path, load_or_make_key
from pknet_cli.output import say
from pknet_cli.parameters import ADDRESS, format_address, qlog_option
from pknet_cli.running import run_until_stopped
from pknet_io.network import DEFAULT_PORT

if TYPE_CHECKING:
    import asyncio

__all__ = ["serve"]


@click.command()
@click.option("--listen", type=ADDRESS, default=("0.0.0.0", DEFAULT_PORT), help="UDP address to listen on.")
@click.option("--public", type=str, help="Host name or address by which others reach this node.")
@click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), help="File with the node's private key."
)
@click.option("--alternate-port", type=int, help="Second UDP port for STUN (default: the next one; 0: any).")
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
    if alternate_port is None:
        alternate_port = listen[1] + 1 if 0 < listen[1] < 65535 else 0
    nodes = RendezvousNodes(load_or_make_key(key or default_key_path("serve")))
    options = NetworkOptions(
        *listen, introduces=True, alternate_port=None if no_alternate else alternate_port, qlog=qlog
    )
    run_until_stopped(lambda stop: _serve(Network(nodes, options), public, stop))


async def _serve(network: Network, public: str | None, stop: asyncio.Event) -> None:
    async with network:
        port = network.address[1]
        hosts = [public] if public else [host for host, _ in network.local_addresses]
        addresses = ",".join(format_address((host, port)) for host in hosts)
        say(f"Rendezvous node and STUN server on UDP {format_address(network.address)}. For the others:")
        click.echo(f"{network.node_id}@{addresses}")
        await stop.wait()
        say("Stopping.")
