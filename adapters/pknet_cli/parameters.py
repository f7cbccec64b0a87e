"""Types of arguments: addresses, rendezvous nodes, tickets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pknet.errors import PknetError
from pknet.network import RendezvousInfo, Ticket, TicketError, parse_node_id

__all__ = ["ADDRESS", "RENDEZVOUS", "TICKET", "AddressType", "format_address", "qlog_option"]


def format_address(address: tuple[str, int]) -> str:
    """Return HOST:PORT, an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class AddressType(click.ParamType):
    """HOST:PORT, an IPv6 host in brackets; the port may be left out where there is a default."""

    name = "HOST:PORT"

    def __init__(self, default_port: int | None = None) -> None:
        self.default_port = default_port

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return (host, port)."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        host, separator, port = text.rpartition(":")
        if text.startswith("[") and text.endswith("]"):
            host, separator, port = text, "", ""
        elif not separator:
            host, port = text, ""
        elif ":" in host and not host.startswith("["):
            self.fail(f"{text!r}: write an IPv6 address in brackets, as [::1]:1315", param, ctx)
        if not port and self.default_port is not None:
            port = str(self.default_port)
        if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
            self.fail(f"{text!r} is not HOST:PORT", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


class RendezvousType(click.ParamType):
    """NODE_ID@HOST:PORT, as `pknet serve` prints it."""

    name = "NODE_ID@HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RendezvousInfo:
        """Return what is to be known of the rendezvous node."""
        if isinstance(value, RendezvousInfo):
            return value
        node_id, separator, addresses = str(value).partition("@")
        if not separator:
            self.fail(f"{value!r} is not NODE_ID@HOST:PORT, as `pknet serve` prints it", param, ctx)
        try:
            return RendezvousInfo(
                parse_node_id(node_id),
                tuple(ADDRESS.convert(address, param, ctx) for address in addresses.split(",")),
            )
        except PknetError as error:
            self.fail(str(error), param, ctx)


class TicketType(click.ParamType):
    """A ticket, as `pknet expose` prints it."""

    name = "TICKET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Ticket:
        """Return the ticket."""
        if isinstance(value, Ticket):
            return value
        try:
            return Ticket.parse(str(value))
        except TicketError as error:
            self.fail(str(error), param, ctx)


ADDRESS = AddressType()
RENDEZVOUS = RendezvousType()
TICKET = TicketType()

qlog_option = click.option(
    "--qlog",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a log of each uTP connection into this folder, for `pknet plot`.",
)
