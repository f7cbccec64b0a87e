"""`pknet stun`: asks a STUN server for this machine's public address."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import click

from pknet.stun import BindingFailed, BindingSucceeded, BindingUnreachable, StunClient
from pknet_asyncio.driver import Driver
from pknet_cli.output import say
from pknet_cli.parameters import SECONDS, AddressType, format_address
from pknet_cli.running import run
from pknet_io.errors import system_words
from pknet_io.interfaces import local_addresses
from pknet_io.names import any_address_like, resolve
from pknet_io.udp import UdpSocket

__all__ = ["stun"]

STUN_PORT = 3478


@click.command(short_help="Ask a STUN server for this machine's public address.")
@click.argument("server", type=AddressType(STUN_PORT), metavar="HOST[:PORT]")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option(
    "--timeout", type=SECONDS, default=5.0, show_default=True, help="How long to wait for an answer."
)
def stun(server: tuple[str, int], as_json: bool, timeout: float) -> None:
    """Ask the STUN server at HOST (port 3478 unless given) by which address it sees this machine."""
    answer = run(_ask(server, timeout))
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(format_address((answer["mapped_address"]["host"], answer["mapped_address"]["port"])))
        rtt = answer["rtt"]
        nat = "no NAT between" if not answer["nat"] else "a NAT translates this machine's address"
        say(
            f"Seen so by {format_address(server)}"
            + ("" if rtt is None else f" in {rtt * 1000:.1f} ms")
            + f"; {nat}."
        )


async def _ask(server: tuple[str, int], timeout: float) -> dict[str, Any]:
    """Ask a server at each of its addresses; return the first answer."""
    try:
        addresses = await asyncio.to_thread(resolve, *server)
    except OSError as error:
        raise click.ClickException(f"{server[0]}: {system_words(error)}") from None
    asking = [asyncio.ensure_future(_ask_at(address, timeout)) for address in addresses]
    try:
        for answer in asyncio.as_completed(asking):
            try:
                return await answer
            except OSError as error:
                failure = error
    finally:
        for task in asking:
            task.cancel()
    raise failure


async def _ask_at(address: tuple[str, int], timeout: float) -> dict[str, Any]:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def on_event(event: Any) -> None:
        if not answered.done():
            answered.set_result(event)

    client = StunClient(os.urandom)
    udp_socket = UdpSocket.bind(*any_address_like(address))
    own_port = udp_socket.address[1]
    udp_socket.hear_unreachable(True)
    driver = Driver(client, udp_socket, on_event)
    try:
        client.binding(address, driver.now)
        driver.drain()
        async with asyncio.timeout(timeout):
            event = await answered
    except TimeoutError:
        raise TimeoutError(f"no answer from {format_address(address)} within {timeout:g} seconds") from None
    finally:
        driver.close()
    if isinstance(event, BindingUnreachable):
        raise ConnectionRefusedError(f"{format_address(address)} refused: nobody has that port")
    if isinstance(event, BindingFailed):
        raise OSError(f"{format_address(address)} refused: {event.error}")
    if not isinstance(event, BindingSucceeded):
        raise TimeoutError(f"no answer from {format_address(address)}")
    host, port = event.mapped_address
    return {
        "server": {"host": address[0], "port": address[1]},
        "mapped_address": {"host": host, "port": port},
        "rtt": event.rtt,
        "nat": host not in (*local_addresses(), "127.0.0.1", "::1") or port != own_port,
    }
