"""The two adapters have the same names for the same things."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import pknet_asyncio
import pknet_blocking
from pknet_asyncio.nodes import AsyncNodes
from pknet_blocking.nodes import Nodes

# What a program deals with, where the standard library has other names for the two.
OWN_NAMES = {
    "asyncio": {
        "AsyncNodes",
        "StreamTransport",
        "UtpServer",
        "create_utp_connection",
        "create_utp_server",
        "open_utp_connection",
        "start_utp_server",
    },
    "blocking": {"Nodes", "Stream", "UtpListener", "create_connection", "create_server"},
}


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_modules_offer_the_same() -> None:
    names = set(pknet_asyncio.__all__) - OWN_NAMES["asyncio"]
    assert names == set(pknet_blocking.__all__) - OWN_NAMES["blocking"]
    assert sorted(pknet_asyncio.__all__) == pknet_asyncio.__all__
    assert sorted(pknet_blocking.__all__) == pknet_blocking.__all__


@pytest.mark.parametrize("name", ["Forwarder", "Network", "RendezvousNodes"])
def test_what_they_offer_has_the_same_members(name: str) -> None:
    assert public(getattr(pknet_asyncio, name)) == public(getattr(pknet_blocking, name))


def test_a_network_is_made_and_used_alike() -> None:
    for name in ("__init__", "connect", "reach", "forward", "wait_registered", "open_signalling"):
        ours = inspect.signature(getattr(pknet_asyncio.Network, name)).parameters
        theirs = inspect.signature(getattr(pknet_blocking.Network, name)).parameters
        assert list(ours) == list(theirs)
        assert [parameter.default for parameter in ours.values()] == [
            parameter.default for parameter in theirs.values()
        ]


def test_a_programs_own_nodes_have_the_same_seven_members() -> None:
    seven = {
        "connect_to_node",
        "get_node",
        "list_nodes",
        "logger",
        "private_key",
        "this_node",
        "update_node",
    }
    assert public(AsyncNodes) == public(Nodes) == seven
