import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet.errors import ProtocolError
from pknet.nat import Candidate, CandidateType, Description, Mapping, reachable_address

OWN = (("10.0.0.2", 1315), ("2001:db8::2", 1315))

candidates = st.builds(Candidate, st.sampled_from(CandidateType), st.text(max_size=64), st.integers(1, 65535))


@given(st.lists(candidates, max_size=8), st.sampled_from(Mapping))
def test_a_description_survives_its_encoding(named: list[Candidate], mapping: Mapping) -> None:
    description = Description(tuple(named), mapping)
    assert Description.decode(description.encode()) == description


@given(st.binary(max_size=200))
def test_any_bytes_are_a_description_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert len(Description.decode(data).candidates) <= 8


@pytest.mark.parametrize(
    "content",
    [
        [[["host", "192.0.2.1", 1315]] * 9],
        [[["host", "192.0.2.1", 0]]],
        [[["host", "192.0.2.1", 65536]]],
        [[["host", "9" * 65, 1]]],
        [[["relayed", "192.0.2.1", 1]]],
        [[], "unheard of"],
        [[["host", "192.0.2.1"]]],
        [],
        7,
    ],
    ids=["too many", "port 0", "port 65536", "long host", "type", "mapping", "no port", "empty", "number"],
)
def test_a_description_out_of_bounds_is_refused(content: object) -> None:
    with pytest.raises(ProtocolError):
        Description.decode(msgspec.msgpack.encode(content))


def test_fields_of_a_later_version_are_ignored() -> None:
    data = msgspec.msgpack.encode([[["host", "192.0.2.1", 1, "more"]], "unknown", {"and": "more"}])
    assert Description.decode(data) == Description((Candidate(CandidateType.HOST, "192.0.2.1", 1),))


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("10.0.0.3", "10.0.0.3"),
        ("100.64.0.1", "100.64.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_packets_may_go_to_hosts_near_and_far(host: str, canonical: str) -> None:
    assert reachable_address((host, 1315), OWN) == (canonical, 1315)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "example.org",
        "192.0.2.1; rm -rf /",
        "192.0.2.01",
        "0x7f.1",
        "127.1",
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "255.255.255.255",
        "240.0.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "ff02::1",
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "2001:db8::1%1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.1",
        "::127.0.0.1",
    ],
)
def test_no_packet_may_go_to_what_is_no_host_elsewhere(host: str) -> None:
    assert reachable_address((host, 1315), OWN) is None


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_packet_may_go_to_what_is_no_port(port: int) -> None:
    assert reachable_address(("192.0.2.1", port), OWN) is None


def test_no_packet_may_go_to_oneself_but_to_another_port_of_the_same_host() -> None:
    assert reachable_address(("10.0.0.2", 1315), OWN) is None
    assert reachable_address(("2001:DB8::2", 1315), OWN) is None
    assert reachable_address(("10.0.0.2", 1316), OWN) == ("10.0.0.2", 1316)


def test_loopback_is_for_nodes_on_loopback_and_link_local_for_nodes_on_a_link() -> None:
    own = [("127.0.0.1", 1)]
    assert reachable_address(("127.0.0.2", 2), own) == ("127.0.0.2", 2)
    assert reachable_address(("169.254.1.1", 2), own) is None
    assert reachable_address(("169.254.1.1", 2), [("fe80::1%eth0", 1)]) == ("169.254.1.1", 2)


@given(st.text(max_size=64), st.integers())
def test_any_words_are_an_address_or_none(host: str, port: int) -> None:
    address = reachable_address((host, port), OWN)
    assert address is None or reachable_address(address, OWN) == address
