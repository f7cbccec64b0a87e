"""Introduce node A to node B through a node that both know, which learns that they talk and nothing else.

    A                       introducer                       B
    |  Offer   key, ephemeral key, proof of the ticket       |
    |------------------------------------------------------->|   admits A, or sends Declined
    |  Answer  key, ephemeral key, sealed description of B   |
    |<-------------------------------------------------------|   A starts half a round trip after Go
    |  Go      sealed description of A                       |
    |------------------------------------------------------->|   B starts at once

Offer and Answer are signed by the nodes' Ed25519 keys and agree on X25519 keys made for this attempt alone
(RFC 7748 section 6.1). From what these share, HKDF (RFC 5869) with the transcript as salt derives three keys:
one seals B's description, one seals A's (ChaCha20-Poly1305, RFC 8439 section 2.8; each key seals one message,
so the nonce is zero), and one is the check key, with which both protect their connectivity checks. Each key
depends on every byte of the messages before it, so the introducer can change none of them.

Replay: an Offer can be replayed and is answered, but only A can make the Go for that Answer, and B gives out
its check key after Go alone; so a replay makes nobody send a packet. An Answer or a Go belongs to one pair of
ephemeral keys. What an Answer costs (three curve operations) is for the caller to ration.

On the wire a message is a version byte and one MessagePack array, in the one way that this module writes it;
any other encoding of the same content is refused. A refused message changes nothing: the attempt still waits
for the right one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pknet.errors import PknetError, ProtocolError
from pknet.network.identity import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, Identity, NodeId, node_id_of, verify
from pknet.network.printable import printable
from pknet.network.ticket import PROOF_SIZE, admission_proof, check_admission

__all__ = [
    "AdmissionRefusedError",
    "Answer",
    "Answerer",
    "Declined",
    "Go",
    "IntroductionDeclinedError",
    "IntroductionError",
    "Message",
    "Offer",
    "Offerer",
    "ProofCheck",
    "parse",
]

VERSION: Final = 1
ATTEMPT_SIZE: Final = 16
CHECK_KEY_SIZE: Final = 32
DESCRIPTION_LIMIT: Final = 8 * 1024
MESSAGE_LIMIT: Final = DESCRIPTION_LIMIT + 512
REASON_LIMIT: Final = 200

_EPHEMERAL_SIZE: Final = 32
_TAG_SIZE: Final = 16  # of ChaCha20-Poly1305
_NONCE: Final = bytes(12)

_OFFER: Final = b"pknet introduction offer"
_ANSWER: Final = b"pknet introduction answer"
_DECLINED: Final = b"pknet introduction declined"
_ADMISSION: Final = b"pknet introduction admission"
_ANSWER_KEY: Final = b"pknet introduction answer key"
_GO_KEY: Final = b"pknet introduction go key"
_CHECK_KEY: Final = b"pknet introduction check key"

_Attempt = Annotated[bytes, msgspec.Meta(min_length=ATTEMPT_SIZE, max_length=ATTEMPT_SIZE)]
_PublicKey = Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_SIZE, max_length=PUBLIC_KEY_SIZE)]
_Ephemeral = Annotated[bytes, msgspec.Meta(min_length=_EPHEMERAL_SIZE, max_length=_EPHEMERAL_SIZE)]
_Proof = Annotated[bytes, msgspec.Meta(max_length=PROOF_SIZE)]
_Sealed = Annotated[bytes, msgspec.Meta(min_length=_TAG_SIZE, max_length=DESCRIPTION_LIMIT + _TAG_SIZE)]
_Reason = Annotated[str, msgspec.Meta(max_length=REASON_LIMIT)]
_Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_SIZE, max_length=SIGNATURE_SIZE)]

ProofCheck: TypeAlias = Callable[[bytes], bool]
"""Tells whether the offer's proof was made with this secret; of a ticket, for one."""


class IntroductionError(ProtocolError):
    """A message of an introduction is malformed, out of order, or not from whom it should be."""


