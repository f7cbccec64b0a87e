"""How often something may happen: a burst, then a rate."""

from __future__ import annotations

__all__ = ["Ration"]


class Ration:
    """Allows `burst` at once after a pause, and `rate` a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Take one; return False if there is none."""
        if now > self._at:
            self._left = min(self._left + (now - self._at) * self._rate, self._burst)
            self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
