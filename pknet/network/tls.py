"""A stream between two nodes that no third party can read or forge: TLS 1.3 (RFC 8446) as a state machine.

Both sides show a certificate, and nothing of it counts but its Ed25519 key (RFC 8410), which is the node's.
The client knows whom it wants: another key fails the handshake before the client has shown its own
certificate or sent a byte of the program. The server learns who came and decides afterwards.

The client's handshake is complete before the server has judged the client's certificate (RFC 8446 section 2):
a server that refuses it shows itself to the client as StreamFailed after HandshakeCompleted.

There is no resumption yet: no session is kept, and a ticket that arrives (section 4.6.1) is not used. The
place for it is `client()`, which would be given what `events()` reported of an earlier stream. What else
needs keys of its own (the proof of a ticket, datagrams beside the stream) takes them from
`export_keying_material` (section 7.5).

Cipher suites and groups are OpenSSL's defaults in its order: AES-256-GCM, ChaCha20-Poly1305, AES-128-GCM;
X25519 with ML-KEM-768 where it has it. Keys are not updated within a stream (section 4.6.3): pyOpenSSL does
not offer it. For AES-GCM section 5.5 advises to stop at 2^24.5 records, about 380 GB each way.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from OpenSSL import SSL, crypto

from pknet.errors import PknetError
from pknet.network.identity import Identity, NodeId, is_node_key, node_id_of

__all__ = [
    "EofReceived",
    "HandshakeCompleted",
    "HandshakeFailed",
    "SecureStream",
    "SecureStreamEvent",
    "StreamFailed",
]

RECEIVE_LIMIT: Final = 256 * 1024  # plaintext that waits for the reader
SEND_LIMIT: Final = 256 * 1024  # plaintext that waits for the transport

_RECORD_SIZE: Final = 16 * 1024  # RFC 8446 section 5.1: plaintext of one record
_SEND_SIZE: Final = 4 * _RECORD_SIZE  # encrypted at one go
_CIPHERTEXT_SIZE: Final = _SEND_SIZE + 4096  # holds what one go yields, so that one call takes it

# RFC 8410 section 4: the SubjectPublicKeyInfo of an Ed25519 key is these octets and the key.
_ED25519_SPKI: Final = bytes.fromhex("302a300506032b6570032100")


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """The peer proved to be `node_id`; what was given to `send` may now leave."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class HandshakeFailed:
    """The peer is not whom it should be, or did not speak TLS as we do. Nothing of the program's has left."""

    reason: str


