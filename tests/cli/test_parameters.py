"""Arguments: what is not right is refused before anything is done, and in plain words."""

from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pknet.network import Ticket
from pknet_cli.main import main
from pknet_cli.parameters import ADDRESS, HOST, NODE_ID, RENDEZVOUS, SECONDS, SERVER

NODE = "a" * 52
TICKET = Ticket(NODE, bytes(16), (("192.0.2.1", 1315),)).encode()  # type: ignore[arg-type]
LONG_LABEL = "a" * 64 + ".example"
LONG_NAME = ".".join(["a" * 60] * 5)


def pknet(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def read(parameter: click.ParamType, text: str) -> Any:
    return parameter.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:1315", ("::1", 1315)),
        ("[2001:DB8:0::1]:1", ("2001:db8::1", 1)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("Example.ORG:65535", ("example.org", 65535)),
        ("bücher.example:1", ("xn--bcher-kva.example", 1)),
    ],
)
def test_an_address_is_read_as_it_is_usually_written(text: str, address: tuple[str, int]) -> None:
    assert read(ADDRESS, text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not HOST:PORT"),
        ("host", "is not HOST:PORT"),
        ("host:", "is not HOST:PORT"),
        ("[::1]", "is not HOST:PORT"),
        ("::1:80", "in brackets"),
        ("host:99999", "a port is a number from 0 to 65535"),
        ("host:eighty", "a port is a number"),
        ("host:" + "1" * 5000, "a port is a number"),
        ("host:-1", "a port is a number"),
        ("foo bar:80", "is no host name and no IP address"),
        ("a..b:80", "is no host name and no IP address"),
        (f"{LONG_LABEL}:80", "is no host name and no IP address"),
        (f"{LONG_NAME}:80", "is no host name and no IP address"),
        ("-a:80", "is no host name and no IP address"),
        ("1.2.3:80", "is no host name and no IP address"),
        ("[::1:80", "is no host name and no IP address"),
        ("[localhost]:80", "is no host name and no IP address"),
    ],
)
def test_a_malformed_address_is_refused(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        read(ADDRESS, text)


def test_where_others_listen_port_0_is_none() -> None:
    with pytest.raises(click.BadParameter, match="a port is a number from 1 to 65535"):
        read(SERVER, "127.0.0.1:0")


@pytest.mark.parametrize(
    ("text", "host"),
    [("[::1]", "::1"), ("::1", "::1"), ("192.0.2.1", "192.0.2.1"), ("Example.ORG", "example.org")],
)
def test_the_public_host_is_read_as_it_is_usually_written(text: str, host: str) -> None:
    assert read(HOST, text) == host


@pytest.mark.parametrize(
    "text", ["", "foo bar", "example.org:1315", "[::1]:1315", LONG_LABEL, LONG_NAME, "fe80::1%2"]
)
def test_a_public_host_that_is_of_no_use_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read(HOST, text)


def test_a_node_id_in_capitals_is_the_same() -> None:
    assert read(NODE_ID, NODE.upper()) == NODE
    assert read(RENDEZVOUS, f"{NODE.upper()}@[::1]:1,example.org:2").addresses == (
        ("::1", 1),
        ("example.org", 2),
    )


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "soon", ""])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no number of seconds above 0"):
        read(SECONDS, text)


@pytest.mark.parametrize(
    "arguments",
    [
        "serve --alternate-port 70000",
        "serve --alternate-port 1316 --no-alternate",
        "serve --public example.org:1315",
        "expose 127.0.0.1:0",
        "expose 127.0.0.1:80 --admit foo",
        "expose 127.0.0.1:80 --rendezvous foo",
        f"expose 127.0.0.1:80 --rendezvous {NODE}@a..b:1315",
        "stun 127.0.0.1:0",
        f"stun {LONG_LABEL}",
        "stun 127.0.0.1 --timeout nan",
        f"connect {TICKET} --listen a..b:0",
        f"connect {TICKET} --udp {LONG_LABEL}:0",
    ],
)
def test_what_a_command_can_not_use_is_refused_with_status_2(arguments: str) -> None:
    refused = pknet(*arguments.split())
    assert refused.exit_code == 2, refused.output
    assert refused.output.splitlines()[-1].startswith("Error: ")
