"""How a node dials another: every address that is known at once, and a meeting through a third node beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pknet.network.info import NodeInfo
    from pknet.network.meeting import Meeting
    from pknet.network.stream import NodeStream

__all__ = ["Dial"]

# How long a stream may take to open, over all that is tried.
DIAL_TIMEOUT: Final = 30.0
# How long addresses may stay silent after a meeting has found that there is no path.
DIRECT_PATIENCE: Final = 3.0


class Dial:
    """One attempt of a program to open a stream to a node."""

    def __init__(self, stream: NodeStream, info: NodeInfo, now: float) -> None:
        self.stream = stream
        self.info = info
        self.meeting: Meeting | None = None
        self.meets_at: float | None = None
        """When a meeting is wanted, while it has not begun."""
        self.deadline = now + DIAL_TIMEOUT
        self.is_path_tried = False
        self._direct_deadline = now + DIRECT_PATIENCE

    def next_timeout(self, now: float) -> float:
        """Return when the dial is to be looked at again."""
        if self.meets_at is not None:
            return min(self.meets_at, self.deadline)
        if self._direct_deadline > now:
            return min(self._direct_deadline, self.deadline)
        return self.deadline

    def verdict(self, now: float) -> str | None:
        """Return why the dial has failed, None while there is hope."""
        if now >= self.deadline:
            return self._explain("it does not answer")
        if self.meets_at is not None or (self.meeting is not None and not self.meeting.is_over):
            return None
        if self.meeting is not None and self.meeting.path is not None:
            return None if self.stream.attempts_left else self._explain("the path that was found broke at once")
        if self.stream.attempts_left and now < self._direct_deadline:
            return None
        return self._explain("")

    def _explain(self, last: str) -> str:
        """Put together what went wrong, the most telling first."""
        reasons = []
        if self.meeting is not None and self.meeting.failure:
            reasons.append(self.meeting.failure)
        if self.info.addresses:
            tried = ", ".join(f"{host} port {port}" for host, port in self.info.addresses[:4])
            answer = self.stream.failure or "no answer"
            reasons.append(f"not reached at its own addresses ({tried}): {answer}")
        if last:
            reasons.append(last)
        return "; ".join(reasons)
