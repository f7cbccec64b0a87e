from __future__ import annotations

import hashlib
import hmac
import re
import shlex

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.errors import PknetError
from pknet.network.identity import NodeId, node_id_from_digest
from pknet.network.info import NodeInfo, RendezvousInfo
from pknet.network.ticket import Ticket, TicketError, _checksum, _to_base32, admission_proof, check_admission

A = node_id_from_digest(hashlib.sha256(b"a").digest())
B = node_id_from_digest(hashlib.sha256(b"b").digest())
SECRET = b"sixteen  secrets"
TICKET = Ticket(
    A,
    SECRET,
    (("203.0.113.5", 1315), ("2001:db8::5", 1315)),
    (RendezvousInfo(B, (("rendezvous.example", 1315),)),),
)
TEXT = TICKET.encode()
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

node_ids = st.binary(min_size=32, max_size=32).map(node_id_from_digest)
hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,60}", fullmatch=True),
    st.sampled_from(["fe80::1%eth0", "0:0:0:0:0:0:0:1", "::ffff:203.0.113.5", "localhost", "2001:DB8::1"]),
)
addresses = st.lists(st.tuples(hosts, st.integers(1, 65535)), max_size=16).map(tuple)
rendezvous = st.lists(st.builds(RendezvousInfo, node_ids, addresses), max_size=8).map(tuple)
tickets = st.builds(Ticket, node_ids, st.binary(min_size=16, max_size=16), addresses, rendezvous)


@settings(deadline=None)
@given(tickets)
def test_a_ticket_says_again_what_it_was_made_of(ticket: Ticket) -> None:
    text = ticket.encode()
    assert Ticket.parse(text) == ticket
    assert Ticket.parse(text.upper()) == ticket


def test_the_format_stays_what_it_is() -> None:
    ticket = Ticket(A, SECRET, (("203.0.113.5", 1315),))
    text = (
        "pknet1stccbsuxqejmug55zl5memnttir5ytnhq3x7qfd4jzzltadxqwx64sf3yqihg2"
        "lyorswk3raebzwky3smv2hhemsyqctjsyaoec42bjdsae2bexfgy"
    )
    assert ticket.encode() == text
    assert Ticket.parse(text) == ticket


def test_a_ticket_is_one_word_for_a_double_click_and_for_a_shell() -> None:
    assert re.fullmatch(r"pknet1[a-z2-7]+", TEXT)
    assert shlex.quote(TEXT) == TEXT
    assert len(TEXT) < 260


@pytest.mark.parametrize(
    "text",
    [
        f"  {TEXT}\r\n",
        "\n".join(TEXT[start : start + 40] for start in range(0, len(TEXT), 40)),
        "\t".join(TEXT),
        f"\N{NO-BREAK SPACE}{TEXT.upper()}",
    ],
)
def test_white_space_and_capitals_are_forgiven(text: str) -> None:
    assert Ticket.parse(text) == TICKET


def test_any_wrong_character_is_noticed() -> None:
    for position, right in enumerate(TEXT):
        for wrong in ALPHABET + "-_=+%.\0\N{KELVIN SIGN}":
            if wrong != right:
                with pytest.raises(TicketError):
                    Ticket.parse(TEXT[:position] + wrong + TEXT[position + 1 :])


def test_any_missing_character_is_noticed() -> None:
    for position in range(len(TEXT)):
        with pytest.raises(TicketError):
            Ticket.parse(TEXT[:position] + TEXT[position + 1 :])


def test_any_additional_character_is_noticed() -> None:
    for position in range(len(TEXT) + 1):
        for additional in ALPHABET:
            with pytest.raises(TicketError):
                Ticket.parse(TEXT[:position] + additional + TEXT[position:])


def test_any_two_characters_that_change_places_are_noticed() -> None:
    for first in range(len(TEXT)):
        for second in range(first + 1, len(TEXT)):
            if TEXT[first] != TEXT[second]:
                swapped = list(TEXT)
                swapped[first], swapped[second] = swapped[second], swapped[first]
                with pytest.raises(TicketError):
                    Ticket.parse("".join(swapped))


def test_a_ticket_that_was_cut_off_is_noticed() -> None:
    for length in range(len(TEXT)):
        with pytest.raises(TicketError):
            Ticket.parse(TEXT[:length])


def test_a_wrong_last_character_is_noticed_where_it_carries_bits_that_say_nothing() -> None:
    for length in range(1, 9):
        text = Ticket(A, SECRET, (("h" * length, 1315),)).encode()
        for wrong in set(ALPHABET) - {text[-1]}:
            with pytest.raises(TicketError):
                Ticket.parse(text[:-1] + wrong)


@settings(deadline=None)
@given(tickets, st.data())
def test_a_slip_in_any_ticket_is_noticed(ticket: Ticket, data: st.DataObject) -> None:
    text = ticket.encode()
    position = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from(ALPHABET).filter(lambda character: character != text[position]))
    with pytest.raises(TicketError):
        Ticket.parse(text[:position] + wrong + text[position + 1 :])


