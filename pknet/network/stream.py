"""A stream between two nodes: TLS over a uTP connection, opened by a Hello.

It has the verbs of a uTP connection, and its events are those of `pknet.utp` with the stream as `connection`. Data moves
between the layers in `advance`, once for each batch of datagrams.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from pknet.errors import ProtocolError, StateError
from pknet.network import messages
from pknet.network.framing import FrameReader
from pknet.network.messages import Hello, Opening, Purpose, Refused, Welcome
from pknet.network.ticket import admission_proof
from pknet.network.tls import (
    EofReceived as TlsEofReceived,
)
from pknet.network.tls import (
    HandshakeCompleted,
    HandshakeFailed,
    SecureStream,
    StreamFailed,
)
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
    from collections.abc import Callable, Hashable

    from pknet.network.identity import Identity, NodeId
    from pknet.utp import UtpConnection, UtpEvent

__all__ = ["NodeStream", "SecureConnection", "StreamOwner"]

CHUNK: Final = 1 << 16
HELLO_LIMIT: Final = 1024
ADMISSION_CONTEXT: Final = b"pknet stream admission"
_BINDING_LABEL: Final = b"EXPORTER-pknet-admission"


class SecureConnection:
    """A uTP connection and the TLS on it; moves bytes between the two."""

    def __init__(self, connection: UtpConnection, tls: SecureStream) -> None:
        self.connection = connection
        self.tls = tls
        self.owner: Any = None
        self.failure: str | None = None
        self.closed: ConnectionClosed | None = None
        self.reader_gone = False
        self._unsent = b""
        self._eof_given = False
        connection.context = self

    def move(self, now: float) -> None:
        """Move what each layer has for the other, as far as there is room."""
        connection, tls = self.connection, self.tls
        while connection.readable and tls.want_data:
            tls.receive_stream_data(connection.read(CHUNK, now), now)
        if connection.at_eof and not self._eof_given:
            self._eof_given = True
            tls.receive_eof(now)
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
        if tls.eof_sent:
            if self.reader_gone:
                connection.close(now)
            else:
                connection.finish(now)

    @property
    def unacknowledged(self) -> int:
        """Bytes, TLS's own included, that are not known to have arrived."""
        return len(self._unsent) + self.connection.unacknowledged

    def channel_binding(self) -> bytes:
        """Return what no other TLS stream has, for the proof of a ticket."""
        return self.tls.export_keying_material(_BINDING_LABEL, 32)


class _Phase(Enum):
    DIALLING = auto()
    SECURING = auto()
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


class NodeStream:
    """A stream to or from another node; get one from `Node.connect` or from a ConnectionAccepted event.

    `peer` is the node at the other end, proven once the stream is open. `failure` says in words why a stream did not
    open or broke. `path` is the (remote, local) it goes by.
    """

    def __init__(self, owner: StreamOwner, peer: NodeId | None, purpose: Purpose, secret: bytes = b"") -> None:
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
        self._greeting = FrameReader(HELLO_LIMIT)
        self._readable_told = False
        self._eof_told = False
        self._send_refused = False
        self._finishing = False
        self._reader_gone = False

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
        return self._eof_told and self.readable == 0

    @property
    def writable(self) -> int:
        """How many bytes `send` would take."""
        return self.secure.tls.sendable if self.secure is not None and self.is_open else 0

    @property
    def unacknowledged(self) -> int:
        """Bytes that `send` took and that are not known to have arrived; TLS's overhead counts where it was added."""
        return 0 if self.secure is None else self.secure.unacknowledged + self.secure.tls.unsent

    @property
    def is_closing(self) -> bool:
        """Whether `finish` or `close` was called and the stream is not over."""
        return self._finishing and self._phase is not _Phase.CLOSED

    def send(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Take payload to send and return how many of its bytes were taken.

        A SendBufferDrained event follows when there is room again. Raises StateError unless the stream is open, and
        after `finish`.
        """
        if self._finishing or self.secure is None or not self.is_open:
            raise StateError("the stream does not take payload")
        taken = self.secure.tls.send(data)
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
        if not self.readable:
            self._readable_told = False
        self._owner.touch(self)
        return data

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
        self._reader_gone = self.secure.reader_gone = True
        self.finish(now)

    def abort(self, now: float) -> None:
        """End the stream at once; what was not delivered is lost."""
        self._end(CloseReason.ABORTED, now)

    # What the node calls.

    def add_attempt(self, connection: UtpConnection, identity: Identity) -> SecureConnection:
        """Try to reach the peer by one more connection; the first to prove the peer's key is kept."""
        assert self.peer is not None
        attempt = SecureConnection(connection, SecureStream.client(identity, self.peer))
        attempt.owner = self
        self._attempts.append(attempt)
        self._owner.touch(self)
        return attempt

    def accept(self, connection: UtpConnection, identity: Identity) -> None:
        """Take an incoming connection, whose initiator speaks TLS first."""
        attempt = SecureConnection(connection, SecureStream.server(identity))
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
            while self._reader_gone and secure.tls.readable:
                secure.tls.read(CHUNK)
            secure.move(now)
            self._take_tls_events(secure, now)
            if secure.tls.readable and not self._readable_told:
                self._readable_told = True
                self._owner.emit(DataReceived(self))
            if self._send_refused and secure.tls.sendable and not self._finishing:
                self._send_refused = False
                self._owner.emit(SendBufferDrained(self))
        if secure.closed is not None and self._phase is not _Phase.CLOSED:
            self._end_with(secure, secure.closed, now)

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
                    if not self._eof_told and self._phase is _Phase.OPEN:
                        self._eof_told = True
                        self._owner.emit(EofReceived(self))
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
            attempt.move(now)

    def _drop(self, attempt: SecureConnection, now: float, reason: str) -> None:
        """Give up one of several connections; an incoming stream has no other."""
        self._attempts.remove(attempt)
        self.failure = reason
        if attempt.closed is None:
            # The alert that says why is on its way: finish rather than reset.
            attempt.connection.close(now)
        if not self.is_initiator:
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
                self.failure = f"the node refused: {reason}" if reason.isprintable() else "the node refused"
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
        if reason is CloseReason.FINISHED and not (self._eof_told or self._reader_gone):
            reason = CloseReason.RESET
        self._end(reason, now, secure.tls.unsent + event.undelivered)

    def _end(self, reason: CloseReason, now: float, undelivered: int | None = None) -> None:
        if self._phase is _Phase.CLOSED:
            return
        was_open = self._phase is _Phase.OPEN
        if undelivered is None:
            undelivered = self.unacknowledged if was_open else 0
        self._phase = _Phase.CLOSED
        self.close_reason = reason
        for attempt in self._attempts:
            attempt.connection.abort(now)
        self._attempts.clear()
        if self.secure is not None and self.secure.closed is None and not self.secure.connection.is_closing:
            self.secure.connection.abort(now)
        self._owner.emit(ConnectionClosed(self, reason, undelivered))

    def __repr__(self) -> str:
        return f"<NodeStream {self._phase.name} with {self.peer} at {self.remote!r}>"