@dataclass(frozen=True, slots=True)
class EofReceived:
    """The peer ended its direction with close_notify: what is readable now is all that comes."""


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The stream broke in both directions. What is readable is genuine, but may not be all there was."""

    reason: str


SecureStreamEvent: TypeAlias = HandshakeCompleted | HandshakeFailed | EofReceived | StreamFailed


class SecureStream:
    """Run TLS over a byte stream that somebody else carries.

    After any call, `read` too, take `data_to_send()` and `events()`. What a peer sends never raises.
    """

    def __init__(self, identity: Identity, expected: NodeId | None) -> None:
        self._check = _PeerCheck(expected)
        self._connection = SSL.Connection(_context(identity, server=expected is None), None)
        self._connection.set_app_data(self._check)
        self._received = bytearray()
        self._unsent = bytearray()
        self._events: list[SecureStreamEvent] = []
        self._established = False
        self._failed = False
        self._transport_ended = False
        self._eof_received = False
        self._eof_wanted = False
        self._eof_sent = False
        if expected is None:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
            self._advance()  # the ClientHello can leave at once

    @classmethod
    def client(cls, identity: Identity, expected: NodeId) -> SecureStream:
        """Open the client's side, towards the node `expected` and no other."""
        return cls(identity, expected)

    @classmethod
    def server(cls, identity: Identity) -> SecureStream:
        """Open the server's side; HandshakeCompleted says who came."""
        return cls(identity, None)

    @property
    def peer(self) -> NodeId | None:
        """The peer's node id, once the handshake is complete."""
        return self._check.node_id if self._established else None

    @property
    def readable(self) -> int:
        """The number of bytes that `read` can return now."""
        return len(self._received)

    @property
    def want_data(self) -> bool:
        """Whether the transport should go on feeding: False while the reader is behind, and after the end.

        Ciphertext that comes nevertheless is kept, and nothing here bounds it: the transport's window does.
        """
        return len(self._received) < RECEIVE_LIMIT and not (self._eof_received or self._failed)

    @property
    def sendable(self) -> int:
        """The number of bytes that `send` would take now."""
        return 0 if self._eof_wanted or self._failed else SEND_LIMIT - len(self._unsent)

    @property
    def unsent(self) -> int:
        """The number of bytes that `send` took and that wait to be encrypted."""
        return len(self._unsent)

    def receive_stream_data(self, data: bytes, now: float) -> None:
        """Take what the transport delivered. TLS has no timer: `now` is here for the sake of sameness."""
        if not data or self._failed or self._eof_received:  # RFC 8446 section 6.1: then ignored
            return
        self._connection.bio_write(data)
        self._advance()

    def receive_eof(self, now: float) -> None:
        """Take note that the transport delivers no more: without a close_notify before, truncation."""
        self._transport_ended = True
        self._advance()

    def read(self, n: int) -> bytes:
        """Return up to `n` bytes of what was received; b"" when nothing is readable."""
        if n < 0:
            raise PknetError(f"read({n})")
        was_full = len(self._received) >= RECEIVE_LIMIT
        with memoryview(self._received) as view:
            data = bytes(view[:n])
        del self._received[:n]  # moves the start of the buffer, not its bytes
        if was_full:
            self._advance()
        return data

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Take up to `sendable` bytes of `data` and return how many: 0 where there is no room or all failed.

        May be called before the handshake is complete. Raises PknetError after `send_eof`.
        """
        if self._eof_wanted:
            raise PknetError("send() after send_eof()")
        with memoryview(data) as view:
            taken = min(view.nbytes, self.sendable)
            self._unsent += view.cast("B")[:taken]
        return taken

    def send_eof(self) -> None:
        """End this direction after what was sent (close_notify, RFC 8446 section 6.1), not the other."""
        self._eof_wanted = True

    @property
    def eof_sent(self) -> bool:
        """Whether close_notify is on its way: once `data_to_send` returns b"", the transport may end too."""
        return self._eof_sent

    def data_to_send(self, limit: int | None = None) -> bytes:
        """Return up to `limit` bytes for the transport; the rest waits, most of it not yet encrypted."""
        room = sys.maxsize if limit is None else limit
        parts = []
        while room > 0:
            part = self._take_ciphertext(min(room, _CIPHERTEXT_SIZE))
            if part:
                parts.append(part)
                room -= len(part)
            elif not self._encrypt():
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def events(self) -> list[SecureStreamEvent]:
        """Return what happened since the last call."""
        events, self._events = self._events, []
        return events

    def export_keying_material(self, label: bytes, length: int) -> bytes:
        """Derive `length` bytes that the two sides of this stream alone can derive (RFC 8446 section 7.5).

        Raises PknetError before the handshake is complete.
        """
        if not self._established:
            raise PknetError("keying material is exported after the handshake")
        return self._connection.export_keying_material(label, length)

    def _advance(self) -> None:
        """Go on with the handshake, then decrypt while the reader keeps up."""
        if self._failed or self._eof_received:
            return
        try:
            if not self._established:
                self._connection.do_handshake()
                if not self._complete_handshake():
                    return
            while (room := RECEIVE_LIMIT - len(self._received)) > 0:
                self._received += self._connection.recv(min(room, _RECORD_SIZE))
        except SSL.WantReadError:
            if self._transport_ended:
                when = "without close_notify" if self._established else "during the handshake"
                self._fail(f"the transport ended {when}: the stream is truncated")
        except SSL.ZeroReturnError:
            if self._established:
                self._eof_received = True
                self._events.append(EofReceived())
            else:
                self._fail("the peer closed the stream during the handshake")
        except SSL.Error as error:
            self._fail(self._check.refusal or _describe(error))

    def _complete_handshake(self) -> bool:
        # The callback judged a certificate while the handshake ran; here is the one whose key has signed.
        node_id = _node_id_of_certificate(self._connection.get_peer_certificate())
        if node_id is None or node_id != self._check.node_id:
            self._fail("the peer did not prove its key")
            return False
        self._established = True
        self._events.append(HandshakeCompleted(node_id))
        return True

    def _encrypt(self) -> bool:
        """Turn some of what waits into ciphertext; whether there was anything to turn."""
        if not self._established or self._failed or self._eof_sent:
            return False
        try:
            if self._unsent:
                with memoryview(self._unsent) as view, view[:_SEND_SIZE] as chunk:
                    self._connection.sendall(chunk)
                del self._unsent[:_SEND_SIZE]
            elif self._eof_wanted:
                self._eof_sent = True
                self._connection.shutdown()
            else:
                return False
        except SSL.Error as error:
            self._fail(_describe(error))
        return True

    def _take_ciphertext(self, size: int) -> bytes:
        try:
            return self._connection.bio_read(size)
        except SSL.WantReadError:
            return b""

    def _fail(self, reason: str) -> None:
        # What is encrypted already, and the alert that OpenSSL may have written, still leave.
        self._failed = True
        self._unsent.clear()
        self._events.append(StreamFailed(reason) if self._established else HandshakeFailed(reason))


class _PeerCheck:
    """Judge the peer's certificate while the handshake runs."""

    __slots__ = ("expected", "node_id", "refusal")

    def __init__(self, expected: NodeId | None) -> None:
        self.expected = expected
        self.node_id: NodeId | None = None
        self.refusal: str | None = None

    def accept(self, certificate: crypto.X509) -> bool:
        self.node_id = _node_id_of_certificate(certificate)
        if self.node_id is None:
            self.refusal = "the peer's certificate holds no Ed25519 key that can be a node's"
        elif self.expected is not None and self.node_id != self.expected:
            self.refusal = f"the peer is node {self.node_id}, expected was node {self.expected}"
        return self.refusal is None


