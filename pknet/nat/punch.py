"""Punching a hole: both sides send each other authenticated STUN checks until one is answered.

A check is a Binding request (RFC 8489) whose MESSAGE-INTEGRITY key both sides had from their introduction and
nobody else has. Its source is taken for a candidate wherever it comes from (peer-reflexive, RFC 8445 section
7.3.1.3): behind a symmetric NAT that is the only way to learn it.

The side that made the introduction (`controlling`) chooses the path: the first over which a check of its own
is answered. The two sides' checks have different USERNAMEs, so that one that is reflected is none.

An address that never answers gets a handful of packets: that it is the peer's, only the peer says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pknet._core.transmit import Transmit
from pknet.nat.candidate import MAX_CANDIDATES
from pknet.stun import Attribute, IntegrityKey, Message, MessageClass, Method, build_message

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    Address = tuple[str, int]

__all__ = ["HolePunch", "PathFound", "PunchFailed"]

# When checks to a candidate leave, in seconds after the start.
SCHEDULE: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6)
# How long after the start a check may still be answered.
PATIENCE: Final = 2.2
# Checks to one address in all: the schedule's, an opener, and some in return for checks that came from it.
MAX_CHECKS: Final = 12
TRIGGERED_INTERVAL: Final = 0.01
# Addresses that are learnt from checks, beside those that the peer named.
MAX_LEARNT: Final = 8
# More than a peer that keeps to these limits can send.
MAX_ANSWERS: Final = 256


@dataclass(frozen=True, slots=True)
class PathFound:
    """A check was answered after `rtt` seconds: datagrams pass both ways between `local` and `remote`."""

    remote: Address
    local: Hashable | None
    rtt: float


@dataclass(frozen=True, slots=True)
class PunchFailed:
    """No check was answered in time."""

    checks_sent: int


@dataclass(slots=True)
class _Remote:
    """An address that checks go to; `step` is how far along the schedule it is, which began at `begins`."""

    address: Address
    local: Hashable | None
    begins: float
    step: int = 0
    checks_sent: int = 0
    checked_at: float = float("-inf")

    @property
    def due(self) -> float | None:
        if self.step >= len(SCHEDULE) or self.checks_sent >= MAX_CHECKS:
            return None
        return self.begins + SCHEDULE[self.step]


@dataclass(frozen=True, slots=True)
class _Check:
    """A check that was sent."""

    remote: Address
    local: Hashable | None
    sent_at: float


class HolePunch:
    """One attempt, with candidates known on both sides and an agreed time to start.

    `remotes`: where to send checks. `local`: the socket that they leave by, None for the primary one.
    `name` and `key` (32 bytes) are the introduction's. `openers`: those of the remotes that get one packet at
    once with a hop limit of `opener_ttl`: it opens this side's NAT and dies before the other's, so it can't
    take the port there.
    """

    def __init__(
        self,
        name: bytes,
        key: bytes,
        remotes: Sequence[Address],
        token_bytes: Callable[[int], bytes],
        *,
        controlling: bool,
        start: float,
        now: float,
        local: Hashable | None = None,
        openers: Sequence[Address] = (),
        opener_ttl: int = 2,
    ) -> None:
        self.username = f"{name.hex()}:{'controlling' if controlling else 'controlled'}"
        """The USERNAME of this side's checks."""
        self.peer_username = f"{name.hex()}:{'controlled' if controlling else 'controlling'}"
        """The USERNAME of the peer's checks."""
        self.checks_sent = 0
        self.checks_received = 0
        self._key = IntegrityKey(key)
        self._token_bytes = token_bytes
        named = dict.fromkeys(remotes[:MAX_CANDIDATES])
        self._remotes = {address: _Remote(address, local, start) for address in named}
        self._most_remotes = len(named) + MAX_LEARNT
        # Transaction -> the check of ours that waits for its answer; the peer's -> where it came from.
        self._outstanding: dict[bytes, _Check] = {}
        self._answered: dict[bytes, Address] = {}
        self._answers = 0
        self._ends = start + PATIENCE
        self._over = False
        self._transmits: list[Transmit] = []
        self._events: list[PathFound | PunchFailed] = []
        for address in openers:
            if address in self._remotes:
                self._send_check(self._remotes[address], now, opener_ttl)
        self.handle_timeout(now)

    def owns(self, message: Message) -> bool:
        """Return whether a message claims to be a check of this attempt or the answer to one of them."""
        if message.message_class is MessageClass.REQUEST:
            return message.get(Attribute.USERNAME) in (self.peer_username, self.username)
        return message.transaction_id in self._outstanding

    def receive_message(self, message: Message, remote: Address, local: Hashable | None, now: float) -> bool:
        """Take a message that this attempt `owns`; return False if it is forged, reflected or replayed."""
        if message.method != Method.BINDING or not message.verify_integrity(self._key):
            return False
        if message.message_class is MessageClass.REQUEST:
            return self._receive_check(message, remote, local, now)
        return message.message_class is MessageClass.SUCCESS_RESPONSE and self._receive_answer(
            message, remote, local, now
        )

    def handle_timeout(self, now: float) -> None:
        """Send the checks that are due; give up when it is time."""
        if self._over:
            return
        for target in self._remotes.values():
            if target.due is not None and target.due <= now:
                self._send_check(target, now)
                # After a pause of the clock what was missed is not sent all at once.
                while target.due is not None and target.due <= now:
                    target.step += 1
        if now >= self._ends:
            self._over = True
            self._events.append(PunchFailed(self.checks_sent))

    def next_timeout(self) -> float | None:
        """Return when the next check is due, or when to give up."""
        if self._over:
            return None
        due = (target.due for target in self._remotes.values())
        return min((when for when in due if when is not None and when < self._ends), default=self._ends)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def events(self) -> list[PathFound | PunchFailed]:
        """Take what has happened: one event in all."""
        taken, self._events = self._events, []
        return taken

    def _receive_check(self, check: Message, remote: Address, local: Hashable | None, now: float) -> bool:
        transaction_id = check.transaction_id
        if check.get(Attribute.USERNAME) != self.peer_username:
            return False
        # Networks duplicate datagrams; that a copy comes from elsewhere is somebody's doing.
        is_new = transaction_id not in self._answered
        if self._answers >= MAX_ANSWERS or self._answered.setdefault(transaction_id, remote) != remote:
            return False
        self._answers += 1
        self.checks_received += 1
        response = build_message(
            Method.BINDING,
            MessageClass.SUCCESS_RESPONSE,
            transaction_id,
            [(Attribute.XOR_MAPPED_ADDRESS, remote)],
            integrity_key=self._key,
        )
        self._transmits.append(Transmit(response, remote, local))
        if is_new and not self._over:
            self._check_in_return(remote, local, now)
        return True

    def _check_in_return(self, remote: Address, local: Hashable | None, now: float) -> None:
        """Check where a check came from at once, whatever the schedule says: packets come through."""
        target = self._remotes.get(remote)
        if target is None:
            if len(self._remotes) >= self._most_remotes:
                return
            target = self._remotes[remote] = _Remote(remote, local, now, step=1)
        target.local = local
        if target.checks_sent < MAX_CHECKS and now >= target.checked_at + TRIGGERED_INTERVAL:
            self._send_check(target, now)

    def _receive_answer(self, answer: Message, remote: Address, local: Hashable | None, now: float) -> bool:
        check = self._outstanding[answer.transaction_id]
        # From elsewhere it says nothing of the address that was asked (RFC 8445 section 7.2.5.2.1).
        if remote != check.remote or (check.local is not None and local != check.local):
            return False
        del self._outstanding[answer.transaction_id]
        if not self._over:
            self._over = True
            self._events.append(PathFound(remote, local, now - check.sent_at))
        return True

    def _send_check(self, target: _Remote, now: float, ttl: int | None = None) -> None:
        transaction_id = self._token_bytes(12)
        self._outstanding[transaction_id] = _Check(target.address, target.local, now)
        target.checks_sent += 1
        self.checks_sent += 1
        if ttl is None:
            target.checked_at = now
        request = build_message(
            Method.BINDING,
            MessageClass.REQUEST,
            transaction_id,
            [(Attribute.USERNAME, self.username)],
            integrity_key=self._key,
        )
        self._transmits.append(Transmit(request, target.address, target.local, ttl=ttl))
