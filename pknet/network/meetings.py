"""The meetings of a node: whose a check is, what their signalling channels carry, and how many there may be.

A signalling channel is a Channel of this node's own, where another node opened it through a rendezvous, or a
stream of the program's, which knows it by the meeting's number.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pknet.errors import StateError
from pknet.network.events import SignallingData, SignallingEnded, SignallingWanted
from pknet.network.meeting import Meeting, MeetingHost
from pknet.network.ration import Ration
from pknet.stun import Attribute, MessageClass
from pknet.utp import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pknet._core.transmit import Transmit
    from pknet.nat import HolePunch
    from pknet.network.channel import Channel
    from pknet.network.identity import NodeId
    from pknet.stun import Message
    from pknet.utp import UtpEvent

    Address = tuple[str, int]

__all__ = ["Meetings", "MeetingsHost"]

# Meetings that others begin, those included that are over and still answer checks.
MAX_ACCEPTED: Final = 128
# An Offer costs a verified signature, and if it is admitted a signature and two curve operations: so many are
# looked at from each rendezvous node at once, and in a second.
OFFER_BURST: Final = 128.0
OFFER_RATE: Final = 32.0
# How long the checks of a peer that has not found the path yet are answered.
MEMORY: Final = 10.0
READ_SIZE: Final = 1 << 16


class MeetingsHost(MeetingHost, Protocol):
    """What meetings ask of their node."""

    def tell(self, event: object) -> None:
        """Tell the program of an event."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A meeting, what carries its signalling, and the punch whose checks are known to be its own."""

    meeting: Meeting
    channel: Channel | None = None
    has_stream: bool = False
    """Whether the program has been asked for a stream, or has one, and has not told its end."""
    punch: HolePunch | None = None


