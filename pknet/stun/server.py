"""The server side of Binding: it tells whoever asks the address it sees (RFC 8489 sections 6.3.1 and 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pknet._core.stun_attributes import Attribute, ErrorCode
from pknet._core.stun_codec import Message, MessageClass, Method, build_message, parse_message
from pknet._core.transmit import Transmit
from pknet.errors import ProtocolError
from pknet.stun.source_limiter import SourceLimiter

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pknet._core.stun_attributes import AttributeValue

__all__ = ["BindingServer", "BindingServerStats"]

# What RFC 8489 itself defines. Credentials are understood and not asked for; an attribute of another usage,
# such as ICE or TURN, is not for a plain server.
_UNDERSTOOD: Final = frozenset(
    {
        Attribute.MAPPED_ADDRESS,
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.ERROR_CODE,
        Attribute.UNKNOWN_ATTRIBUTES,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.PASSWORD_ALGORITHM,
        Attribute.USERHASH,
        Attribute.XOR_MAPPED_ADDRESS,
    }
)

_UNKNOWN_ATTRIBUTE: Final = 420  # section 14.8


@dataclass(slots=True)
class BindingServerStats:
    """What a BindingServer answered and what it dropped."""

    answered: int = 0
    unknown_attribute: int = 0
    """Answered with the error 420."""
    malformed: int = 0
    """Dropped: not a STUN message."""
    ignored: int = 0
    """Dropped: not a Binding request."""
    bad_fingerprint: int = 0
    """Dropped: FINGERPRINT is wrong."""
    no_port: int = 0
    """Dropped: from port 0, where no answer can go."""
    rate_limited: int = 0
    """Dropped: too many requests from this source."""


class BindingServer:
    """Answers Binding requests, without credentials and without keeping anything of them.

    It is no help for flooding a forged source: answers carry no SOFTWARE and no reason phrase, nothing but
    requests is answered, and each source (an IPv4 address, an IPv6 /56) gets `rate` answers a second, and
    `burst` at once after a pause; beyond that it is silent. Of `max_sources` sources a count is kept.
    """

    def __init__(self, *, rate: float = 200.0, burst: float = 1000.0, max_sources: int = 16384) -> None:
        self.stats = BindingServerStats()
        self._limiter = SourceLimiter(rate, burst, max_sources)
        self._now = float("-inf")
        self._transmits: list[Transmit] = []

    def receive_datagram(
        self,
        data: bytes | bytearray | memoryview,
        remote: tuple[str, int],
        local: Hashable | None,
        now: float,
    ) -> bool:
        """Take a datagram; return whether it was a Binding request, answered or not."""
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
        self._now = max(self._now, now)
        if message.method != Method.BINDING or message.message_class is not MessageClass.REQUEST:
            self.stats.ignored += 1
            return False
        host, port = remote
        if port == 0:
            self.stats.no_port += 1
        elif message.has_fingerprint and not message.verify_fingerprint():
            self.stats.bad_fingerprint += 1
        elif not self._limiter.allow(host, self._now):
            self.stats.rate_limited += 1
        else:
            self._transmits.append(Transmit(self._answer(message, remote), remote, local))
        return True

    def handle_timeout(self, now: float) -> None:
        """Do nothing: a server that keeps nothing has nothing to wait for."""

    def next_timeout(self) -> float | None:
        """Return None: nothing is ever due."""
        return None

    def transmits(self) -> list[Transmit]:
        """Take the answers to be sent, in order."""
        taken, self._transmits = self._transmits, []
        return taken

    def events(self) -> list[object]:
        """Take what has happened: never anything that a program would have to know."""
        return []

    def _answer(self, request: Message, remote: tuple[str, int]) -> bytes:
        message_class = MessageClass.SUCCESS_RESPONSE
        attributes: list[tuple[int, AttributeValue]] = [(Attribute.XOR_MAPPED_ADDRESS, remote)]
        unknown = request.unknown_comprehension_required(_UNDERSTOOD)
        if unknown:
            self.stats.unknown_attribute += 1
            message_class = MessageClass.ERROR_RESPONSE
            attributes = [
                (Attribute.ERROR_CODE, ErrorCode(_UNKNOWN_ATTRIBUTE)),
                (Attribute.UNKNOWN_ATTRIBUTES, unknown),
            ]
        else:
            self.stats.answered += 1
        return build_message(
            Method.BINDING,
            message_class,
            request.transaction_id,
            attributes,
            # Whoever sent it needs it to tell the answer from other protocols on the same socket (section 7).
            fingerprint=request.has_fingerprint,
        )
