"""Names of hosts to addresses."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pknet_io.names import any_address_like, resolve, resolve_all

NAMES = {
    "both.example": ["2001:db8::1", "192.0.2.1"],
    "four.example": ["192.0.2.2"],
    "many.example": [f"192.0.2.{number}" for number in range(10, 60)],
}


@pytest.fixture(autouse=True)
def name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer for NAMES, with each address once for each protocol, as getaddrinfo may."""

    def answer(host: str, port: int, **_: Any) -> list[Any]:
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        six = socket.AF_INET6
        return [
            (six, socket.SOCK_DGRAM, 17, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port))
            for address in NAMES[host]
            for _ in range(2)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_name_has_the_addresses_of_both_families() -> None:
    assert resolve("both.example", 7) == [("2001:db8::1", 7), ("192.0.2.1", 7)]


@pytest.mark.parametrize("host", ["none.example", "a..b", "x" * 64 + ".example"])
def test_a_name_without_an_address_is_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    if host != "none.example":
        monkeypatch.undo()
    with pytest.raises(socket.gaierror):
        resolve(host, 7)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(OverflowError):
        resolve("four.example", port)


def test_of_several_names_those_without_an_address_are_left_out() -> None:
    names = [("none.example", 1), ("both.example", 7), ("four.example", 8), ("four.example", 8)]
    found, unknown = resolve_all(names)
    assert found == (("2001:db8::1", 7), ("192.0.2.2", 8), ("192.0.2.1", 7))
    assert unknown == ["none.example"]


def test_a_name_with_many_addresses_does_not_crowd_out_another() -> None:
    found, _ = resolve_all([("many.example", 1), ("both.example", 2)])
    assert len(found) == 16
    assert {("2001:db8::1", 2), ("192.0.2.1", 2)} < set(found)


@pytest.mark.parametrize(("host", "own"), [("192.0.2.1", "0.0.0.0"), ("2001:db8::1", "::")])
def test_a_socket_is_bound_to_the_family_that_it_is_to_send_to(host: str, own: str) -> None:
    assert any_address_like((host, 7)) == (own, 0)
