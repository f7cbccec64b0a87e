"""Types of arguments: hosts, addresses, node ids, rendezvous nodes, tickets."""

from __future__ import annotations

import ipaddress
import math
import re
from pathlib import Path
from typing import Any

import click

from pknet.errors import PknetError
from pknet.network import NodeId, RendezvousInfo, Ticket, TicketError, parse_node_id

__all__ = [
    "ADDRESS",
    "HOST",
    "NODE_ID",
    "PORT",
    "RENDEZVOUS",
    "SECONDS",
    "SERVER",
    "TICKET",
    "AddressType",
    "format_address",
    "qlog_option",
]

MAX_PORT = 65535
MAX_HOST_LENGTH = 253  # RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters

# RFC 1123 section 2.1, and the underscore that some names have.
_LABEL = re.compile(r"[0-9a-z_]([0-9a-z_-]{0,61}[0-9a-z_])?")


def format_address(address: tuple[str, int]) -> str:
    """Return HOST:PORT, an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HostType(click.ParamType):
    """A host that others can use: its name, or its IP address."""

    name = "HOST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name in lower case, an IPv6 address without brackets."""
        try:
            host = _to_host(str(value))
        except ValueError:
            self.fail(f"{value!r} is no host name and no IP address", param, ctx)
        if "%" in host:
            self.fail(f"{value!r}: the interface behind % means nothing on other machines", param, ctx)
        return host


class AddressType(click.ParamType):
    """HOST:PORT, an IPv6 host in brackets; the port may be left out where there is a default."""

    name = "HOST:PORT"

    def __init__(self, default_port: int | None = None, *, lowest_port: int = 1) -> None:
        self.default_port = default_port
        self.lowest_port = lowest_port

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return (host, port)."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        host, separator, port = text.rpartition(":")
        if text.endswith("]") or not separator:
            host, port = text, ""
        if ":" in host and not host.startswith("["):
            self.fail(f"{text!r}: write an IPv6 address in brackets, as [::1]:1315", param, ctx)
        if not port and self.default_port is not None:
            port = str(self.default_port)
        if not host or not port:
            self.fail(f"{text!r} is not HOST:PORT", param, ctx)
        try:
            host = _to_host(host)
        except ValueError:
            self.fail(f"{host!r} is no host name and no IP address", param, ctx)
        if not re.fullmatch(r"[0-9]{1,5}", port) or not self.lowest_port <= int(port) <= MAX_PORT:
            self.fail(f"{text!r}: a port is a number from {self.lowest_port} to {MAX_PORT}", param, ctx)
        return host, int(port)


class NodeIdType(click.ParamType):
    """The id of a node."""

    name = "NODE_ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NodeId:
        """Return the node id, in lower case."""
        try:
            return parse_node_id(str(value))
        except PknetError as error:
            self.fail(str(error), param, ctx)


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
                tuple(SERVER.convert(address, param, ctx) for address in addresses.split(",")),
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


class SecondsType(click.ParamType):
    """A time in seconds."""

    name = "SECONDS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is no number of seconds above 0", param, ctx)
        return seconds


def _to_host(text: str) -> str:
    """Return an IP address as it is usually written, or a name in ASCII and lower case. Raises ValueError."""
    if ":" in text:
        is_in_brackets = text.startswith("[") and text.endswith("]")
        return str(ipaddress.IPv6Address(text[1:-1] if is_in_brackets else text))
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        name = text.encode("idna").decode("ascii").lower()
    labels = name.removesuffix(".").split(".")
    # What ends in digits alone is a mistyped address (RFC 1123 section 2.1).
    if len(name) > MAX_HOST_LENGTH or labels[-1].isdecimal() or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("no name and no address")
    return name


ADDRESS = AddressType(lowest_port=0)
HOST = HostType()
NODE_ID = NodeIdType()
PORT = click.IntRange(0, MAX_PORT)
RENDEZVOUS = RendezvousType()
SECONDS = SecondsType()
SERVER = AddressType()
TICKET = TicketType()

qlog_option = click.option(
    "--qlog",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a log of each uTP connection into this folder, for `pknet plot`.",
)
