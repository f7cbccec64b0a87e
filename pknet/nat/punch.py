"""Punching a hole: both sides send each other authenticated STUN checks until one is answered.

A check is a Binding request (RFC 8489) whose MESSAGE-INTEGRITY key both sides had from their introduction and
nobody else has. Its source is taken for a candidate wherever it comes from (peer-reflexive, RFC 8445 section 7.3.1.3):
behind a symmetric NAT that is the only way to learn it.

The side that was introduced first (`controlling`) chooses the path: the first over which its check is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pknet._core.transmit import Transmit
from pknet.stun import Attribute, IntegrityKey, Message, MessageClass, Method, build_message

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    Address = tuple[str, int]

__all__ = ["HolePunch", "PathFound", "PunchFailed"]

# When checks to a candidate leave, in seconds after the start: a handful, for an address that may be somebody else's.
SCHEDULE: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6)
# How long after the start a check may still be answered.
PATIENCE: Final = 2.2
MAX_REMOTES: Final = 12
MAX_OUTSTANDING: Final = 128


@dataclass(frozen=True, slots=True)
class PathFound:
    """A check was answered: datagrams pass both ways between `local` and `remote`."""

    remote: Address
    local: Hashable | None
    rtt: float


@dataclass(frozen=True, slots=True)
class PunchFailed:
    """No check was answered in time."""

    checks_sent: int


@dataclass(slots=True)
class _Remote:
    """An address that checks go to: when its schedule began, and how many were sent."""

    address: Address
    local: Hashable | None
    begins: float
    sent: int = 0

    @property
    def due(self) -> float | None:
        return self.begins + SCHEDULE[self.sent] if self.sent < len(SCHEDULE) else None


class HolePunch:
    """One attempt, with candidates known on both sides and an agreed time to start.

    `remotes`: where to send checks. `local`: the socket that they leave by, None for the primary one. `name` and
    `key` (32 bytes) are the introduction's. `openers`: addresses that get one packet at once with a hop limit of
    `opener_ttl`: it opens this side's NAT and dies before the other's, so it can't take the port there.
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
        self.username = f"{name.hex()}:{'controlled' if controlling else 'controlling'}"
        """The USERNAME of the peer's checks."""
        self._their_username = f"{name.hex()}:{'controlling' if controlling else 'controlled'}"
        self._key = IntegrityKey(key)
        self._token_bytes = token_bytes
        self._controlling = controlling
        self._local = local
        self._remotes = {
            address: _Remote(address, local, start) for address in dict.fromkeys(remotes[:MAX_REMOTES])
        }
        self._outstanding: dict[bytes, tuple[Address, float]] = {}
        self._ends = start + PATIENCE
        self._over = False
        self._transmits: list[Transmit] = []
        self._events: list[PathFound | PunchFailed] = []
        self.checks_sent = 0
        self.checks_received = 0
        for address in openers:
            self._send_check(address, local, now, ttl=opener_ttl)
        self.handle_timeout(now)

    def owns(self, message: Message) -> bool:
        """Return whether a message is a check of this attempt or the answer to one of its checks."""
        if message.message_class is MessageClass.REQUEST:
            return message.get(Attribute.USERNAME) == self.username
        return message.transaction_id in self._outstanding

    def receive_message(self, message: Message, remote: Address, local: Hashable | None, now: float) -> bool:
        """Take a message that this attempt `owns`; return False if it does not prove the key."""
        if message.method != Method.BINDING or not message.verify_integrity(self._key):
            return False
        if message.message_class is MessageClass.REQUEST:
            self._answer(message, remote, local, now)
        elif message.message_class is MessageClass.SUCCESS_RESPONSE:
            self._take_answer(message, remote, local, now)
        return True

    def handle_timeout(self, now: float) -> None:
        """Send the checks that are due; give up when it is time."""
        if self._over:
            return
        for target in self._remotes.values():
            while target.due is not None and target.due <= now:
                target.sent += 1
                self._send_check(target.address, target.local, now)
        if now >= self._ends:
            self._over = True
            self._events.append(PunchFailed(self.checks_sent))

    def next_timeout(self) -> float | None:
        """Return when the next check is due."""
        if self._over:
            return None
        return min((due for target in self._remotes.values() if (due := target.due) is not None), default=self._ends)

    def transmits(self) -> list[Transmit]:
        """Take the checks and answers to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def events(self) -> list[PathFound | PunchFailed]:
        """Take what has happened: at most one PathFound or PunchFailed."""
        taken, self._events = self._events, []
        return taken

    def _answer(self, request: Message, remote: Address, local: Hashable | None, now: float) -> None:
        self.checks_received += 1
        response = build_message(
            Method.BINDING,
            MessageClass.SUCCESS_RESPONSE,
            request.transaction_id,
            [(Attribute.XOR_MAPPED_ADDRESS, remote)],
            integrity_key=self._key,
        )
        self._transmits.append(Transmit(response, remote, local))
        if self._over:
            return
        target = self._remotes.get(remote)
        if target is None and len(self._remotes) < 2 * MAX_REMOTES:
            target = self._remotes[remote] = _Remote(remote, local, now)
        if target is not None and self.checks_received <= MAX_OUTSTANDING:
            # It is there and its packets come through: check it now, whatever the schedule says.
            target.local = local
            self._send_check(remote, local, now)

    def _take_answer(self, response: Message, remote: Address, local: Hashable | None, now: float) -> None:
        address, sent_at = self._outstanding.pop(response.transaction_id)
        if remote != address or self._over:
            return
        self._over = True
        self._events.append(PathFound(remote, local, now - sent_at))

    def _send_check(self, remote: Address, local: Hashable | None, now: float, ttl: int | None = None) -> None:
        if len(self._outstanding) >= MAX_OUTSTANDING:
            return
        transaction_id = self._token_bytes(12)
        self._outstanding[transaction_id] = (remote, now)
        self.checks_sent += 1
        request = build_message(
            Method.BINDING,
            MessageClass.REQUEST,
            transaction_id,
            [(Attribute.USERNAME, self._their_username)],
            integrity_key=self._key,
        )
        self._transmits.append(Transmit(request, remote, local, ttl=ttl))
