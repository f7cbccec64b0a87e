from __future__ import annotations

import contextlib
import gc
import random
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL, crypto

from pknet.errors import PknetError
from pknet.network import tls
from pknet.network.identity import Identity
from pknet.network.ticket import admission_proof, check_admission
from pknet.network.tls import (
    RECEIVE_LIMIT,
    SEND_LIMIT,
    EofReceived,
    HandshakeCompleted,
    HandshakeFailed,
    SecureStream,
    StreamFailed,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

A, B, C = (Identity(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2, 3))
NOW = 0.0
LABEL = b"EXPORTER-test"


def carry(one: SecureStream, other: SecureStream, chunk: int | None = None) -> None:
    """Carry what both have to send until neither has anything, `chunk` bytes at a time."""
    moved = True
    while moved:
        moved = False
        for source, target in ((one, other), (other, one)):
            data = source.data_to_send()
            moved = moved or bool(data)
            for start in range(0, len(data), chunk or max(len(data), 1)):
                target.receive_stream_data(data[start : start + (chunk or len(data))], NOW)


def connected(chunk: int | None = None) -> tuple[SecureStream, SecureStream]:
    client, server = SecureStream.client(A, B.node_id), SecureStream.server(B)
    carry(client, server, chunk)
    assert client.events() == [HandshakeCompleted(B.node_id)]
    assert server.events() == [HandshakeCompleted(A.node_id)]
    return client, server


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("chunk", [None, 1, 7, 1400])
def test_both_sides_learn_who_the_other_is_however_the_stream_is_cut(chunk: int | None) -> None:
    client, server = connected(chunk)
    assert (client.peer, server.peer) == (B.node_id, A.node_id)
    client.send(b"ping")
    server.send(b"pong")
    carry(client, server, chunk)
    assert (server.read(10), client.read(10)) == (b"ping", b"pong")


def test_nobody_is_known_before_the_handshake() -> None:
    assert SecureStream.client(A, B.node_id).peer is None
    assert SecureStream.server(B).peer is None


def test_what_is_sent_early_leaves_after_the_handshake() -> None:
    client, server = SecureStream.client(A, B.node_id), SecureStream.server(B)
    assert client.send(b"early") == 5
    assert server.send(b"also early") == 10
    carry(client, server)
    assert (server.read(10), client.read(10)) == (b"early", b"also early")


def test_a_long_stream_arrives_whole_both_ways() -> None:
    client, server = connected()
    there, back = noise(3_000_000, 1), noise(2_000_000, 2)
    sent = {client: 0, server: 0}
    got = {client: bytearray(), server: bytearray()}
    while len(got[server]) < len(there) or len(got[client]) < len(back):
        for stream, data, peer in ((client, there, server), (server, back, client)):
            sent[stream] += stream.send(memoryview(data)[sent[stream] :])
            while piece := stream.data_to_send(10_000):
                peer.receive_stream_data(piece, NOW)
            got[peer] += peer.read(70_000)
            got[peer] += peer.read(1)
    assert got == {client: back, server: there}
    assert client.events() == server.events() == []


def test_another_node_than_the_expected_fails_the_handshake_and_gets_nothing() -> None:
    client, server = SecureStream.client(A, C.node_id), SecureStream.server(B)
    client.send(b"for C alone")
    carry(client, server)
    (failed,) = client.events()
    assert isinstance(failed, HandshakeFailed)
    assert B.node_id in failed.reason
    assert C.node_id in failed.reason
    assert client.peer is None
    # The server learned neither who called nor what was to be said: the client's certificate stayed at home.
    (failed,) = server.events()
    assert isinstance(failed, HandshakeFailed)
    assert server.peer is None
    assert server.readable == 0
    assert client.send(b"more") == 0
    assert client.data_to_send() == b""


class Foreign:
    """Speak TLS by OpenSSL alone, as some other implementation might."""

    def __init__(
        self, *, server: bool, key: object = None, certificate: x509.Certificate | None = None
    ) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        if certificate is not None:
            context.use_privatekey(key)  # type: ignore[arg-type]
            context.use_certificate(certificate)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.context = context
        self._server = server
        self.connection: SSL.Connection

    def open(self) -> Foreign:
        self.connection = SSL.Connection(self.context, None)
        if self._server:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()
        return self

    def carry(self, stream: SecureStream) -> str:
        """Shake hands with `stream`; what the foreign side says of it."""
        said = ""
        for _ in range(6):
            try:
                if not said:
                    self.connection.do_handshake()
                    self.connection.recv(1)
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                said = str(error)
            with contextlib.suppress(SSL.WantReadError):
                stream.receive_stream_data(self.connection.bio_read(1 << 17), NOW)
            if data := stream.data_to_send():
                self.connection.bio_write(data)
        return said


def certificate_of(
    key: CertificateIssuerPrivateKeyTypes,
    *,
    issuer: CertificateIssuerPrivateKeyTypes | None = None,
    until: datetime = datetime(2100, 1, 1),
    name: str = "foreign",
) -> x509.Certificate:
    subject_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer" if issuer else name)])
    signer = issuer or key
    return (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(1990, 1, 1))
        .not_valid_after(until)
        .sign(signer, None if isinstance(signer, Ed25519PrivateKey | ed448.Ed448PrivateKey) else SHA256())
    )


