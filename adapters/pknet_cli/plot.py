"""`pknet plot`: draws what a connection did, from its log."""

from __future__ import annotations

from pathlib import Path

import click

from pknet_io.errors import system_words
from pknet_io.qlog import read_qlog

__all__ = ["plot"]

FORMATS = (".svg", ".png", ".pdf")


@click.command(short_help="Draw the log of a connection, as --qlog writes it.")
@click.argument("log", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to draw it: .svg, .png or .pdf (default: beside the log, .svg).",
)
def plot(log: Path, output: Path | None) -> None:
    """Draw the log of a uTP connection, as --qlog writes it: each packet, the delay and the window over time.

    Prints the name of the drawing.
    """
    target = log.with_suffix(".svg") if output is None else output
    if target.suffix not in FORMATS:
        raise click.BadParameter(
            f"a drawing is {', '.join(FORMATS)}, not {target.name}", param_hint="--output"
        )
    try:
        from pknet_cli.drawing import draw
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"drawing needs {error.name}, which is not installed: pip install 'pknet[plot]'"
        ) from None
    from pknet_cli.flow import read_flow

    flow = read_flow(read_qlog(log))
    try:
        draw(flow, target)
    except OSError as error:
        raise click.ClickException(f"can't draw into {target}: {system_words(error)}") from None
    click.echo(target)
