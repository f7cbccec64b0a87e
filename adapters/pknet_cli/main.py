"""The command `pknet`: its subcommands, one module each."""

from __future__ import annotations

import logging
from typing import Any

import click

import pknet
from pknet.errors import PknetError
from pknet_cli.connect import connect
from pknet_cli.expose import expose
from pknet_cli.output import start_log
from pknet_cli.plot import plot
from pknet_cli.running import interrupted
from pknet_cli.serve import serve
from pknet_cli.stun import stun

__all__ = ["main"]


class _Group(click.Group):
    """Commands whose errors that the user can do something about are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (PknetError, OSError) as error:
            raise click.ClickException(_in_plain_words(error)) from None
        except KeyboardInterrupt:
            raise interrupted() from None


def _in_plain_words(error: Exception) -> str:
    """Return what an error says, without the number that the system gives it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pknet.__version__, prog_name="pknet")
@click.option("-v", "--verbose", is_flag=True, help="Say what happens inside.")
def main(verbose: bool) -> None:
    """Reliable, private streams between programs behind NATs.

    What a program may want to read goes to standard output (a ticket, an address), all else to standard
    error.
    """
    start_log(logging.INFO if verbose else logging.WARNING)


main.add_command(serve)
main.add_command(expose)
main.add_command(connect)
main.add_command(stun)
main.add_command(plot)