class IntroductionDeclinedError(IntroductionError):
    """The peer itself declined; `reason` is its word for it, printable and at most 200 characters."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the peer declined: {reason}")
        self.reason = reason


class AdmissionRefusedError(IntroductionError):
    """An offer is genuine, but `admit` said no; it may be declined."""


class Offer(msgspec.Struct, frozen=True, array_like=True, tag="offer"):
    """A to B: who asks, and by what right. Signed together with B's node id, so worth nothing at C."""

    attempt: _Attempt
    public_key: _PublicKey
    ephemeral: _Ephemeral
    proof: _Proof
    signature: _Signature


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """B to A: who answers, and B's description, sealed. Signed together with the Offer."""

    attempt: _Attempt
    public_key: _PublicKey
    ephemeral: _Ephemeral
    sealed: _Sealed
    signature: _Signature


class Go(msgspec.Struct, frozen=True, array_like=True, tag="go"):
    """A to B: A's description, sealed with a key that only who made the Offer can have after the Answer."""

    attempt: _Attempt
    sealed: _Sealed


class Declined(msgspec.Struct, frozen=True, array_like=True, tag="declined"):
    """B to A: no, and why. Signed together with the Offer."""

    attempt: _Attempt
    public_key: _PublicKey
    reason: _Reason
    signature: _Signature


Message: TypeAlias = Offer | Answer | Go | Declined

_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_encoder: Final = msgspec.msgpack.Encoder()
_unsigned: Final = bytes(SIGNATURE_SIZE)  # stands for the signature in what is signed


def parse(data: bytes) -> Message:
    """Read the form of a message; its `attempt` says where it belongs. Nothing in it is verified yet.

    Raises IntroductionError.
    """
    if not 1 <= len(data) <= MESSAGE_LIMIT:
        raise IntroductionError(
            f"a message of an introduction has 1 to {MESSAGE_LIMIT} bytes, not {len(data)}"
        )
    if data[0] != VERSION:
        raise IntroductionError(
            f"version {data[0]} of the introduction is unknown, this is version {VERSION}"
        )
    try:
        message = _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise IntroductionError(f"malformed message: {printable(str(error))}") from None
    if _encode(message) != data:
        raise IntroductionError("malformed message: not in its one encoding")
    return message


class Offerer:
    """Take A's part in one attempt to reach `peer`.

    `token_bytes` makes the attempt's name and its X25519 key: it must never repeat itself outside of tests.
    `secret` is the one of B's ticket (16 bytes), for a B that admits by ticket.
    """

    def __init__(
        self,
        identity: Identity,
        peer: NodeId,
        token_bytes: Callable[[int], bytes],
        secret: bytes | None = None,
    ) -> None:
        self.peer = peer
        self.attempt = token_bytes(ATTEMPT_SIZE)
        self._ephemeral = X25519PrivateKey.from_private_bytes(token_bytes(_EPHEMERAL_SIZE))
        self._go_key: bytes | None = None
        self._check_key: bytes | None = None
        offer = Offer(self.attempt, identity.public_key, _public_bytes(self._ephemeral), b"", _unsigned)
        if secret:
            proof = admission_proof(secret, _ADMISSION, _transcript(peer.encode(), _encode(offer)))
            offer = msgspec.structs.replace(offer, proof=proof)
        signature = identity.sign(_OFFER, _transcript(peer.encode(), _encode(offer)))
        self._offer = _encode(msgspec.structs.replace(offer, signature=signature))
        self._answer: bytes | None = None

    @property
    def check_key(self) -> bytes:
        """The key of the connectivity checks (32 bytes), after `receive_answer`."""
        if self._check_key is None:
            raise PknetError("there is no check key before the answer")
        return self._check_key

    def offer(self) -> bytes:
        """Return the Offer, the same each time."""
        return self._offer

    def receive_answer(self, data: bytes) -> bytes:
        """Take the Answer and return B's description.

        Raises IntroductionDeclinedError if B declined, IntroductionError if this is not B's answer to the
        Offer.
        """
        message = parse(data)
        if self._answer is not None:
            raise IntroductionError("the offer was answered already")
        if not isinstance(message, Answer | Declined):
            raise IntroductionError(f"expected an answer, not {type(message).__name__}")
        if message.attempt != self.attempt:
            raise IntroductionError("the answer belongs to another attempt")
        context = _ANSWER if isinstance(message, Answer) else _DECLINED
        signed = _transcript(self._offer, _encode(msgspec.structs.replace(message, signature=_unsigned)))
        if not verify(self.peer, message.public_key, context, signed, message.signature):
            raise IntroductionError("the answer is not signed by the node that was asked")
        if isinstance(message, Declined):
            if not message.reason.isprintable():
                raise IntroductionError("the reason is not printable")
            raise IntroductionDeclinedError(message.reason)
        shared = _exchange(self._ephemeral, message.ephemeral)
        transcript = _transcript(self._offer, message.public_key, message.ephemeral)
        description = _open(_derive(shared, transcript, _ANSWER_KEY), message.sealed, transcript)
        self._answer = data
        transcript = _transcript(self._offer, data)
        self._go_key = _derive(shared, transcript, _GO_KEY)
        self._check_key = _derive(shared, transcript, _CHECK_KEY)
        return description

    def go(self, description: bytes) -> bytes:
        """Return the Go with A's description, at most DESCRIPTION_LIMIT bytes; once."""
        _check_description(description)
        if self._go_key is None or self._answer is None:
            raise PknetError("go() comes once, after the answer")
        go_key, self._go_key = self._go_key, None
        return _encode(Go(self.attempt, _seal(go_key, description, _transcript(self._offer, self._answer))))