def test_a_text_that_is_no_ticket_is_told_so() -> None:
    with pytest.raises(TicketError, match="begins with pknet1"):
        Ticket.parse("ssh-ed25519 AAAA")


def test_a_ticket_of_another_version_is_told_so() -> None:
    with pytest.raises(TicketError, match="version '2'"):
        Ticket.parse("pknet2" + TEXT[6:])


def test_a_damaged_ticket_is_to_be_copied_again() -> None:
    with pytest.raises(TicketError, match="copy the whole"):
        Ticket.parse(TEXT[:-1])


def test_an_error_never_quotes_the_ticket() -> None:
    for text in (TEXT[:-1], "pknet2" + TEXT[6:], TEXT[1:], TEXT * 400):
        with pytest.raises(TicketError) as caught:
            Ticket.parse(text)
        assert TEXT[20:40] not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_largest_ticket_can_be_read_again() -> None:
    address = ("x" * 253, 65535)
    largest = Ticket(A, SECRET, (address,) * 16, (RendezvousInfo(B, (address,) * 16),) * 8)
    assert Ticket.parse(largest.encode()) == largest


def test_a_text_that_is_longer_is_not_even_read() -> None:
    with pytest.raises(TicketError, match="65536"):
        Ticket.parse("pknet1" + "a" * 65536)


@settings(deadline=None)
@given(
    st.text(max_size=100) | st.text("abcdefghijklmnopqrstuvwxyz234567", max_size=100).map("pknet1".__add__)
)
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(TicketError):
        Ticket.parse(text)


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_content_that_is_malformed_under_a_right_checksum_raises_nothing_else(body: bytes) -> None:
    with pytest.raises(TicketError, match="content"):
        Ticket.parse("pknet1" + _to_base32(body + _checksum(body)))


@pytest.mark.parametrize(
    ("node_id", "secret", "addresses"),
    [
        (bytes(31), SECRET, []),
        (bytes(32), SECRET[:-1], []),
        (bytes(32), SECRET, [(b"4" + bytes(3), 1315)]),
        (bytes(32), SECRET, [(b"6" + bytes(4), 1315)]),
        (bytes(32), SECRET, [(b"n\xff", 1315)]),
        (bytes(32), SECRET, [(b"na b", 1315)]),
        (bytes(32), SECRET, [(b"x" + bytes(4), 1315)]),
        (bytes(32), SECRET, [(b"", 1315)]),
        (bytes(32), SECRET, [(b"nhost", 0)]),
        (bytes(32), SECRET, [(b"nhost", 1315)] * 17),
    ],
)
def test_content_out_of_bounds_under_a_right_checksum_is_refused(
    node_id: bytes, secret: bytes, addresses: list[tuple[bytes, int]]
) -> None:
    nobody: list[object] = []
    as_the_node = (node_id, secret, addresses, nobody)
    as_its_rendezvous = (bytes(32), secret, nobody, [(node_id, addresses)])
    for content in (as_the_node, as_its_rendezvous):
        body = msgspec.msgpack.encode(content)
        with pytest.raises(TicketError, match="content"):
            Ticket.parse("pknet1" + _to_base32(body + _checksum(body)))


def test_the_secret_is_not_shown() -> None:
    assert "sixteen" not in repr(TICKET)
    assert A in repr(TICKET)


def test_a_ticket_becomes_information_of_its_node() -> None:
    assert TICKET.to_node_info() == NodeInfo(A, TICKET.addresses, TICKET.rendezvous, SECRET)


def test_a_ticket_out_of_bounds_is_not_made() -> None:
    with pytest.raises(PknetError, match="16 bytes"):
        Ticket(A, b"")
    with pytest.raises(PknetError):
        Ticket(NodeId("a"), SECRET)
    with pytest.raises(PknetError):
        Ticket(A, SECRET, (("203.0.113.5", 0),))


def test_an_admission_proof_is_an_hmac_over_context_and_channel() -> None:
    expected = hmac.new(SECRET, b"\0\0\0\x03usechannel", hashlib.sha256).digest()
    assert admission_proof(SECRET, b"use", b"channel") == expected


def test_an_admission_proof_holds_for_its_secret_use_and_channel_alone() -> None:
    proof = admission_proof(SECRET, b"use", b"channel")
    assert check_admission(SECRET, b"use", b"channel", proof)
    assert not check_admission(bytes(16), b"use", b"channel", proof)
    assert not check_admission(SECRET, b"us", b"echannel", proof)
    assert not check_admission(SECRET, b"use", b"another", proof)
    assert not check_admission(SECRET, b"use", b"channel", proof[:-1])
    assert not check_admission(SECRET, b"use", b"channel", b"")


def test_no_secret_proves_nothing() -> None:
    with pytest.raises(PknetError, match="16 bytes"):
        admission_proof(b"", b"use", b"channel")
    with pytest.raises(PknetError, match="16 bytes"):
        check_admission(b"", b"use", b"channel", bytes(32))
