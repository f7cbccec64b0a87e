"""A stream between two nodes: TLS over a uTP connection, opened by a Hello.

It has the verbs of a uTP connection, and its events are those of `pknet.utp` with the stream as `connection`.
Data moves between the layers in `advance`, once for each batch of datagrams; each layer takes no more than it
has room for, so a reader that stops makes the peer's program wait in the end.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from pknet.errors import ProtocolError, StateError
from pknet.network import messages
from pknet.network.framing import FrameReader
from pknet.network.messages import Hello, Opening, Purpose, Refused, Welcome
from pknet.network.plain import TLS_START, PlainOpened, PlainStream
from pknet.network.printable import printable
from pknet.network.ticket import admission_proof
from pknet.network.tls import EofReceived as TlsEofReceived
from pknet.network.tls import HandshakeCompleted, HandshakeFailed, SecureStream, StreamFailed
from pknet.utp import (
    CloseReason,
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionOpened,
    DataReceived,
    EofReceived,
    SendBufferDrained,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pknet.network.identity import Identity, NodeId
    from pknet.utp import UtpConnection, UtpEvent, UtpStats

__all__ = ["ADMISSION_CONTEXT", "NodeStream", "SecureConnection", "StreamOwner"]

CHUNK: Final = 1 << 16
HELLO_LIMIT: Final = 1024
ADMISSION_CONTEXT: Final = b"pknet stream admission"
_BINDING_LABEL: Final = b"EXPORTER-pknet-admission"


class SecureConnection:
    """A uTP connection and the TLS on it; moves bytes between the two."""

    def __init__(self, connection: UtpConnection, tls: SecureStream) -> None:
        self.connection = connection
        self.tls: SecureStream | PlainStream = tls
        self.owner: Any = None
        self.failure: str | None = None
        self.closed: ConnectionClosed | None = None
        self.eof = False
        """Whether the peer has ended its direction, by close_notify."""
        self.reader_gone = False
        """Whether nobody reads what the peer sends from here on."""
        self.is_cut = False
        """Whether this side ends without close_notify, so that what was sent does not pass for all."""
        self._unsent = b""
        self._eof_given = self._is_closed = False
        # What an incoming connection has sent, until that tells whether it is TLS.
        self._first: bytes | None = None
        self._allows_plain = False
        connection.context = self

    def expect_anything(self, *, allow_plain: bool) -> None:
        """Find out by its first bytes whether it carries TLS; else take it as it is, or reset it."""
        self._first = b""
        self._allows_plain = allow_plain

    def move(self, now: float) -> None:
        """Move what each layer has for the other, as far as there is room."""
        if self._first is not None and not self._tell_apart(self._first, now):
            return
        connection, tls = self.connection, self.tls
        # What follows close_notify is ignored (RFC 8446 section 6.1).
        while connection.readable and (tls.want_data or self.eof):
            tls.receive_stream_data(connection.read(CHUNK, now), now)
        if connection.at_eof and not (self._eof_given or self._is_closed):
            self._eof_given = True
            tls.receive_eof(now)
        if connection.is_closing and self.reader_gone:
            self._close(now)
        if connection.state == "CLOSED" or connection.is_closing:
            return
        while True:
            if not self._unsent:
                self._unsent = tls.data_to_send(CHUNK)
                if not self._unsent:
                    break
            # Taken or not, asking has the connection tell when there is room again.
            taken = connection.send(self._unsent, now)
            if taken < len(self._unsent):
                self._unsent = self._unsent[taken:]
                return
            self._unsent = b""
        # Without TLS a FIN would say that this was all: it is left to `abort`.
        if tls.eof_sent or (self.is_cut and isinstance(tls, SecureStream)):
            connection.finish(now)
            if self.reader_gone:
                self._close(now)

    def _close(self, now: float) -> None:
        """Leave it to the connection to drop what the peer sends, its close_notify too."""
        if not self._is_closed:
            self._is_closed = True
            self.connection.close(now)

    @property
    def unacknowledged(self) -> int:
        """How many bytes that were given to TLS are not known to have arrived, with what TLS has added."""
        return self.tls.unsent + len(self._unsent) + self.connection.unacknowledged

    def channel_binding(self) -> bytes:
        """Return what no other TLS stream has, for the proof of a ticket."""
        assert isinstance(self.tls, SecureStream)
        return self.tls.export_keying_material(_BINDING_LABEL, 32)

    def _tell_apart(self, first: bytes, now: float) -> bool:
        """Return whether it is known what the connection carries, and that may be."""
        connection = self.connection
        while len(first) < len(TLS_START) and connection.readable:
            first += connection.read(len(TLS_START) - len(first), now)
        self._first = first
        if connection.state == "CLOSED":
            return False
        if first != TLS_START and TLS_START.startswith(first) and not connection.at_eof:
            return False
        if first == TLS_START:
            self.tls.receive_stream_data(first, now)
        elif self._allows_plain:
            self.tls = PlainStream(first)
        else:
            self.failure = "the peer does not speak TLS"
            connection.abort(now)
            return False
        self._first = None
        return True


class _Phase(Enum):
    DIALLING = auto()
    GREETING = auto()
    OPEN = auto()
    CLOSED = auto()


class StreamOwner:
    """What a stream asks of the node that it belongs to."""

    identity: Identity

    def touch(self, stream: NodeStream) -> None:
        """Have `stream.advance` called before anything is sent."""
        raise NotImplementedError

    def admit(self, stream: NodeStream, hello: Hello) -> str | None:
        """Return why a node may not come in, None if it may."""
        raise NotImplementedError

    def emit(self, event: UtpEvent) -> None:
        """Tell the program of an event, or act on it where the stream is the node's own."""
        raise NotImplementedError

    def expect_end(self, stream: NodeStream) -> None:
        """Give the peer of a stream that was closed a bounded time to finish too."""
        raise NotImplementedError


