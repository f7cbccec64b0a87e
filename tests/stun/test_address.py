from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet._core.stun_address import pack_address, unpack_address
from tests.stun import strategies, twin


@pytest.mark.parametrize(
    ("host", "packed"),
    [
        ("0.0.0.0", "00000000"),
        ("192.0.2.1", "c0000201"),
        ("255.255.255.255", "ffffffff"),
        ("::", "00000000000000000000000000000000"),
        ("::1", "00000000000000000000000000000001"),
        ("1::", "00010000000000000000000000000000"),
        ("2001:db8::1:0:0:1", "20010db8000000000001000000000001"),
        ("2001:db8:0:1:1:1:1:1", "20010db8000000010001000100010001"),
        ("::ffff:192.0.2.1", "00000000000000000000ffffc0000201"),
    ],
)
def test_an_address_and_its_text_are_each_other(host: str, packed: str) -> None:
    assert pack_address(host) == bytes.fromhex(packed)
    assert unpack_address(bytes.fromhex(packed)) == host


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("2001:DB8::A", "2001:db8::a"),
        ("2001:0db8:0000:0000:0000:0000:0000:000a", "2001:db8::a"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("::192.0.2.1", "::c000:201"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%2", "fe80::1"),
    ],
)
def test_other_texts_of_an_address_are_read(host: str, canonical: str) -> None:
    assert unpack_address(pack_address(host)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        "1.2.3.-4",
        "1.2.3.4%eth0",
        "1.2.3.\u0664",
        ":",
        ":::",
        ":1",
        "1:",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "1::2:3:4:5:6:7:8",
        "12345::",
        "g::",
        "::1.2.3",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::1.2.3.4:5",
        "fe80::1%",
        "%eth0",
        "::1\0",
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        pack_address(text)


@pytest.mark.parametrize("size", [0, 3, 5, 15, 17])
def test_bytes_that_are_no_address_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="4 or 16 bytes"):
        unpack_address(bytes(size))


@given(strategies.hosts)
def test_every_address_keeps_its_text(host: str) -> None:
    packed = pack_address(host)
    assert packed == ipaddress.ip_address(host).packed
    assert unpack_address(packed) == twin.host_of(packed) == host


@given(strategies.ipv6_hosts.filter(lambda host: not host.startswith("::")))
def test_the_text_is_what_sockets_say(host: str) -> None:
    assert unpack_address(pack_address(host)) == socket.inet_ntop(socket.AF_INET6, pack_address(host))


@given(st.one_of(st.text(alphabet="0123456789abcdefF:.", max_size=42), st.text(max_size=10)))
def test_texts_are_read_as_the_standard_library_does(text: str) -> None:
    try:
        expected = ipaddress.ip_address(text).packed
    except ValueError:
        with pytest.raises(ValueError, match=r".*"):
            pack_address(text)
    else:
        assert pack_address(text) == expected