def test_a_foreign_implementation_with_an_ed25519_key_is_a_node_too() -> None:
    stream = SecureStream.server(B)
    foreign = Foreign(server=False, key=A.private_key, certificate=certificate_of(A.private_key)).open()
    assert foreign.carry(stream) == ""
    assert stream.events() == [HandshakeCompleted(A.node_id)]


def test_a_client_without_a_certificate_is_refused() -> None:
    stream = SecureStream.server(B)
    said = Foreign(server=False).open().carry(stream)
    (failed,) = stream.events()
    assert isinstance(failed, HandshakeFailed)
    assert "certificate" in failed.reason
    assert "certificate" in said  # and is told so


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["P-256", "RSA", "Ed448"],
)
def test_a_certificate_of_another_kind_of_key_is_refused(
    key: CertificateIssuerPrivateKeyTypes, server: bool
) -> None:
    stream = SecureStream.client(A, B.node_id) if server else SecureStream.server(B)
    said = Foreign(server=server, key=key, certificate=certificate_of(key)).open().carry(stream)
    assert stream.events() == [
        HandshakeFailed("the peer's certificate holds no Ed25519 key that can be a node's")
    ]
    assert said


def test_a_certificate_with_a_key_that_anybody_can_sign_for_is_nobodys() -> None:
    weak = Ed25519PublicKey.from_public_bytes(bytes(32))
    for key, node_id in ((weak, None), (A.private_key.public_key(), A.node_id)):
        name = x509.Name([])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key)
            .serial_number(7)
            .not_valid_before(datetime(1990, 1, 1))
            .not_valid_after(datetime(2100, 1, 1))
            .sign(C.private_key, None)
        )
        assert tls._node_id_of_certificate(crypto.X509.from_cryptography(certificate)) == node_id


def test_a_certificate_that_expired_or_that_another_signed_is_judged_by_its_key_alone() -> None:
    for certificate in (
        certificate_of(A.private_key, until=datetime(1991, 1, 1)),
        certificate_of(A.private_key, issuer=C.private_key),
    ):
        stream = SecureStream.server(B)
        Foreign(server=False, key=A.private_key, certificate=certificate).open().carry(stream)
        assert stream.events() == [HandshakeCompleted(A.node_id)]


@pytest.mark.parametrize("server", [True, False])
def test_the_certificate_of_another_node_in_the_chain_makes_nobody_that_node(server: bool) -> None:
    # C shows its own certificate, signed by nobody A knows, and below it A's, or B's, in plain view.
    foreign = Foreign(server=server, key=C.private_key, certificate=C.certificate)
    foreign.context.add_extra_chain_cert(B.certificate if server else A.certificate)
    stream = SecureStream.client(A, B.node_id) if server else SecureStream.server(B)
    foreign.open().carry(stream)
    if server:
        (failed,) = stream.events()
        assert isinstance(failed, HandshakeFailed)
        assert C.node_id in failed.reason
    else:
        assert stream.events() == [HandshakeCompleted(C.node_id)]


@pytest.mark.parametrize("server", [True, False])
def test_a_certificate_above_the_peers_own_says_nothing(server: bool) -> None:
    certificate = certificate_of(C.private_key, issuer=B.private_key)
    foreign = Foreign(server=server, key=C.private_key, certificate=certificate)
    foreign.context.add_extra_chain_cert(certificate_of(B.private_key, name="issuer"))
    stream = SecureStream.client(A, C.node_id) if server else SecureStream.server(A)
    foreign.open().carry(stream)
    assert stream.events() == [HandshakeCompleted(C.node_id)]


