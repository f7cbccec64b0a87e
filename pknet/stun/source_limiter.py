"""A token bucket for each source of requests, so that a server can't be used to flood a forged one."""

from __future__ import annotations

from typing import Final

from pknet._core.stun_address import source_of

__all__ = ["SourceLimiter"]

# What rounding may have lost of a token.
_ROUNDING: Final = 1e-6


class SourceLimiter:
    """Allows each source `rate` requests a second, and `burst` of them at once after a pause.

    A source is an IPv4 address, or the /56 of an IPv6 one, which is what one subscriber has; where requests
    name a target, it has a bucket for each. `max_sources` buckets are known; beyond that the one longest not
    heard of is taken for full again.
    """

    def __init__(self, rate: float, burst: float, max_sources: int) -> None:
        if rate <= 0 or burst < 1 or max_sources < 1:
            raise ValueError("rate must be positive, burst and max_sources at least 1")
        self._rate = rate
        self._burst = burst
        self._max_sources = max_sources
        # When each bucket would be full again: one number says how many tokens are missing at any time. In
        # the order in which the sources were last heard of.
        self._full_at: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def allow(self, host: str, now: float, target: bytes = b"") -> bool:
        """Take a token from the bucket of an IP address's source; return False if it is empty."""
        source = source_of(host) + target
        full_at = max(self._full_at.pop(source, now), now)
        is_allowed = (full_at - now) * self._rate <= self._burst - 1 + _ROUNDING
        if is_allowed:
            full_at += 1 / self._rate
        self._full_at[source] = full_at
        if len(self._full_at) > self._max_sources:
            del self._full_at[next(iter(self._full_at))]
        return is_allowed