def _verify_callback(
    connection: SSL.Connection, certificate: crypto.X509, error_number: int, depth: int, ok: int
) -> bool:
    # OpenSSL's own verdict (self-signed, dates, …) is not asked: only the key counts, and that the peer has
    # it is proven by CertificateVerify (RFC 8446 section 4.4.3). Certificates above the peer's own mean
    # nothing here.
    check: _PeerCheck = connection.get_app_data()
    return depth != 0 or check.accept(certificate)


def _node_id_of_certificate(certificate: crypto.X509 | None) -> NodeId | None:
    if certificate is None:
        return None
    try:
        spki = crypto.dump_publickey(crypto.FILETYPE_ASN1, certificate.get_pubkey())
    except crypto.Error:  # a key that OpenSSL does not know
        return None
    public_key = spki.removeprefix(_ED25519_SPKI)
    if public_key == spki or not is_node_key(public_key):
        return None
    return node_id_of(public_key)


def _describe(error: SSL.Error) -> str:
    """Return OpenSSL's words: its errors carry a list of (library, function, reason)."""
    details = error.args[0] if error.args else None
    if isinstance(details, list):
        return "; ".join(str(detail[-1]) for detail in details) or "TLS failed"
    return ": ".join(str(argument) for argument in error.args) or type(error).__name__


# One for each identity and role, which holds the parsed key and certificate, and goes when the identity goes.
_contexts: WeakKeyDictionary[Identity, dict[bool, SSL.Context]] = WeakKeyDictionary()


def _context(identity: Identity, *, server: bool) -> SSL.Context:
    by_role = _contexts.setdefault(identity, {})
    if server not in by_role:
        by_role[server] = _new_context(identity)
    return by_role[server]


def _new_context(identity: Identity) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_privatekey(identity.private_key)
    context.use_certificate(identity.certificate)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify_callback)
    context.set_verify_depth(0)
    return context
