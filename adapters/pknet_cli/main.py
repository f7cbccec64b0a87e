"""The command `pknet`: its subcommands, one module each."""

from __future__ import annotations

import logging

import click
from rich.logging import RichHandler

import pknet
from pknet_cli.connect import connect
from pknet_cli.expose import expose
from pknet_cli.output import console
from pknet_cli.plot import plot
from pknet_cli.serve import serve
from pknet_cli.stun import stun

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pknet.__version__, prog_name="pknet")
@click.option("-v", "--verbose", is_flag=True, help="Say what happens inside.")
def main(verbose: bool) -> None:
    """Reliable, private streams between programs behind NATs.

    What a program may want to read goes to standard output (a ticket, an address), all else to standard
    error.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False)],
    )


main.add_command(serve)
main.add_command(expose)
main.add_command(connect)
main.add_command(stun)
main.add_command(plot)
