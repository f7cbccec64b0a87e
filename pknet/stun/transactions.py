"""Requests over UDP that wait for their responses (RFC 8489 sections 6.2.1, 6.3 and 9.1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Literal

from pknet._core.stun_address import pack_address
from pknet._core.transmit import Transmit
from pknet.errors import PknetError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pknet._core.stun_codec import Message
    from pknet._core.stun_integrity import IntegrityKey

__all__ = ["TooManyTransactionsError", "Transaction", "Transactions"]


class TooManyTransactionsError(PknetError):
    """As many requests as allowed wait for their responses; try again when some have ended."""


@dataclass(slots=True, eq=False)
class Transaction:
    """A request that waits for its response.

    `local`: the socket it leaves by. `rto`: seconds until it is sent for the second time.
    """

    transaction_id: bytes
    request: bytes
    server: tuple[str, int]
    local: Hashable | None
    rto: float
    integrity_key: IntegrityKey | None = None
    integrity: Literal["sha1", "sha256", "both"] = "sha1"
    started_at: float = 0.0
    requests_sent: int = 0
    # When it is sent again or given up; None once it has ended.
    deadline: float | None = None
    # Whether a response was discarded because it did not prove the key.
    integrity_violated: bool = False

    def accepts_source(self, remote: tuple[str, int], local: Hashable | None) -> bool:
        """Tell if a datagram comes from the server, by the socket that the request left by.

        Any will do where that was the primary one: it may have several handles, one for each of its
        addresses.
        """
        if self.local is not None and local != self.local:
            return False
        # One address has several texts, and its scope may be a name or a number.
        return remote == self.server or (
            remote[1] == self.server[1] and pack_address(remote[0]) == pack_address(self.server[0])
        )

    def accepts_integrity(self, response: Message) -> bool:
        """Tell if a response proves the key of the request, if there is one (RFC 8489 section 9.1.4)."""
        if self.integrity_key is None:
            return True
        # An answer by the other algorithm than the one that was asked with is not to be believed.
        return (
            self.integrity == "both" or response.integrity == self.integrity
        ) and response.verify_integrity(self.integrity_key)

    def rtt(self, now: float) -> float | None:
        """Return the seconds since the request, None if it was sent more than once (Karn's algorithm)."""
        return now - self.started_at if self.requests_sent == 1 else None


class Transactions:
    """All the requests of a client that wait for their responses, at most `limit`.

    `rc`: how often a request is sent in all; `rm`: how many RTOs the last one is waited for. Every
    transaction starts with its own RTO, whatever was learnt from earlier ones.
    """

    def __init__(self, *, rc: int = 7, rm: float = 16, limit: int = 1024) -> None:
        if rc < 1 or rm <= 0 or limit < 1:
            raise ValueError("rc and limit must be at least 1, rm positive")
        self._rc = rc
        self._rm = rm
        self._limit = limit
        self._waiting: dict[bytes, Transaction] = {}
        # (deadline, tie-breaker, transaction). What is not at its transaction's deadline any more is passed
        # over.
        self._timers: list[tuple[float, int, Transaction]] = []
        self._timer_count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self, transaction: Transaction, now: float) -> Transmit:
        """Begin a transaction and return its request.

        Raises TooManyTransactionsError at the limit, ValueError for an RTO that is not positive, a server
        that is not an IP address with a port, and a transaction id that is in use.
        """
        if len(self._waiting) >= self._limit:
            raise TooManyTransactionsError(f"{self._limit} transactions are waiting already")
        if transaction.rto <= 0:
            raise ValueError(f"the RTO must be positive, not {transaction.rto}")
        if transaction.transaction_id in self._waiting:
            raise ValueError("a transaction id must not be used twice: token_bytes repeats itself")
        host, port = transaction.server
        pack_address(host)
        if not 0 < port <= 0xFFFF:
            raise ValueError(f"not a port: {port}")
        transaction.started_at = now
        self._waiting[transaction.transaction_id] = transaction
        return self._send(transaction, now)

    def get(self, transaction_id: bytes) -> Transaction | None:
        """Return the transaction that waits under this id, if any."""
        return self._waiting.get(transaction_id)

    def end(self, transaction_id: bytes) -> None:
        """Wait for it no longer; harmless if it has ended already."""
        transaction = self._waiting.pop(transaction_id, None)
        if transaction is None:
            return
        transaction.deadline = None
        if len(self._timers) > 2 * len(self._waiting) + 64:
            self._timers = [timer for timer in self._timers if timer[2].deadline == timer[0]]
            heapify(self._timers)

    def handle_timeout(self, now: float) -> tuple[list[Transmit], list[Transaction]]:
        """Return the requests to be sent again, and the transactions that have timed out."""
        again: list[Transmit] = []
        timed_out: list[Transaction] = []
        while (transaction := self._first()) is not None:
            if transaction.deadline is None or transaction.deadline > now:
                break
            heappop(self._timers)
            if transaction.requests_sent < self._rc:
                again.append(self._send(transaction, now))
            else:
                self.end(transaction.transaction_id)
                timed_out.append(transaction)
        return again, timed_out

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        transaction = self._first()
        return None if transaction is None else transaction.deadline

    @property
    def next_timer(self) -> str | None:
        """What is due then: "retransmission" or "time-out"."""
        transaction = self._first()
        if transaction is None:
            return None
        return "retransmission" if transaction.requests_sent < self._rc else "time-out"

    def _first(self) -> Transaction | None:
        while self._timers:
            deadline, _, transaction = self._timers[0]
            if transaction.deadline == deadline:
                return transaction
            heappop(self._timers)
        return None

    def _send(self, transaction: Transaction, now: float) -> Transmit:
        transaction.requests_sent += 1
        wait = (
            transaction.rto * 2 ** (transaction.requests_sent - 1)
            if transaction.requests_sent < self._rc
            else transaction.rto * self._rm
        )
        # From now, not from when it was due: a machine that was asleep must not send all it missed at once.
        transaction.deadline = now + wait
        self._timer_count += 1
        heappush(self._timers, (transaction.deadline, self._timer_count, transaction))
        return Transmit(transaction.request, transaction.server, transaction.local)
