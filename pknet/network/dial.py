"""How a node dials another: every address that is known, and at the same time a meeting through a third node.

Where a stream to that node is open, its path is tried alone first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pknet.network.identity import NodeId
    from pknet.network.info import NodeInfo
    from pknet.network.meeting import Meeting
    from pknet.network.meetings import Meetings
    from pknet.network.stream import NodeStream

    Address = tuple[str, int]

__all__ = ["Dial", "DialHost", "Dials"]

# How long a stream may take to open, over all that is tried.
DIAL_TIMEOUT: Final = 30.0
# How long addresses may stay silent once a meeting has found that there is no path.
DIRECT_PATIENCE: Final = 3.0
# How long the path of a stream that is open is tried alone.
KNOWN_PATH_PATIENCE: Final = 1.5


class DialHost(Protocol):
    """What dials ask of their node."""

    meetings: Meetings

    def path_to(self, node_id: NodeId) -> tuple[Hashable, Hashable | None] | None:
        """Return the (remote, local) of an open stream to a node."""

    def dial(self, stream: NodeStream, remote: Hashable, local: Hashable | None) -> None:
        """Try to open a stream by one more connection, if that can be."""


class Dial:
    """One attempt of a program to open a stream to a node."""

    def __init__(self, stream: NodeStream, info: NodeInfo, now: float) -> None:
        self.stream = stream
        self.info = info
        self.meeting: Meeting | None = None
        self.begins: float | None = None
        """When all is to be tried, while it has not been."""
        self.deadline = now + DIAL_TIMEOUT
        self.direct_deadline: float | None = None
        """Until when it is worth waiting for addresses alone."""
        self.is_path_tried = False
        self.is_dialled = False
        """Whether any of the node's own addresses was of a kind that can be tried."""

    @property
    def is_over(self) -> bool:
        """Whether the stream opened, or ended."""
        return self.stream.is_open or self.stream.close_reason is not None

    def wants_all(self, now: float) -> bool:
        """Return whether it is time to try everything: the path of an open stream leads nowhere."""
        if self.begins is None or self.is_over or self.stream.secure is not None:
            return False
        return self.begins <= now or not self.stream.attempts_left

    def next_timeout(self) -> float:
        """Return when the dial is to be looked at again."""
        # Once the peer has proved its key there is nothing else to try.
        begins = self.begins if self.stream.secure is None else None
        deadlines = (begins, self.direct_deadline, self.deadline)
        return min(deadline for deadline in deadlines if deadline is not None)

    def verdict(self, now: float) -> str | None:
        """Return why the dial has failed, None while there is hope."""
        if now >= self.deadline:
            return self._explain("it does not answer")
        if self.stream.secure is not None or self.meeting is None or not self.meeting.is_over:
            # Either there is a peer that has proved its key, or there will be more to try.
            return None
        if self.stream.attempts_left and (self.meeting.path is not None or self.direct_deadline is not None):
            return None
        if self.meeting.path is not None:
            return self._explain(f"the path that was found broke at once: {self.stream.failure}")
        return self._explain("")

    def _explain(self, last: str) -> str:
        """Put together what went wrong, the most telling first."""
        reasons = []
        if self.meeting is not None and self.meeting.failure:
            reasons.append(self.meeting.failure)
        if self.info.addresses:
            tried = ", ".join(f"{host} port {port}" for host, port in self.info.addresses[:4])
            more = len(self.info.addresses) - 4
            silence = "no answer" if self.is_dialled else "no address of a kind that this node can reach"
            answer = self.stream.failure or silence
            also = f" and {more} more" if more > 0 else ""
            reasons.append(f"not reached at its own addresses ({tried}{also}): {answer}")
        if last:
            reasons.append(last)
        return "; ".join(reasons)


class Dials:
    """The dials of one node that are under way."""

    def __init__(self, host: DialHost) -> None:
        self._host = host
        self._dials: dict[NodeStream, Dial] = {}

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._dials)

    def begin(self, stream: NodeStream, info: NodeInfo, now: float) -> None:
        """Begin to open a stream."""
        dial = self._dials[stream] = Dial(stream, info, now)
        path = self._host.path_to(info.node_id)
        if path is None:
            self._try_all(dial, now)
        else:
            dial.begins = now + KNOWN_PATH_PATIENCE
            self._host.dial(stream, *path)

    def stop(self, now: float) -> None:
        """Give up all of them."""
        for dial in list(self._dials.values()):
            self._end(dial, "the node was stopped", now)

    def handle_timeout(self, now: float) -> None:
        """Take note of the deadlines that have passed; `work` does what follows."""
        for dial in self._dials.values():
            if dial.direct_deadline is not None and dial.direct_deadline <= now:
                dial.direct_deadline = None

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` and `work` are due."""
        return min((dial.next_timeout() for dial in self._dials.values()), default=None)

    def work(self, now: float) -> None:
        """Go on with each dial as far as what is known by now allows."""
        for dial in list(self._dials.values()):
            if dial.wants_all(now):
                self._try_all(dial, now)
            meeting = dial.meeting
            if meeting is not None and meeting.path is not None and not dial.is_path_tried:
                dial.is_path_tried = True
                self._host.dial(dial.stream, meeting.path.remote, meeting.path.local)
            if dial.is_over:
                self._end(dial, "", now)
            elif (verdict := dial.verdict(now)) is not None:
                self._end(dial, verdict, now)

    def _try_all(self, dial: Dial, now: float) -> None:
        """Try every address, and begin a meeting."""
        dial.begins = None
        dial.direct_deadline = now + DIRECT_PATIENCE
        tried = dial.stream.attempts_left
        for address in dial.info.addresses:
            self._host.dial(dial.stream, address, None)
        dial.is_dialled = dial.stream.attempts_left > tried
        dial.meeting = self._host.meetings.begin(dial.info.node_id, dial.info.secret, now)

    def _end(self, dial: Dial, failure: str, now: float) -> None:
        """Forget a dial; its meeting too, unless that has found the path."""
        del self._dials[dial.stream]
        if failure:
            dial.stream.fail(failure, now)
        if dial.meeting is not None:
            self._host.meetings.cancel(dial.meeting, "the stream is open or not wanted any more", now)