class Answerer:
    """Take B's part in one attempt of a node that is not yet known.

    `admit(node_id, proof_check)` decides who may come in; it is asked once the offer is known to be signed by
    `node_id`, and may try the secrets of tickets it gave out: `proof_check(secret)`.
    """

    def __init__(
        self,
        identity: Identity,
        token_bytes: Callable[[int], bytes],
        admit: Callable[[NodeId, ProofCheck], bool],
    ) -> None:
        self._identity = identity
        self._token_bytes = token_bytes
        self._admit = admit
        self._offer: bytes | None = None
        self._message: Offer | None = None
        self._ephemeral: X25519PrivateKey | None = None
        self._shared: bytes | None = None  # what the ephemeral keys share, for a peer that is admitted
        self._answer: bytes | None = None
        self._check_key: bytes | None = None

    @property
    def attempt(self) -> bytes:
        """The name of the attempt, after `receive_offer`."""
        return self._received_offer().attempt

    @property
    def peer(self) -> NodeId:
        """Who asks, after `receive_offer`."""
        return node_id_of(self._received_offer().public_key)

    @property
    def check_key(self) -> bytes:
        """The key of the connectivity checks (32 bytes), after `receive_go`: before it, A may be a replay."""
        if self._check_key is None:
            raise PknetError("there is no check key before go")
        return self._check_key

    def receive_offer(self, data: bytes) -> NodeId:
        """Take the Offer and return who asks.

        Raises AdmissionRefusedError if it is genuine and `admit` says no (`decline` is allowed then), and
        IntroductionError if it is not an offer to this node by the node it names, or its ephemeral key is one
        that yields no secret (RFC 7748 section 6.1).
        """
        message = parse(data)
        if self._message is not None:
            raise IntroductionError("there was an offer already")
        if not isinstance(message, Offer):
            raise IntroductionError(f"expected an offer, not {type(message).__name__}")
        peer = node_id_of(message.public_key)
        me = self._identity.node_id.encode()
        unsigned = msgspec.structs.replace(message, signature=_unsigned)
        signed = _transcript(me, _encode(unsigned))
        if not verify(peer, message.public_key, _OFFER, signed, message.signature):
            raise IntroductionError(
                "the offer is not signed by the node it names, or was made for another node"
            )
        proven = _transcript(me, _encode(msgspec.structs.replace(unsigned, proof=b"")))
        admitted = self._admit(
            peer, lambda secret: check_admission(secret, _ADMISSION, proven, message.proof)
        )
        if admitted:
            ephemeral = X25519PrivateKey.from_private_bytes(self._token_bytes(_EPHEMERAL_SIZE))
            self._shared = _exchange(ephemeral, message.ephemeral)
            self._ephemeral = ephemeral
        self._offer, self._message = data, message
        if not admitted:
            raise AdmissionRefusedError(f"node {peer} is not admitted")
        return peer

    def decline(self, reason: str) -> bytes:
        """Return a Declined with a printable reason of at most 200 characters, in place of an answer."""
        message = self._received_offer()
        if self._answer is not None:
            raise PknetError("the offer was answered already")
        if len(reason) > REASON_LIMIT or not reason.isprintable():
            raise PknetError(f"a reason is printable and has at most {REASON_LIMIT} characters")
        self._shared = None
        return self._sign(_DECLINED, Declined(message.attempt, self._identity.public_key, reason, _unsigned))

    def answer(self, description: bytes) -> bytes:
        """Return the Answer with B's description, at most DESCRIPTION_LIMIT bytes; once."""
        _check_description(description)
        message = self._received_offer()
        if self._shared is None or self._ephemeral is None or self._answer is not None:
            raise PknetError("answer() comes once, after an offer that was admitted")
        assert self._offer is not None
        public_key, ephemeral = self._identity.public_key, _public_bytes(self._ephemeral)
        transcript = _transcript(self._offer, public_key, ephemeral)
        sealed = _seal(_derive(self._shared, transcript, _ANSWER_KEY), description, transcript)
        self._answer = self._sign(_ANSWER, Answer(message.attempt, public_key, ephemeral, sealed, _unsigned))
        return self._answer

    def receive_go(self, data: bytes) -> bytes:
        """Take the Go and return A's description: A is there, now, and starts.

        Raises IntroductionError if the Go is not from who made the offer.
        """
        message = parse(data)
        if self._offer is None or self._answer is None or self._shared is None or self._check_key is not None:
            raise IntroductionError("no go is expected")
        if not isinstance(message, Go):
            raise IntroductionError(f"expected a go, not {type(message).__name__}")
        if message.attempt != self.attempt:
            raise IntroductionError("the go belongs to another attempt")
        transcript = _transcript(self._offer, self._answer)
        description = _open(_derive(self._shared, transcript, _GO_KEY), message.sealed, transcript)
        self._check_key = _derive(self._shared, transcript, _CHECK_KEY)
        return description

    def _received_offer(self) -> Offer:
        if self._message is None:
            raise PknetError("there was no offer yet")
        return self._message

    def _sign(self, context: bytes, message: Answer | Declined) -> bytes:
        assert self._offer is not None
        signature = self._identity.sign(context, _transcript(self._offer, _encode(message)))
        return _encode(msgspec.structs.replace(message, signature=signature))


def _encode(message: Message) -> bytes:
    return bytes([VERSION]) + _encoder.encode(message)


def _transcript(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4) + part)
    return digest.digest()


def _public_bytes(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _exchange(mine: X25519PrivateKey, theirs: bytes) -> bytes:
    try:
        return mine.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:  # RFC 7748 section 6.1: the all-zero value
        raise IntroductionError("the peer's ephemeral key is of small order") from None


def _derive(shared: bytes, transcript: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), CHECK_KEY_SIZE, salt=transcript, info=use).derive(shared)


def _seal(key: bytes, description: bytes, transcript: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(_NONCE, description, transcript)


def _open(key: bytes, sealed: bytes, transcript: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, transcript)
    except InvalidTag:
        raise IntroductionError("the sealed description was not made by the peer") from None


def _check_description(description: bytes) -> None:
    if len(description) > DESCRIPTION_LIMIT:
        raise PknetError(f"a description has at most {DESCRIPTION_LIMIT} bytes, not {len(description)}")
