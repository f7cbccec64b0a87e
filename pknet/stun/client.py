"""The client side of Binding: what address and port do others see behind a socket (RFC 8489 section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from pknet._core.stun_attributes import Attribute, ErrorCode
from pknet._core.stun_codec import Message, MessageClass, Method, build_message, parse_message
from pknet._core.stun_integrity import IntegrityKey
from pknet.errors import ProtocolError
from pknet.stun.transactions import Transaction, Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from pknet._core.stun_attributes import AttributeValue
    from pknet._core.transmit import Transmit

__all__ = [
    "BindingEvent",
    "BindingFailed",
    "BindingSucceeded",
    "BindingTimedOut",
    "BindingUnreachable",
    "StunClient",
    "StunClientStats",
]

# Servers as old as RFC 3489 add SOURCE-ADDRESS, CHANGED-ADDRESS and REFLECTED-FROM to any answer. Nothing
# follows from them, but their types are comprehension-required.
_UNDERSTOOD: Final = frozenset(Attribute) | {0x0004, 0x0005, 0x000B}
# Where a message has it (RFC 8489 section 5).
_TRANSACTION_ID: Final = slice(8, 20)


@dataclass(frozen=True, slots=True)
class BindingSucceeded:
    """A server said which address it sees.

    `local`: the socket that its answer came by. `rtt`: seconds, None if the request had to be sent again, for
    then nobody knows which of them was answered.
    """

    transaction_id: bytes
    server: tuple[str, int]
    local: Hashable | None
    mapped_address: tuple[str, int]
    rtt: float | None
    response: Message


@dataclass(frozen=True, slots=True)
class BindingFailed:
    """A server refused a request, or answered what can't be understood: then `error` is None."""

    transaction_id: bytes
    server: tuple[str, int]
    local: Hashable | None
    error: ErrorCode | None
    response: Message


@dataclass(frozen=True, slots=True)
class BindingTimedOut:
    """No server answered a request.

    `integrity_violated`: there were answers, but none of them proved the integrity key (RFC 8489 section
    9.1.4).
    """

    transaction_id: bytes
    server: tuple[str, int]
    local: Hashable | None
    integrity_violated: bool


@dataclass(frozen=True, slots=True)
class BindingUnreachable:
    """The server's system said that nobody has the port that a request was for (ICMP)."""

    transaction_id: bytes
    server: tuple[str, int]
    local: Hashable | None


BindingEvent: TypeAlias = BindingSucceeded | BindingFailed | BindingTimedOut | BindingUnreachable


@dataclass(slots=True)
class StunClientStats:
    """What a StunClient sent, and what became of the datagrams it was given."""

    requests_sent: int = 0
    requests_sent_again: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    unreachable: int = 0
    malformed: int = 0
    """Dropped: not a STUN message."""
    unmatched: int = 0
    """Dropped: nothing to a request that waits for its response, or not from its server."""
    bad_fingerprint: int = 0
    """Dropped: FINGERPRINT is wrong."""
    bad_integrity: int = 0
    """Dropped: the integrity key is not proved."""


