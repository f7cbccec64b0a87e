"""Staying known to a rendezvous node: a stream that is opened again when it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pknet.network.info import RendezvousInfo
    from pknet.network.rendezvous import RendezvousClient

__all__ = ["Registration"]

FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0


class Registration:
    """What a node keeps of one of its rendezvous nodes; `is_lasting` if it is to be kept through losses."""

    def __init__(self, info: RendezvousInfo, *, is_lasting: bool) -> None:
        self.info = info
        self.is_lasting = is_lasting
        self.client: RendezvousClient | None = None
        self.retry_at: float | None = None
        self.is_told = False
        self._delay = FIRST_RETRY

    def registered(self) -> None:
        """Take note that all is well."""
        self.is_told = True
        self._delay = FIRST_RETRY

    def lost(self, now: float) -> float:
        """Take note of a loss; return when to try again."""
        self.client = None
        self.is_told = False
        self.retry_at = now + self._delay
        self._delay = min(2 * self._delay, LAST_RETRY)
        return self.retry_at
