from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pknet.errors import PknetError, ProtocolError
from pknet.network.identity import Identity, NodeId
from pknet.network.introduction import (
    _ANSWER,
    _DECLINED,
    _OFFER,
    DESCRIPTION_LIMIT,
    MESSAGE_LIMIT,
    AdmissionRefusedError,
    Answer,
    Answerer,
    Declined,
    Go,
    IntroductionDeclinedError,
    IntroductionError,
    Message,
    Offer,
    Offerer,
    ProofCheck,
    _encode,
    _transcript,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = (Identity(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2, 3))
SECRET = b"sixteen  secrets"
OF_A, OF_B = b"the candidates of A", b"the candidates of B"


def tokens(seed: str) -> Callable[[int], bytes]:
    """Return a token_bytes that never repeats itself and is the same for the same seed."""
    count = 0

    def token_bytes(n: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed} {count}".encode()).digest(n)

    return token_bytes


def admit_all(node_id: NodeId, proof_check: ProofCheck) -> bool:
    return True


def offerer(seed: str = "a", peer: Identity = B, secret: bytes | None = None) -> Offerer:
    return Offerer(A, peer.node_id, tokens(seed), secret)


def answerer(seed: str = "b", identity: Identity = B, admit: Any = admit_all) -> Answerer:
    return Answerer(identity, tokens(seed), admit)


def introduced() -> tuple[Offerer, Answerer, bytes, bytes, bytes]:
    """Run one introduction to its end; both machines and the three messages."""
    a, b = offerer(), answerer()
    offer = a.offer()
    assert b.receive_offer(offer) == A.node_id
    answer = b.answer(OF_B)
    assert a.receive_answer(answer) == OF_B
    go = a.go(OF_A)
    assert b.receive_go(go) == OF_A
    return a, b, offer, answer, go


def signed(identity: Identity, context: bytes, bound_to: bytes, message: Message) -> bytes:
    """Sign a message as pknet does, whatever it says: what a hostile node can do."""
    unsigned = msgspec.structs.replace(message, signature=bytes(64))
    signature = identity.sign(context, _transcript(bound_to, _encode(unsigned)))
    return _encode(msgspec.structs.replace(unsigned, signature=signature))


def flips(message: bytes) -> list[bytes]:
    return [
        message[:position] + bytes([message[position] ^ (1 << bit)]) + message[position + 1 :]
        for position in range(len(message))
        for bit in range(8)
    ]


def test_three_messages_give_both_the_description_of_the_other_and_one_check_key() -> None:
    a, b, *_ = introduced()
    assert a.check_key == b.check_key
    assert len(a.check_key) == 32
    assert (b.peer, b.attempt) == (A.node_id, a.attempt)


def test_another_attempt_has_another_check_key() -> None:
    a, *_ = introduced()
    again, b = offerer("another"), answerer("another b")
    b.receive_offer(again.offer())
    again.receive_answer(b.answer(OF_B))
    assert again.check_key != a.check_key
    assert again.attempt != a.attempt


def test_the_attempt_can_be_read_from_every_message() -> None:
    a, _, offer, answer, go = introduced()
    assert [type(parse(message)) for message in (offer, answer, go)] == [Offer, Answer, Go]
    assert {parse(message).attempt for message in (offer, answer, go)} == {a.attempt}


def test_what_the_introducer_sees_holds_neither_description_nor_check_key() -> None:
    a, _, *messages = introduced()
    seen = b"".join(messages)
    for hidden in (OF_A, OF_B, a.check_key, SECRET):
        assert hidden not in seen


def test_any_bit_flipped_in_an_offer_is_refused() -> None:
    b = answerer()
    for flipped in flips(offerer(secret=SECRET).offer()):
        with pytest.raises(IntroductionError):
            b.receive_offer(flipped)
    assert b.receive_offer(offerer(secret=SECRET).offer()) == A.node_id  # and nothing was harmed


def test_any_bit_flipped_in_an_answer_is_refused() -> None:
    a, b = offerer(), answerer()
    b.receive_offer(a.offer())
    answer = b.answer(OF_B)
    for flipped in flips(answer):
        with pytest.raises(IntroductionError):
            a.receive_answer(flipped)
    assert a.receive_answer(answer) == OF_B


def test_any_bit_flipped_in_a_go_is_refused() -> None:
    a, b = offerer(), answerer()
    b.receive_offer(a.offer())
    a.receive_answer(b.answer(OF_B))
    go = a.go(OF_A)
    for flipped in flips(go):
        with pytest.raises(IntroductionError):
            b.receive_go(flipped)
    assert b.receive_go(go) == OF_A


def test_any_message_cut_off_or_drawn_out_is_refused() -> None:
    _, _, *messages = introduced()
    for message in messages:
        for wrong in [message[:length] for length in range(len(message))] + [message + b"\0"]:
            with pytest.raises(IntroductionError):
                parse(wrong)


def test_a_message_has_one_encoding_only() -> None:
    for message in introduced()[2:]:
        # The same array with its header in the longer form that MessagePack allows too.
        assert message[1] & 0xF0 == 0x90
        longer = message[:1] + b"\xdc\x00" + bytes([message[1] & 0x0F]) + message[2:]
        assert msgspec.msgpack.decode(longer[1:]) == msgspec.msgpack.decode(message[1:])
        with pytest.raises(IntroductionError, match="one encoding"):
            parse(longer)


def test_a_version_that_is_not_known_is_named() -> None:
    with pytest.raises(IntroductionError, match="version 2"):
        answerer().receive_offer(b"\x02" + offerer().offer()[1:])


def test_an_offer_to_another_node_is_refused() -> None:
    with pytest.raises(IntroductionError, match="another node"):
        answerer(identity=C).receive_offer(offerer(peer=B).offer())


def test_an_offer_in_the_name_of_another_node_is_refused() -> None:
    offer = parse(Offerer(C, B.node_id, tokens("c")).offer())
    forged = msgspec.structs.replace(offer, public_key=A.public_key)
    with pytest.raises(IntroductionError, match="not signed"):
        answerer().receive_offer(b"\x01" + msgspec.msgpack.encode(forged))


def test_an_answer_from_another_node_is_refused() -> None:
    # C sees B's answer and puts its own name to it, properly signed; or B's name with its own signature.
    a, b = offerer(), answerer()
    b.receive_offer(a.offer())
    answer = parse(b.answer(OF_B))
    in_its_own_name = msgspec.structs.replace(answer, public_key=C.public_key)
    for forged in (in_its_own_name, answer):
        with pytest.raises(IntroductionError, match="not signed by the node that was asked"):
            a.receive_answer(signed(C, _ANSWER, a.offer(), forged))
    assert a.receive_answer(signed(B, _ANSWER, a.offer(), answer)) == OF_B


def test_an_answer_to_another_attempt_is_refused() -> None:
    first, second, b = offerer("first"), offerer("second"), answerer()
    b.receive_offer(first.offer())
    answer = b.answer(OF_B)
    with pytest.raises(IntroductionError, match="another attempt"):
        second.receive_answer(answer)


def test_an_answer_to_another_offer_of_the_same_attempt_is_refused() -> None:
    first, b = offerer("same"), answerer()
    second = offerer("same", secret=SECRET)
    assert first.attempt == second.attempt
    b.receive_offer(first.offer())
    with pytest.raises(IntroductionError, match="not signed"):
        second.receive_answer(b.answer(OF_B))


def test_a_replayed_offer_is_answered_but_no_old_go_follows_it() -> None:
    _, _, offer, _, go = introduced()
    b = answerer("later")
    b.receive_offer(offer)
    b.answer(OF_B)
    with pytest.raises(IntroductionError, match="not made by the peer"):
        b.receive_go(go)
    with pytest.raises(PknetError, match="before go"):
        _ = b.check_key


def test_a_replayed_answer_is_refused_by_the_next_attempt_and_by_the_same() -> None:
    a, _, _, answer, _ = introduced()
    with pytest.raises(IntroductionError, match="already"):
        a.receive_answer(answer)
    with pytest.raises(IntroductionError, match="another attempt"):
        offerer("next").receive_answer(answer)


def test_a_replayed_offer_or_go_is_refused_by_the_same_attempt() -> None:
    _, b, offer, _, go = introduced()
    with pytest.raises(IntroductionError, match="already"):
        b.receive_offer(offer)
    with pytest.raises(IntroductionError, match="no go"):
        b.receive_go(go)


def test_a_go_from_who_did_not_make_the_offer_is_refused() -> None:
    b = answerer()
    b.receive_offer(offerer().offer())
    b.answer(OF_B)
    forged = Go(b.attempt, bytes(60))
    with pytest.raises(IntroductionError, match="not made by the peer"):
        b.receive_go(b"\x01" + msgspec.msgpack.encode(forged))


def test_a_go_of_another_attempt_is_refused() -> None:
    _, _, _, _, go = introduced()
    b = answerer()
    b.receive_offer(offerer("next").offer())
    b.answer(OF_B)
    with pytest.raises(IntroductionError, match="another attempt"):
        b.receive_go(go)


def test_a_message_out_of_order_is_refused() -> None:
    _, _, offer, answer, go = introduced()
    for message in (offer, go):
        with pytest.raises(IntroductionError, match="expected an answer"):
            offerer().receive_answer(message)
    for message in (answer, go):
        with pytest.raises(IntroductionError, match="expected an offer"):
            answerer().receive_offer(message)
    with pytest.raises(IntroductionError, match="no go"):
        answerer().receive_go(go)
    b = answerer()
    b.receive_offer(offer)
    with pytest.raises(IntroductionError, match="no go"):
        b.receive_go(go)
    b.answer(OF_B)
    with pytest.raises(IntroductionError, match="expected a go"):
        b.receive_go(answer)


def test_an_ephemeral_key_that_yields_no_secret_is_refused() -> None:
    # RFC 7748 section 6.1: the point of order 1 makes the shared secret zero, whoever the peer is.
    offer = msgspec.structs.replace(parse(offerer().offer()), ephemeral=bytes(32))
    with pytest.raises(IntroductionError, match="small order"):
        answerer().receive_offer(signed(A, _OFFER, B.node_id.encode(), offer))


def test_the_holder_of_the_secret_is_admitted() -> None:
    def admit(node_id: NodeId, proof_check: ProofCheck) -> bool:
        asked.append(node_id)
        return proof_check(SECRET)

    asked: list[NodeId] = []
    assert answerer(admit=admit).receive_offer(offerer(secret=SECRET).offer()) == A.node_id
    assert asked == [A.node_id]


@pytest.mark.parametrize("secret", [None, b"", bytes(16)])
def test_who_does_not_hold_the_secret_is_not_admitted(secret: bytes | None) -> None:
    b = answerer(admit=lambda node_id, proof_check: proof_check(SECRET))
    with pytest.raises(AdmissionRefusedError, match=A.node_id):
        b.receive_offer(offerer(secret=secret).offer())
    with pytest.raises(PknetError, match="admitted"):
        b.answer(OF_B)


def test_a_proof_that_was_seen_in_another_offer_is_worth_nothing() -> None:
    seen = parse(offerer(secret=SECRET).offer())
    assert isinstance(seen, Offer)
    mine = msgspec.structs.replace(parse(Offerer(C, B.node_id, tokens("c")).offer()), proof=seen.proof)
    b = answerer(admit=lambda node_id, proof_check: proof_check(SECRET))
    with pytest.raises(AdmissionRefusedError):
        b.receive_offer(signed(C, _OFFER, B.node_id.encode(), mine))


def test_nobody_is_asked_about_an_offer_that_is_forged() -> None:
    def admit(node_id: NodeId, proof_check: ProofCheck) -> bool:
        raise AssertionError("asked")

    offer = bytearray(offerer().offer())
    offer[-1] ^= 1
    with pytest.raises(IntroductionError, match="not signed"):
        answerer(admit=admit).receive_offer(bytes(offer))


def test_a_node_that_is_not_admitted_can_be_told_why() -> None:
    a, b = offerer(), answerer(admit=lambda node_id, proof_check: False)
    with pytest.raises(AdmissionRefusedError):
        b.receive_offer(a.offer())
    with pytest.raises(IntroductionDeclinedError) as caught:
        a.receive_answer(b.decline("not on the list"))
    assert caught.value.reason == "not on the list"


def test_a_declined_offer_is_not_answered_any_more() -> None:
    b = answerer()
    b.receive_offer(offerer().offer())
    b.decline("busy")
    with pytest.raises(PknetError):
        b.answer(OF_B)


def test_any_bit_flipped_in_a_refusal_is_noticed() -> None:
    a, b = offerer(), answerer()
    b.receive_offer(a.offer())
    for flipped in flips(b.decline("busy")):
        with pytest.raises(IntroductionError) as caught:
            a.receive_answer(flipped)
        assert not isinstance(caught.value, IntroductionDeclinedError)


def test_a_refusal_of_another_offer_or_by_another_node_is_not_believed() -> None:
    b = answerer()
    b.receive_offer(offerer("same", secret=SECRET).offer())
    with pytest.raises(IntroductionError, match="not signed"):
        offerer("same").receive_answer(b.decline("busy"))
    c = answerer(identity=C)
    c.receive_offer(Offerer(A, C.node_id, tokens("same")).offer())
    with pytest.raises(IntroductionError, match="not signed"):
        offerer("same").receive_answer(c.decline("busy"))


def test_a_reason_that_would_play_with_the_terminal_is_refused() -> None:
    a, b = offerer(), answerer()
    b.receive_offer(a.offer())
    with pytest.raises(PknetError, match="printable"):
        b.decline("\x1b[2J")
    with pytest.raises(PknetError, match="printable"):
        b.decline("x" * 201)
    hostile = signed(B, _DECLINED, a.offer(), Declined(b.attempt, B.public_key, "\x1b[2J", bytes(64)))
    with pytest.raises(IntroductionError, match="not printable") as caught:
        a.receive_answer(hostile)
    assert not isinstance(caught.value, IntroductionDeclinedError)


def test_the_largest_descriptions_pass_and_larger_ones_are_not_sent() -> None:
    largest = bytes(DESCRIPTION_LIMIT)
    a, b = offerer(secret=SECRET), answerer()
    b.receive_offer(a.offer())
    with pytest.raises(PknetError, match="8192"):
        b.answer(largest + b"\0")
    answer = b.answer(largest)
    assert len(answer) <= MESSAGE_LIMIT
    assert a.receive_answer(answer) == largest
    with pytest.raises(PknetError, match="8192"):
        a.go(largest + b"\0")
    assert b.receive_go(a.go(largest)) == largest


def test_a_message_or_a_field_that_is_too_long_is_refused() -> None:
    with pytest.raises(IntroductionError, match=str(MESSAGE_LIMIT)):
        parse(b"\x01" + bytes(MESSAGE_LIMIT))
    with pytest.raises(IntroductionError, match="malformed"):
        parse(b"\x01" + msgspec.msgpack.encode(Go(bytes(16), bytes(DESCRIPTION_LIMIT + 17))))
    with pytest.raises(IntroductionError, match="malformed"):
        parse(b"\x01" + msgspec.msgpack.encode(Go(bytes(17), bytes(16))))


def test_misuse_is_told_so() -> None:
    a, b = offerer(), answerer()
    for misuse in (
        lambda: a.check_key,
        lambda: a.go(OF_A),
        lambda: b.check_key,
        lambda: b.peer,
        lambda: b.attempt,
        lambda: b.answer(OF_B),
        lambda: b.decline("no"),
    ):
        with pytest.raises(PknetError) as caught:
            misuse()
        assert not isinstance(caught.value, ProtocolError)
    b.receive_offer(a.offer())
    a.receive_answer(b.answer(OF_B))
    a.go(OF_A)
    for misuse in (lambda: b.answer(OF_B), lambda: b.decline("no"), lambda: a.go(OF_A)):  # a key seals once
        with pytest.raises(PknetError) as caught:
            misuse()
        assert not isinstance(caught.value, ProtocolError)


def test_the_same_tokens_make_the_same_messages() -> None:
    assert introduced()[2:] == introduced()[2:]


messages = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=300).map(b"\x01".__add__),
    st.lists(
        st.one_of(
            st.sampled_from(["offer", "answer", "go", "declined"]),
            st.sampled_from([16, 32, 64, 0, 17]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
            st.text(max_size=5),
            st.none(),
        ),
        max_size=7,
    ).map(lambda array: b"\x01" + msgspec.msgpack.encode(array)),
    st.builds(Offer, *(st.binary(min_size=n, max_size=n) for n in (16, 32, 32, 32, 64))).map(
        lambda message: b"\x01" + msgspec.msgpack.encode(message)
    ),
    st.builds(Answer, *(st.binary(min_size=n, max_size=n) for n in (16, 32, 32, 40, 64))).map(
        lambda message: b"\x01" + msgspec.msgpack.encode(message)
    ),
)


@settings(deadline=None)
@given(messages)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(IntroductionError):
        offerer().receive_answer(data)
    with pytest.raises(IntroductionError):
        answerer().receive_offer(data)
    b = answerer()
    b.receive_offer(offerer().offer())
    b.answer(OF_B)
    with pytest.raises(IntroductionError):
        b.receive_go(data)