class StunClient:
    """Sends Binding requests, as many at a time as are wanted, and reports what comes of each.

    Requests are sent again after `rto`, 3 `rto`, 7 `rto` … seconds, `rc` times in all, and given up `rm`
    times `rto` after the last (RFC 8489 section 6.2.1). `token_bytes` must be fit for cryptography: the
    transaction ids it makes keep others from forging answers.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        *,
        rto: float = 0.5,
        rc: int = 7,
        rm: float = 16,
        max_transactions: int = 1024,
    ) -> None:
        if rto <= 0:
            raise ValueError(f"the RTO must be positive, not {rto}")
        self.stats = StunClientStats()
        self._token_bytes = token_bytes
        self._rto = rto
        self._transactions = Transactions(rc=rc, rm=rm, limit=max_transactions)
        self._now = float("-inf")
        self._transmits: list[Transmit] = []
        self._events: list[BindingEvent] = []

    def __len__(self) -> int:
        """Return how many requests wait for their responses."""
        return len(self._transactions)

    def binding(
        self,
        server_address: tuple[str, int],
        now: float,
        *,
        local: Hashable | None = None,
        attributes: Iterable[tuple[int, AttributeValue]] = (),
        integrity_key: bytes | IntegrityKey | None = None,
        integrity: Literal["sha1", "sha256", "both"] = "sha1",
        fingerprint: bool = True,
        rto: float | None = None,
    ) -> bytes:
        """Ask a server for the address it sees; return the transaction id that the event will carry.

        `server_address`: an IP address and a port. `local`: the socket to ask from, which the answer has to
        come by too. With an `integrity_key` an answer that does not prove it is dropped. Raises
        TooManyTransactionsError at the limit, and ValueError for an address or an attribute that can't be.
        """
        now = self._advance(now)
        key = IntegrityKey(integrity_key) if isinstance(integrity_key, bytes) else integrity_key
        transaction_id = self._token_bytes(12)
        request = build_message(
            Method.BINDING,
            MessageClass.REQUEST,
            transaction_id,
            attributes,
            integrity_key=key,
            integrity=integrity,
            fingerprint=fingerprint,
        )
        transaction = Transaction(
            transaction_id,
            request,
            server_address,
            local,
            self._rto if rto is None else rto,
            key,
            integrity,
        )
        self._transmits.append(self._transactions.start(transaction, now))
        self.stats.requests_sent += 1
        return transaction_id

    def cancel(self, transaction_id: bytes) -> None:
        """Forget a request: there will be no event for it. Harmless if it has ended already."""
        self._transactions.end(transaction_id)

    def receive_datagram(
        self,
        data: bytes | bytearray | memoryview,
        remote: tuple[str, int],
        local: Hashable | None,
        now: float,
    ) -> bool:
        """Take a datagram; return whether it was the response to a request, and so has made an event.

        A forged or corrupt response is not one, nor is another copy of one.
        """
        try:
            message = parse_message(data)
        except ProtocolError:
            self.stats.malformed += 1
            return False
        return self.receive_message(message, remote, local, now)

    def receive_message(
        self, message: Message, remote: tuple[str, int], local: Hashable | None, now: float
    ) -> bool:
        """Take a datagram that was parsed already; the rest is as for `receive_datagram`."""
        now = self._advance(now)
        transaction = self._transactions.get(message.transaction_id)
        if (
            transaction is None
            or message.method != Method.BINDING
            or message.message_class not in (MessageClass.SUCCESS_RESPONSE, MessageClass.ERROR_RESPONSE)
            or not transaction.accepts_source(remote, local)
        ):
            self.stats.unmatched += 1
            return False
        if message.has_fingerprint and not message.verify_fingerprint():
            self.stats.bad_fingerprint += 1
            return False
        if not transaction.accepts_integrity(message):
            # As if it had never come: the right answer may still do (section 9.1.4).
            transaction.integrity_violated = True
            self.stats.bad_integrity += 1
            return False
        self._transactions.end(transaction.transaction_id)
        self._events.append(self._outcome(transaction, message, local, now))
        return True

    def receive_unreachable(
        self,
        data: bytes | bytearray | memoryview,
        remote: tuple[str, int],
        local: Hashable | None,
        now: float,
    ) -> None:
        """Take word that nobody has the port that a datagram was for (ICMP, port unreachable).

        `data`: what the message quotes of the datagram, from its first byte. It ends a request only by
        quoting its transaction id, which nobody else can guess (RFC 8489 section 6.2.1).
        """
        self._advance(now)
        transaction = self._transactions.get(bytes(data[_TRANSACTION_ID]))
        if transaction is None or not transaction.accepts_source(remote, local):
            self.stats.unmatched += 1
            return
        self._transactions.end(transaction.transaction_id)
        self.stats.unreachable += 1
        self._events.append(
            BindingUnreachable(transaction.transaction_id, transaction.server, transaction.local)
        )

    def handle_timeout(self, now: float) -> None:
        """Send again what is due, and give up what has waited long enough."""
        again, timed_out = self._transactions.handle_timeout(self._advance(now))
        self._transmits += again
        self.stats.requests_sent_again += len(again)
        self.stats.timed_out += len(timed_out)
        for transaction in timed_out:
            self._events.append(
                BindingTimedOut(
                    transaction.transaction_id,
                    transaction.server,
                    transaction.local,
                    transaction.integrity_violated,
                )
            )

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due, None if nothing waits."""
        return self._transactions.next_timeout()

    @property
    def next_timer(self) -> str | None:
        """What is due then: "retransmission" or "time-out"."""
        return self._transactions.next_timer

    def transmits(self) -> list[Transmit]:
        """Take the requests to be sent, in order."""
        taken, self._transmits = self._transmits, []
        return taken

    def events(self) -> list[BindingEvent]:
        """Take what has happened: exactly one event for each request that was not cancelled."""
        taken, self._events = self._events, []
        return taken

    def _outcome(
        self, transaction: Transaction, response: Message, local: Hashable | None, now: float
    ) -> BindingEvent:
        understood = not response.unknown_comprehension_required(_UNDERSTOOD)
        mapped_address = response.get(Attribute.XOR_MAPPED_ADDRESS) or response.get(Attribute.MAPPED_ADDRESS)
        if (
            response.message_class is MessageClass.SUCCESS_RESPONSE
            and understood
            and mapped_address is not None
        ):
            self.stats.succeeded += 1
            return BindingSucceeded(
                transaction.transaction_id,
                transaction.server,
                local,
                mapped_address,
                transaction.rtt(now),
                response,
            )
        self.stats.failed += 1
        is_error = response.message_class is MessageClass.ERROR_RESPONSE
        error = response.get(Attribute.ERROR_CODE) if is_error and understood else None
        return BindingFailed(transaction.transaction_id, transaction.server, local, error, response)

    def _advance(self, now: float) -> float:
        # A clock that steps back must not make a wait longer.
        self._now = max(self._now, now)
        return self._now