class NodeStream:
    """A stream to or from another node; get one from `Node.connect` or from a ConnectionAccepted event.

    `peer` is the node at the other end, proven once the stream is open. `failure` says in words why a stream
    did not open or broke. `path` is the (remote, local) it goes by.
    """

    def __init__(
        self, owner: StreamOwner, peer: NodeId | None, purpose: Purpose, secret: bytes = b""
    ) -> None:
        self.peer = peer
        self.purpose = purpose
        self.context: Any = None
        self.failure: str | None = None
        self.close_reason: CloseReason | None = None
        self.is_initiator = peer is not None
        self.secure: SecureConnection | None = None
        self._owner = owner
        self._secret = secret
        self._phase = _Phase.DIALLING
        self._attempts: list[SecureConnection] = []
        self._bytes_taken = 0
        self._greeting = FrameReader(HELLO_LIMIT)
        self._readable_told = False
        self._eof_told = False
        self._send_refused = False
        self._finishing = False

    # What the program calls.

    @property
    def remote(self) -> Hashable:
        """The address of the peer, None while it is not known."""
        return None if self.secure is None else self.secure.connection.remote

    @property
    def path(self) -> tuple[Hashable, Hashable | None] | None:
        """The peer's address and the handle of this side's socket."""
        if self.secure is None:
            return None
        return self.secure.connection.remote, self.secure.connection.local

    @property
    def is_open(self) -> bool:
        """Whether the program may use the stream."""
        return self._phase is _Phase.OPEN

    @property
    def readable(self) -> int:
        """How many bytes `read` would return."""
        if self.secure is None or self._phase not in (_Phase.OPEN, _Phase.CLOSED):
            return 0
        return self.secure.tls.readable

    @property
    def at_eof(self) -> bool:
        """Whether the peer finished and all of its payload has been read."""
        is_known = self._eof_told or (
            # What stands behind unread payload at the end of the stream is told to nobody.
            self._phase is _Phase.CLOSED and self.secure is not None and self.secure.eof
        )
        return is_known and self.readable == 0

    @property
    def writable(self) -> int:
        """How many bytes `send` would take."""
        return self.secure.tls.sendable if self.secure is not None and self.is_open else 0

    @property
    def unread(self) -> int:
        """How many bytes, at most, the peer was told have arrived and nobody has read; 0 only if none.

        What OpenSSL holds is not known exactly; a piece of a record that has not come whole counts for none.
        """
        if self.secure is None:
            return 0
        known = self.readable + self.secure.connection.readable
        return known + CHUNK if known else 0

    @property
    def unacknowledged(self) -> int:
        """How many of the bytes that `send` took are not known to have arrived; 0 only if all have.

        Somewhat more than there are: what TLS adds to them is not told apart.
        """
        return 0 if self.secure is None else min(self.secure.unacknowledged, self._bytes_taken)

    @property
    def is_closing(self) -> bool:
        """Whether `finish` or `close` was called and the stream is not over."""
        return self._finishing and self._phase is not _Phase.CLOSED

    def send(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Take payload to send and return how many of its bytes were taken.

        If not all were, a SendBufferDrained event follows when there is room again. Raises StateError unless
        the stream is open, and after `finish`.
        """
        if self._finishing or self.secure is None or not self.is_open:
            raise StateError("the stream does not take payload")
        taken = self.secure.tls.send(data)
        self._bytes_taken += taken
        if taken < len(data):
            self._send_refused = True
        self._owner.touch(self)
        return taken

    def read(self, limit: int, now: float) -> bytes:
        """Return payload that has come, at most `limit` bytes of it; b"" if there is none."""
        if not self.readable:
            return b""
        assert self.secure is not None
        data = self.secure.tls.read(limit)
        if self._phase is _Phase.CLOSED:
            # What came before the end is still there, perhaps not decrypted yet.
            self.secure.move(now)
            self._take_tls_events(self.secure, now)
        if not self.readable:
            self._readable_told = False
        self._owner.touch(self)
        return data

    def read_into(self, buffer: bytearray | memoryview, now: float) -> int:
        """Move bytes of payload that have come into a buffer of bytes and return how many."""
        data = self.read(len(buffer), now)
        buffer[: len(data)] = data
        return len(data)

    def finish(self, now: float) -> None:
        """Say that no more payload will be sent, once all that was taken is sent; reading goes on."""
        if self._phase is not _Phase.CLOSED and not self._finishing:
            self._finishing = True
            if self.secure is not None:
                self.secure.tls.send_eof()
            self._owner.touch(self)

    def close(self, now: float) -> None:
        """Finish, and drop what the peer sends from here on."""
        if not self.is_open:
            self.abort(now)
            return
        assert self.secure is not None
        self.secure.reader_gone = True
        self._owner.expect_end(self)
        self.finish(now)
        self._owner.touch(self)

    def cut(self, now: float) -> None:
        """Close in the midst of a transfer: the peer reads what was sent, and then that it was not all.

        After `finish` it was all, and this is `close`. A stream without TLS has no such end: it stays until
        `abort`.
        """
        if self.secure is not None and not self._finishing:
            self._finishing = self.secure.is_cut = True
        self.close(now)

    def abort(self, now: float) -> None:
        """End the stream at once; what was not delivered is lost."""
        self._end(CloseReason.ABORTED, now)

    def stats(self) -> UtpStats | None:
        """Return the figures of the uTP connection beneath, None while it is not known which one that is."""
        return None if self.secure is None else self.secure.connection.stats()

    # What the node calls.

    def add_attempt(self, connection: UtpConnection, identity: Identity) -> SecureConnection:
        """Try to reach the peer by one more connection; the first to prove the peer's key is kept."""
        assert self.peer is not None
        attempt = SecureConnection(connection, SecureStream.client(identity, self.peer))
        attempt.owner = self
        self._attempts.append(attempt)
        self._owner.touch(self)
        return attempt

    def accept(self, connection: UtpConnection, identity: Identity, *, allow_plain: bool = False) -> None:
        """Take an incoming connection, whose initiator speaks first: TLS, or anything if that is allowed."""
        attempt = SecureConnection(connection, SecureStream.server(identity))
        attempt.expect_anything(allow_plain=allow_plain)
        attempt.owner = self
        self._attempts.append(attempt)
        self._owner.touch(self)

    @property
    def attempts_left(self) -> int:
        """How many connections are still being tried."""
        return len(self._attempts)

    def fail(self, failure: str, now: float) -> None:
        """End the stream because it can't be opened."""
        self.failure = failure
        self._end(CloseReason.REFUSED, now)

    def connection_closed(self, attempt: SecureConnection, event: ConnectionClosed) -> None:
        """Take the end of a connection of this stream."""
        attempt.closed = event
        self._owner.touch(self)

    def advance(self, now: float) -> None:
        """Move data between the layers and tell what came of it."""
        for attempt in list(self._attempts):
            # The first to prove the peer's key ends the others.
            if attempt in self._attempts:
                attempt.move(now)
                self._take_tls_events(attempt, now)
        if self.secure is not None:
            self._advance_secure(self.secure, now)

    def _advance_secure(self, secure: SecureConnection, now: float) -> None:
        secure.move(now)
        self._take_tls_events(secure, now)
        if self._phase is _Phase.GREETING:
            self._greet(secure, now)
        if self._phase is _Phase.OPEN:
            # Reading a greeting, and dropping what nobody reads, made room.
            secure.move(now)
            self._drop_unread(secure, now)
            self._take_tls_events(secure, now)
        if self._phase is _Phase.OPEN:
            self._tell(secure)
        closed = secure.closed
        if closed is None or self._phase is _Phase.CLOSED:
            return
        # If it ended in peace, the close_notify may stand behind what the program has yet to read.
        is_behind = secure.connection.readable or not secure.tls.want_data
        if closed.reason is not CloseReason.FINISHED or secure.eof or not is_behind:
            self._end_with(secure, closed, now)

    def _drop_unread(self, secure: SecureConnection, now: float) -> None:
        """Drop what comes after `close`; a peer that goes on sending has to learn that nobody reads."""
        while secure.reader_gone and secure.tls.readable:
            secure.tls.read(CHUNK)
            secure.move(now)
            # Not before all that this side sent has arrived, nor for the peer's close_notify alone.
            if secure.connection.is_closing and not secure.unacknowledged:
                self._end(CloseReason.ABORTED, now)

    def _tell(self, secure: SecureConnection) -> None:
        """Tell the program what it can do now."""
        if secure.tls.readable and not self._readable_told:
            self._readable_told = True
            self._owner.emit(DataReceived(self))
        if secure.eof and not self._eof_told:
            self._eof_told = True
            self._owner.emit(EofReceived(self))
        if self._send_refused and secure.tls.sendable and not self._finishing:
            self._send_refused = False
            self._owner.emit(SendBufferDrained(self))

    def _take_tls_events(self, attempt: SecureConnection, now: float) -> None:
        for event in attempt.tls.events():
            match event:
                case HandshakeCompleted(node_id):
                    self._adopt(attempt, node_id, now)
                case HandshakeFailed(reason) | StreamFailed(reason):
                    attempt.failure = reason
                    attempt.move(now)
                    if attempt is self.secure:
                        self.failure = reason
                        self._end(CloseReason.RESET, now)
                    else:
                        self._drop(attempt, now, reason)
                case TlsEofReceived():
                    attempt.eof = True
                case PlainOpened():
                    self._adopt_plain(attempt)
        if attempt.closed is not None and attempt in self._attempts:
            self._drop(attempt, now, attempt.failure or attempt.closed.reason.value)

    def _adopt(self, attempt: SecureConnection, node_id: NodeId, now: float) -> None:
        """Keep the connection over which the peer first proved its key, and give up the others."""
        self._attempts.remove(attempt)
        self.secure = attempt
        self.peer = node_id
        for other in self._attempts:
            other.connection.abort(now)
        self._attempts.clear()
        self._phase = _Phase.GREETING
        if self.is_initiator:
            proof = b""
            if self._secret:
                proof = admission_proof(self._secret, ADMISSION_CONTEXT, attempt.channel_binding())
            attempt.tls.send(messages.encode(Hello(messages.VERSION, self.purpose, proof)))
            if self._finishing:
                attempt.tls.send_eof()
            attempt.move(now)

    def _adopt_plain(self, attempt: SecureConnection) -> None:
        """Open an incoming stream that carries no TLS: nobody has to prove or to greet."""
        self._attempts.remove(attempt)
        self.secure = attempt
        self._phase = _Phase.OPEN
        self._owner.emit(ConnectionAccepted(self))

    def _drop(self, attempt: SecureConnection, now: float, reason: str) -> None:
        """Give up one of several connections.

        An incoming stream has no other; one to a rendezvous has all it will get; a dial may bring more.
        """
        self._attempts.remove(attempt)
        self.failure = reason
        if attempt.closed is None:
            # The alert that says why is on its way: finish rather than reset.
            attempt.connection.close(now)
        if not self.is_initiator or (self.purpose is Purpose.RENDEZVOUS and not self._attempts):
            self._end(CloseReason.REFUSED, now)

    def _greet(self, secure: SecureConnection, now: float) -> None:
        """Read the Hello or the answer to it, and not a byte more."""
        payloads: list[bytes] = []
        try:
            while secure.tls.readable and not payloads:
                payloads = self._greeting.receive_stream_data(secure.tls.read(self._greeting.wanted))
            if not payloads:
                return
            message = messages.decode(payloads[0], Opening)
        except ProtocolError as error:
            self.failure = str(error)
            self._end(CloseReason.RESET, now)
            return
        match message:
            case Hello() if not self.is_initiator:
                self._answer_hello(secure, message, now)
            case Welcome() if self.is_initiator:
                self._phase = _Phase.OPEN
                self._owner.emit(ConnectionOpened(self))
            case Refused(reason) if self.is_initiator:
                self.failure = f"the node refused: {printable(reason)}"
                self._end(CloseReason.REFUSED, now)
            case _:
                self.failure = "the peer opened the stream with the wrong message"
                self._end(CloseReason.RESET, now)

    def _answer_hello(self, secure: SecureConnection, hello: Hello, now: float) -> None:
        self.purpose = hello.purpose
        if hello.version != messages.VERSION:
            refusal: str | None = f"version {hello.version} is not spoken here, only {messages.VERSION}"
        else:
            refusal = self._owner.admit(self, hello)
        if refusal is None:
            self._phase = _Phase.OPEN
            secure.tls.send(messages.encode(Welcome()))
            self._owner.emit(ConnectionAccepted(self))
        else:
            self.failure = refusal
            secure.tls.send(messages.encode(Refused(refusal)))
            secure.tls.send_eof()
            secure.move(now)
            secure.connection.close(now)
            self._end(CloseReason.REFUSED, now)

    def _end_with(self, secure: SecureConnection, event: ConnectionClosed, now: float) -> None:
        """End as the connection below did."""
        reason = event.reason
        if reason is CloseReason.FINISHED and self._phase is not _Phase.OPEN:
            reason = CloseReason.REFUSED
            self.failure = "the node ended the stream before it was open"
        elif reason is CloseReason.FINISHED and not (secure.eof or secure.reader_gone):
            reason = CloseReason.RESET
        if reason is not CloseReason.FINISHED:
            self.failure = self.failure or reason.value
        self._end(reason, now)

    def _end(self, reason: CloseReason, now: float) -> None:
        if self._phase is _Phase.CLOSED:
            return
        undelivered = self.unacknowledged
        self._phase = _Phase.CLOSED
        self.close_reason = reason
        for attempt in self._attempts:
            attempt.connection.abort(now)
        self._attempts.clear()
        secure = self.secure
        if secure is not None:
            if reason is not CloseReason.ABORTED and secure.connection.at_eof:
                # The peer cut its side off, and may want to know that all before that has arrived.
                secure.connection.close(now)
            elif reason is CloseReason.ABORTED or not secure.connection.is_closing:
                # What was refused is told so by what is still on its way.
                secure.connection.abort(now)
        self._owner.emit(ConnectionClosed(self, reason, undelivered))

    def __repr__(self) -> str:
        return f"<NodeStream {self._phase.name} with {self.peer} at {self.remote!r}>"