def test_a_handshake_in_which_no_certificate_was_judged_is_not_completed() -> None:
    client, server = SecureStream.client(A, B.node_id), SecureStream.server(B)
    client._check = tls._PeerCheck(B.node_id)  # as if OpenSSL had not asked
    client.send(b"for B alone")
    carry(client, server)
    assert client.events() == [HandshakeFailed("the peer did not prove its key")]
    assert server.readable == 0


@pytest.mark.parametrize("server", [True, False])
def test_an_older_version_of_tls_is_refused(server: bool) -> None:
    foreign = Foreign(server=server, key=B.private_key, certificate=B.certificate)
    foreign.context.set_max_proto_version(SSL.TLS1_2_VERSION)
    stream = SecureStream.client(A, B.node_id) if server else SecureStream.server(B)
    foreign.open().carry(stream)
    (failed,) = stream.events()
    assert isinstance(failed, HandshakeFailed)
    assert "version" in failed.reason or "protocol" in failed.reason


def test_a_server_that_refuses_the_client_late_is_a_stream_that_failed() -> None:
    # RFC 8446 section 2: the client has finished before the server judges its certificate.
    foreign = Foreign(server=True, key=B.private_key, certificate=B.certificate)
    foreign.context.set_verify(SSL.VERIFY_PEER, lambda *_: False)
    stream = SecureStream.client(A, B.node_id)
    foreign.open().carry(stream)
    completed, failed = stream.events()
    assert completed == HandshakeCompleted(B.node_id)
    assert isinstance(failed, StreamFailed)
    assert "alert" in failed.reason


@pytest.mark.parametrize("client_first", [True, False])
def test_one_direction_ends_and_the_other_goes_on(client_first: bool) -> None:
    first, second = connected() if client_first else reversed(connected())
    first.send(b"question")
    first.send_eof()
    carry(first, second)
    assert first.eof_sent
    assert second.events() == [EofReceived()]
    assert second.read(100) == b"question"
    assert not second.want_data
    for piece in range(5):
        assert second.send(noise(100_000, piece)) == 100_000
        carry(first, second)
        assert first.read(200_000) == noise(100_000, piece)
    assert not second.eof_sent
    second.send_eof()
    carry(first, second)
    assert first.events() == [EofReceived()]
    for stream in (first, second):
        stream.receive_eof(NOW)  # after close_notify the transport may end too
        assert stream.events() == []


def test_an_end_that_is_asked_for_early_comes_after_what_was_sent() -> None:
    client, server = SecureStream.client(A, B.node_id), SecureStream.server(B)
    client.send(noise(100_000))
    client.send_eof()
    carry(client, server)
    assert server.read(200_000) == noise(100_000)
    assert server.events() == [HandshakeCompleted(A.node_id), EofReceived()]


def test_nothing_is_sent_after_the_end() -> None:
    client, _ = connected()
    client.send_eof()
    assert client.sendable == 0
    with pytest.raises(PknetError, match="send_eof"):
        client.send(b"more")
    client.send_eof()  # twice is harmless
    assert client.data_to_send() != b""
    assert client.data_to_send() == b""


def test_what_follows_the_peers_end_is_ignored() -> None:
    client, server = connected()
    client.send_eof()
    server.receive_stream_data(client.data_to_send() + noise(500), NOW)
    server.receive_stream_data(noise(500), NOW)
    assert server.events() == [EofReceived()]
    assert server.readable == 0


def test_a_transport_that_ends_without_close_notify_is_an_error() -> None:
    client, server = connected()
    client.send(b"the first half")
    carry(client, server)
    server.receive_eof(NOW)
    (failed,) = server.events()
    assert isinstance(failed, StreamFailed)
    assert "truncated" in failed.reason
    assert server.read(100) == b"the first half"
    server.receive_eof(NOW)
    assert server.events() == []


def test_a_transport_that_ends_within_a_record_is_an_error() -> None:
    client, server = connected()
    client.send(b"all of it")
    client.send_eof()
    server.receive_stream_data(client.data_to_send()[:-1], NOW)
    server.receive_eof(NOW)
    (failed,) = server.events()
    assert isinstance(failed, StreamFailed)