class Meetings:
    """The meetings of one node."""

    def __init__(self, host: MeetingsHost) -> None:
        self.refused = 0
        """Meetings that others wanted to begin, and could not."""
        self.unproven_checks = 0
        """Checks that were forged, reflected or replayed."""
        self._host = host
        self._numbers = 0
        self._entries: dict[int, _Entry] = {}
        self._of_channel: dict[Channel, _Entry] = {}
        self._of_username: dict[str, _Entry] = {}
        # When each was over, in that order.
        self._over: OrderedDict[int, float] = OrderedDict()
        self._accepted = 0
        self._rations: dict[NodeId | None, Ration] = {}
        self._stopped = False

    def __len__(self) -> int:
        """Return how many there are, those included that are over and still answer checks."""
        return len(self._entries)

    # Beginning.

    def begin(self, peer: NodeId, secret: bytes, now: float) -> Meeting:
        """Begin a meeting with a node, once the program has opened a signalling stream."""
        entry = self._add(now, peer, secret)
        entry.has_stream = True
        self._host.tell(SignallingWanted(entry.meeting.number, peer))
        return entry.meeting

    def accept_stream(self, now: float) -> int:
        """Take a signalling stream of the program's that a peer opened; return its number.

        Raises StateError if there are too many.
        """
        refusal = self._refusal(None, now)
        if refusal:
            raise StateError(refusal)
        entry = self._add(now)
        entry.has_stream = True
        return entry.meeting.number

    def accept_channel(self, channel: Channel, rendezvous: NodeId, now: float) -> str:
        """Take a channel that another node opened through a rendezvous; return why not, or ""."""
        refusal = self._refusal(rendezvous, now)
        if not refusal:
            entry = self._add(now)
            entry.channel = channel
            self._of_channel[channel] = entry
        return refusal

    # What the program tells of its signalling streams.

    def stream_opened(self, number: int, now: float) -> None:
        """Take note that the stream that SignallingWanted asked for is there."""
        if number in self._entries:
            self._entries[number].meeting.start(now)
            self._settle(self._entries[number], now)

    def stream_received(self, number: int, data: bytes, now: float) -> None:
        """Take bytes from a signalling stream."""
        if number in self._entries:
            self._entries[number].meeting.receive_stream_data(data, now)
            self._settle(self._entries[number], now)

    def stream_ended(self, number: int, reason: str, now: float) -> None:
        """Take note that a signalling stream is over, or could not be opened."""
        if number in self._entries:
            self._entries[number].has_stream = False
            self._entries[number].meeting.channel_failed(reason, now)
            self._settle(self._entries[number], now)

    # What the network brings.

    def handle_event(self, channel: Channel, event: UtpEvent, now: float) -> bool:
        """Take an event of a channel; return False if it carries none of these meetings."""
        entry = self._of_channel.get(channel)
        if entry is None:
            return False
        while channel.readable:
            entry.meeting.receive_stream_data(channel.read(READ_SIZE, now), now)
        if isinstance(event, ConnectionClosed):
            del self._of_channel[channel]
            entry.channel = None
            entry.meeting.channel_failed(channel.failure or "", now)
        self._settle(entry, now)
        return True

    def receive_message(self, message: Message, remote: Address, local: Hashable | None, now: float) -> bool:
        """Take a STUN message; return False if it is neither a check nor the answer to one."""
        entry = self._owner(message)
        if entry is None:
            return False
        if not entry.meeting.receive_message(message, remote, local, now):
            self.unproven_checks += 1
        self._settle(entry, now)
        return True

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for entry in list(self._entries.values()):
            entry.meeting.handle_timeout(now)
            self._settle(entry, now)
        while self._over and next(iter(self._over.values())) + MEMORY <= now:
            number, _ = self._over.popitem(last=False)
            self._forget(self._entries[number])

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        deadlines = [entry.meeting.next_timeout() for entry in self._entries.values()]
        if self._over:
            deadlines.append(next(iter(self._over.values())) + MEMORY)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def work(self, now: float) -> None:
        """Feed meetings what has become known, and follow what that has changed."""
        for entry in list(self._entries.values()):
            if not entry.meeting.is_over:
                entry.meeting.description_ready(now)
                self._settle(entry, now)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        return [
            transmit
            for entry in self._entries.values()
            if entry.punch is not None
            for transmit in entry.punch.transmits()
        ]

    # Ending.

    def cancel(self, meeting: Meeting, reason: str, now: float) -> None:
        """End a meeting whose path nobody wants any more; what it has found still answers checks."""
        meeting.cancel(reason)
        if meeting.number in self._entries:
            self._settle(self._entries[meeting.number], now)

    def stop(self, now: float) -> None:
        """End all meetings, for good."""
        self._stopped = True
        for entry in list(self._entries.values()):
            entry.meeting.cancel("the node was stopped")
            self._settle(entry, now)
            self._forget(entry)
        self._over.clear()

    def _add(self, now: float, peer: NodeId | None = None, secret: bytes = b"") -> _Entry:
        self._numbers += 1
        self._accepted += peer is None
        meeting = Meeting(self._host, self._numbers, now, peer=peer, secret=secret)
        entry = self._entries[self._numbers] = _Entry(meeting)
        return entry

    def _refusal(self, rendezvous: NodeId | None, now: float) -> str:
        """Return why no meeting of another's making is begun now, or ""."""
        if self._stopped:
            return "the node is stopping"
        ration = self._rations.get(rendezvous)
        if ration is None:
            # One for each rendezvous node that this node chose, and one for the program's streams.
            ration = self._rations[rendezvous] = Ration(OFFER_RATE, OFFER_BURST)
        if ration.take(now) and (self._accepted < MAX_ACCEPTED or self._make_room(now)):
            return ""
        self.refused += 1
        return "the node is being introduced to too many others"

    def _make_room(self, now: float) -> bool:
        """Give up the oldest meeting that has shown no Offer of a node that may come in, if there is one.

        An honest peer's Offer comes within a round trip, so silent strangers can't keep it out.
        """
        for entry in self._entries.values():
            if entry.meeting.peer is None:
                entry.meeting.cancel("others were waiting")
                self._settle(entry, now)
                self._over.pop(entry.meeting.number)
                self._forget(entry)
                return True
        return False

    def _owner(self, message: Message) -> _Entry | None:
        """Return whose check, or answer to a check, a message says that it is."""
        if message.message_class is MessageClass.REQUEST:
            username = message.get(Attribute.USERNAME)
            return None if username is None else self._of_username.get(username)
        for entry in self._entries.values():
            if entry.punch is not None and entry.punch.owns(message):
                return entry
        return None

    def _settle(self, entry: _Entry, now: float) -> None:
        """Follow what a meeting has come to: its punch, what it has to say, its end."""
        meeting = entry.meeting
        if meeting.punch is not entry.punch:
            self._index(entry, meeting.punch)
        data = meeting.data_to_send()
        if data:
            if entry.channel is not None:
                entry.channel.send(data, now)
            elif entry.has_stream:
                self._host.tell(SignallingData(meeting.number, data))
        if meeting.is_over and meeting.number not in self._over:
            self._over[meeting.number] = now
            if entry.channel is not None:
                entry.channel.close(now)
            elif entry.has_stream:
                entry.has_stream = False
                self._host.tell(SignallingEnded(meeting.number))

    def _index(self, entry: _Entry, punch: HolePunch | None) -> None:
        """Have the checks of a meeting's present punch come to it, and no others."""
        if entry.punch is not None:
            self._forget_username(entry, entry.punch.username)
            self._forget_username(entry, entry.punch.peer_username)
        entry.punch = punch
        if punch is not None:
            for username in (punch.username, punch.peer_username):
                # A peer chooses the names, and may choose those of another meeting: that one keeps them.
                self._of_username.setdefault(username, entry)

    def _forget_username(self, entry: _Entry, username: str) -> None:
        if self._of_username.get(username) is entry:
            del self._of_username[username]

    def _forget(self, entry: _Entry) -> None:
        self._index(entry, None)
        del self._entries[entry.meeting.number]
        self._accepted -= not entry.meeting.is_initiator
