from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from pknet.errors import PknetError
from pknet.network.identity import NodeId, node_id_from_digest
from pknet.network.info import InvalidNodeInfoError, NodeInfo, RendezvousInfo

A = node_id_from_digest(bytes(32))
B = node_id_from_digest(bytes([1]) * 32)
SECRET = b"sixteen  secrets"

node_ids = st.binary(min_size=32, max_size=32).map(node_id_from_digest)
hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,60}", fullmatch=True),
    st.just("fe80::1%eth0"),
)
addresses = st.lists(st.tuples(hosts, st.integers(1, 65535)), max_size=16).map(tuple)
rendezvous = st.lists(st.builds(RendezvousInfo, node_ids, addresses), max_size=8).map(tuple)
node_infos = st.builds(NodeInfo, node_ids, addresses, rendezvous, st.sampled_from([b"", SECRET]))


@settings(deadline=None)
@given(node_infos)
def test_information_survives_json_and_msgpack(info: NodeInfo) -> None:
    assert NodeInfo.from_json(info.to_json()) == info
    assert NodeInfo.from_json(info.to_json().decode()) == info
    assert NodeInfo.from_msgpack(info.to_msgpack()) == info


def test_information_can_be_read_by_people() -> None:
    info = NodeInfo(A, (("203.0.113.5", 1315),), (RendezvousInfo(B, (("rendezvous.example", 1315),)),))
    assert msgspec.json.decode(info.to_json()) == {
        "node_id": A,
        "addresses": [["203.0.113.5", 1315]],
        "rendezvous": [{"node_id": B, "addresses": [["rendezvous.example", 1315]]}],
        "secret": "",
    }


def test_a_node_id_alone_is_enough() -> None:
    assert NodeInfo.from_json(f'{{"node_id": "{A}"}}') == NodeInfo(A)


def test_fields_of_a_later_version_are_ignored() -> None:
    assert NodeInfo.from_json(f'{{"node_id": "{A}", "colour": ["green"]}}') == NodeInfo(A)


@pytest.mark.parametrize("host", ["", "a b", "a\n", "a/b", "\N{BULLET}", "x" * 254, "h\x1b[31m"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(InvalidNodeInfoError, match="host name"):
        NodeInfo(A, ((host, 1315),))
    with pytest.raises(InvalidNodeInfoError, match="host name"):
        NodeInfo.from_json(msgspec.json.encode({"node_id": A, "addresses": [[host, 1315]]}))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(InvalidNodeInfoError, match="port"):
        NodeInfo(A, (("203.0.113.5", port),))
    with pytest.raises(InvalidNodeInfoError, match="port"):
        NodeInfo.from_msgpack(msgspec.msgpack.encode({"node_id": A, "addresses": [["203.0.113.5", port]]}))


def test_the_numbers_of_addresses_and_rendezvous_nodes_are_bounded() -> None:
    address = ("203.0.113.5", 1315)
    NodeInfo(A, (address,) * 16, (RendezvousInfo(B, (address,) * 16),) * 8)
    with pytest.raises(InvalidNodeInfoError, match="16 addresses"):
        NodeInfo(A, (address,) * 17)
    with pytest.raises(InvalidNodeInfoError, match="16 addresses"):
        RendezvousInfo(B, (address,) * 17)
    with pytest.raises(InvalidNodeInfoError, match="8 rendezvous"):
        NodeInfo(A, (), (RendezvousInfo(B, ()),) * 9)


@pytest.mark.parametrize("node_id", ["", "abc", A.upper(), f" {A}"])
def test_a_node_id_in_another_spelling_is_refused(node_id: str) -> None:
    with pytest.raises(PknetError):
        NodeInfo(NodeId(node_id))
    with pytest.raises(PknetError):
        RendezvousInfo(NodeId(node_id), ())
    with pytest.raises(InvalidNodeInfoError):
        NodeInfo.from_json(msgspec.json.encode({"node_id": node_id}))


def test_a_secret_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidNodeInfoError, match="16 bytes"):
        NodeInfo(A, secret=b"short")


def test_a_secret_is_not_shown() -> None:
    info = NodeInfo(A, secret=SECRET)
    for shown in (repr(info), str(info), pretty_repr(info)):
        assert "sixteen" not in shown
        assert A in shown


def test_what_others_may_be_told_has_no_secret() -> None:
    info = NodeInfo(A, (("203.0.113.5", 1315),), secret=SECRET)
    assert info.public() == NodeInfo(A, (("203.0.113.5", 1315),))
    assert SECRET not in info.public().to_msgpack()


def test_what_is_too_large_is_not_even_read() -> None:
    with pytest.raises(InvalidNodeInfoError, match="65536 bytes"):
        NodeInfo.from_json(f'{{"node_id": "{A}", "x": "{"x" * 65536}"}}')


def test_the_largest_information_can_be_read_again() -> None:
    address = ("x" * 253, 65535)
    largest = NodeInfo(A, (address,) * 16, (RendezvousInfo(B, (address,) * 16),) * 8, SECRET)
    assert NodeInfo.from_json(largest.to_json()) == largest
    assert NodeInfo.from_msgpack(largest.to_msgpack()) == largest


def test_json_that_is_deep_is_refused() -> None:
    with pytest.raises(InvalidNodeInfoError):
        NodeInfo.from_json(f'{{"node_id": "{A}", "x": {"[" * 60000}')


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for decode in (NodeInfo.from_json, NodeInfo.from_msgpack):
        with pytest.raises(InvalidNodeInfoError):
            decode(data)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.recursive(
                st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=60) | node_ids,
                lambda children: (
                    st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=9), children)
                ),
                max_leaves=8,
            )
            for name in ("node_id", "addresses", "rendezvous", "secret")
        },
    )
)
def test_no_values_of_the_fields_raise_anything_else(fields: dict[str, object]) -> None:
    try:
        info = NodeInfo.from_msgpack(msgspec.msgpack.encode(fields))
    except InvalidNodeInfoError:
        return
    assert NodeInfo.from_msgpack(info.to_msgpack()) == info