def test_a_transport_that_ends_in_the_handshake_fails_it() -> None:
    client, server = SecureStream.client(A, B.node_id), SecureStream.server(B)
    server.receive_stream_data(client.data_to_send()[:100], NOW)
    for stream in (client, server):
        stream.receive_eof(NOW)
        (failed,) = stream.events()
        assert isinstance(failed, HandshakeFailed)
        assert "handshake" in failed.reason


def test_a_peer_that_closes_in_the_handshake_fails_it() -> None:
    client = SecureStream.client(A, B.node_id)
    client.receive_stream_data(bytes.fromhex("15 0303 0002 01 00"), NOW)  # an alert: warning, close_notify
    (failed,) = client.events()
    assert isinstance(failed, HandshakeFailed)


def test_a_changed_byte_breaks_the_stream_and_what_came_before_is_kept() -> None:
    client, server = connected()
    client.send(b"genuine")
    carry(client, server)
    client.send(b"changed")
    record = bytearray(client.data_to_send())
    record[-1] ^= 1
    server.receive_stream_data(bytes(record), NOW)
    (failed,) = server.events()
    assert isinstance(failed, StreamFailed)
    assert server.read(100) == b"genuine"
    assert not server.want_data
    assert server.sendable == server.send(b"too late") == 0
    # The peer is told (RFC 8446 section 6.2) and fails as well.
    client.receive_stream_data(server.data_to_send(), NOW)
    (failed,) = client.events()
    assert isinstance(failed, StreamFailed)
    assert "alert" in failed.reason


@pytest.mark.parametrize("order", [(0, 0), (1, 0), (1,)], ids=["twice", "swapped", "left out"])
def test_records_that_are_replayed_reordered_or_left_out_break_the_stream(order: tuple[int, ...]) -> None:
    client, server = connected()
    records = []
    for text in (b"first", b"second"):
        client.send(text)
        records.append(client.data_to_send())
    for index in order:
        server.receive_stream_data(records[index], NOW)
    (failed,) = server.events()
    assert isinstance(failed, StreamFailed)


def test_a_record_of_another_stream_breaks_the_stream() -> None:
    (client, _), (_, server) = connected(), connected()
    client.send(b"not for this one")
    server.receive_stream_data(client.data_to_send(), NOW)
    (failed,) = server.events()
    assert isinstance(failed, StreamFailed)
    assert server.readable == 0


def test_a_reader_that_does_not_read_holds_the_stream_up() -> None:
    client, server = connected()
    data = noise(1_000_000)
    sent = 0
    pieces = []
    while sent < len(data):
        sent += client.send(memoryview(data)[sent:])
        pieces.append(client.data_to_send())
    client.send_eof()
    pieces.append(client.data_to_send())
    for piece in pieces:
        server.receive_stream_data(piece, NOW)
        assert server.readable <= RECEIVE_LIMIT
    assert server.readable == RECEIVE_LIMIT
    assert not server.want_data
    server.receive_eof(NOW)
    assert server.events() == []  # neither end has been reached yet
    received = bytearray()
    while chunk := server.read(1000):
        received += chunk
        assert server.readable <= RECEIVE_LIMIT
    assert received == data
    assert server.events() == [EofReceived()]


def test_truncation_shows_only_when_the_reader_gets_there() -> None:
    client, server = connected()
    for piece in range(2):
        client.send(noise(200_000, piece))
        server.receive_stream_data(client.data_to_send(), NOW)
    server.receive_eof(NOW)
    assert server.events() == []
    assert server.read(500_000) + server.read(500_000) == noise(200_000, 0) + noise(200_000, 1)
    (failed,) = server.events()
    assert isinstance(failed, StreamFailed)


def test_the_stream_wants_data_again_once_the_reader_has_read() -> None:
    client, server = connected()
    assert server.want_data
    client.send(bytes(RECEIVE_LIMIT))
    carry(client, server)
    wanted = [server.want_data]
    assert len(server.read(1)) == 1
    wanted.append(server.want_data)
    assert wanted == [False, True]


def test_send_takes_no_more_than_its_limit() -> None:
    client, server = connected()
    assert client.sendable == SEND_LIMIT
    assert client.send(bytes(SEND_LIMIT + 100)) == client.unsent == SEND_LIMIT
    assert client.send(b"x") == client.sendable == 0
    carry(client, server)
    assert client.unsent == 0
    assert client.send(b"x") == 1


