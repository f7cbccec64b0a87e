"""What hypothesis makes STUN messages of."""

from __future__ import annotations

import ipaddress

from hypothesis import strategies as st

from pknet.stun import Attribute
from tests.stun import twin

transaction_ids = st.binary(min_size=12, max_size=12)
keys = st.binary(min_size=1, max_size=150)
# So few that a message is often checked with the key that made it.
few_keys = st.sampled_from([b"one key", b"another key" * 10])
ports = st.integers(0, 0xFFFF)
ipv4_hosts = st.ip_addresses(v=4).map(str)
# Addresses with runs of zeros are rare among random ones, and they are the hard ones to write.
ipv6_hosts = st.one_of(
    st.ip_addresses(v=6),
    st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0x20, 0xABC]), min_size=8, max_size=8).map(
        lambda groups: ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups))
    ),
    st.ip_addresses(v=4).map(lambda v4: ipaddress.IPv6Address(bytes(10) + b"\xff\xff" + v4.packed)),
).map(lambda address: twin.host_of(address.packed))
hosts = st.one_of(ipv4_hosts, ipv6_hosts)
addresses = st.tuples(hosts, ports)

ATTRIBUTES_BY_THEMSELVES = (
    Attribute.MESSAGE_INTEGRITY,
    Attribute.MESSAGE_INTEGRITY_SHA256,
    Attribute.FINGERPRINT,
)
types = st.one_of(st.sampled_from(list(Attribute)), st.integers(0, 0xFFFF)).map(int)

# (type, value) as the wire has it: mostly of types that are known, often valid, often not.
raw_values = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([0, 4, 8, 16, 20, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.text(max_size=20).map(str.encode),
    st.tuples(st.sampled_from([1, 2]), ports, st.sampled_from([4, 16])).map(
        lambda v: bytes([0, v[0]]) + v[1].to_bytes(2, "big") + bytes(range(v[2]))
    ),
    st.tuples(st.integers(2, 7), st.integers(0, 110)).map(lambda v: bytes([0, 0, *v]) + b"why"),
    st.lists(st.binary(max_size=6)).map(
        lambda values: b"".join(twin.attribute(number, value) for number, value in enumerate(values))
    ),
)
raw_attributes = st.lists(st.tuples(types, raw_values), max_size=8)


@st.composite
def raw_messages(draw: st.DrawFn) -> bytes:
    """Draw messages that are well framed, whatever their attributes hold."""
    return twin.build(
        draw(st.integers(0, 0xFFF)),
        draw(st.integers(0, 3)),
        draw(transaction_ids),
        draw(raw_attributes),
        integrity_key=draw(st.none() | few_keys),
        integrity=draw(st.sampled_from(["sha1", "sha256", "both"])),
        sha256_size=draw(st.sampled_from([16, 20, 24, 28, 32])),
        fingerprint=draw(st.booleans()),
    )


@st.composite
def broken_messages(draw: st.DrawFn) -> bytes:
    """Draw messages that something happened to: cut, lengthened, or with bytes changed."""
    data = bytearray(draw(raw_messages()))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    return bytes(data) + draw(st.just(b"") | st.binary(max_size=8))


datagrams = st.one_of(st.binary(max_size=200), raw_messages(), broken_messages())