def test_the_transport_gets_no_more_than_it_asked_for() -> None:
    client, server = connected()
    client.send(noise(200_000))
    assert client.data_to_send(0) == b""
    sizes = []
    while piece := client.data_to_send(1400):
        sizes.append(len(piece))
        server.receive_stream_data(piece, NOW)
    assert set(sizes[:-1]) == {1400}
    assert sizes[-1] <= 1400
    assert server.read(RECEIVE_LIMIT) == noise(200_000)


def test_what_the_transport_cannot_take_still_counts_against_the_limit() -> None:
    client, _ = connected()
    taken = 0
    for _ in range(10):
        taken += client.send(bytes(SEND_LIMIT))
        client.data_to_send(1)
    assert taken <= SEND_LIMIT + 2 * 64 * 1024


def test_nothing_readable_reads_as_nothing() -> None:
    client, _ = connected()
    assert client.read(10) == b""
    with pytest.raises(PknetError):
        client.read(-1)


def test_keying_material_is_the_same_for_both_sides_and_for_nobody_else() -> None:
    (client, server), (other, _) = connected(), connected()
    material = client.export_keying_material(LABEL, 32)
    assert len(material) == 32
    assert server.export_keying_material(LABEL, 32) == material
    assert client.export_keying_material(LABEL + b"2", 32) != material
    assert other.export_keying_material(LABEL, 32) != material


def test_keying_material_is_not_had_before_the_handshake() -> None:
    with pytest.raises(PknetError, match="handshake"):
        SecureStream.client(A, B.node_id).export_keying_material(LABEL, 32)


def test_an_admission_proof_holds_on_its_own_stream_alone() -> None:
    secret = b"sixteen  secrets"
    (client, server), (_, other) = connected(), connected()
    proof = admission_proof(secret, b"admission", client.export_keying_material(LABEL, 32))
    assert check_admission(secret, b"admission", server.export_keying_material(LABEL, 32), proof)
    assert not check_admission(secret, b"admission", other.export_keying_material(LABEL, 32), proof)


def test_an_identity_has_one_context_for_each_role_and_takes_them_with_it() -> None:
    identity = Identity(Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32))
    assert tls._context(identity, server=True) is tls._context(identity, server=True)
    assert tls._context(identity, server=True) is not tls._context(identity, server=False)
    before = len(tls._contexts)
    del identity
    gc.collect()
    assert len(tls._contexts) == before - 1


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.booleans(), st.booleans())
def test_no_bytes_raise_before_the_handshake(data: bytes, server: bool, looks_like_tls: bool) -> None:
    stream = SecureStream.server(B) if server else SecureStream.client(A, B.node_id)
    if looks_like_tls:
        data = bytes.fromhex("16 0303") + len(data).to_bytes(2) + data
    stream.receive_stream_data(data, NOW)
    stream.receive_eof(NOW)
    (failed,) = stream.events()
    assert isinstance(failed, HandshakeFailed)
    assert failed.reason
    stream.receive_stream_data(data, NOW)
    assert stream.events() == []
    assert stream.readable == 0


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_change_on_the_way_raises_or_deceives(data: st.DataObject) -> None:
    """Flip one bit anywhere: whoever completes knows the right peer, and reads only what was sent."""
    client, server = SecureStream.client(A, B.node_id), SecureStream.server(B)
    client.send(b"from the client")
    client.send_eof()
    server.send(b"from the server")
    server.send_eof()
    to_flip = data.draw(st.integers(0, 4500), label="byte")
    bit = data.draw(st.integers(0, 7), label="bit")
    seen = 0
    for _ in range(5):
        for source, target in ((client, server), (server, client)):
            flight = bytearray(source.data_to_send())
            if seen <= to_flip < seen + len(flight):
                flight[to_flip - seen] ^= 1 << bit
            seen += len(flight)
            target.receive_stream_data(bytes(flight), NOW)
    for stream, peer, text in ((client, B, b"from the server"), (server, A, b"from the client")):
        stream.receive_eof(NOW)
        assert stream.peer in {None, peer.node_id}
        received = stream.read(100)
        assert text.startswith(received)
        events = stream.events()
        assert isinstance(events[-1], EofReceived | StreamFailed | HandshakeFailed)
        if isinstance(events[-1], EofReceived):
            assert received == text


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=100))
def test_no_bytes_raise_after_the_handshake(data: bytes) -> None:
    client, server = connected()
    for stream in (client, server):
        stream.receive_stream_data(data, NOW)
        stream.receive_eof(NOW)
        (failed,) = stream.events()
        assert isinstance(failed, StreamFailed)
        assert stream.readable == 0
