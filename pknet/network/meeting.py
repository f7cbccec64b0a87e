"""Two nodes meet: over a signalling channel they introduce themselves and punch, in up to three rounds.

The initiator starts each round. It measures the round trip from Offer to Answer, sends Go, and begins half of
that later; the responder begins when Go arrives, so both begin at about the same moment.

Round 0 uses the nodes' own sockets. With its Go the initiator sends an opener, whose hop limit lets it out of
its own NAT but not up to the other: then the responder's checks find the initiator's NAT open, and the
initiator's come after the responder's have opened the other. Where that fails though theory allows a path,
packets of one side came to the other's NAT too early and took the port there (the clash). Then both take
fresh sockets, whose ports are free, and cross their checks in flight.

    step        | initiator                              | responder
    ------------|----------------------------------------|-----------------------------------------
    CONNECTING  | the channel is being opened            |
    GATHERING   | its public address is on its way       | the same, the Offer has come
    PREPARING   | waits for its fresh socket, Prepared   | waits for its fresh socket
    OFFERED     | waits for the Answer                   |
    WAITING     |                                        | waits for Offer, Go, Prepare or the end
    PUNCHING    | checks are on their way                | the same
    DONE        | a path was found, or none can be       | the same, or the initiator wants no more
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Protocol

from pknet.errors import ProtocolError
from pknet.nat import (
    Candidate,
    CandidateType,
    Description,
    HolePunch,
    Mapping,
    PathFound,
    PunchFailed,
    may_recover,
    why_no_path,
)
from pknet.network import messages
from pknet.network.framing import FrameReader
from pknet.network.introduction import (
    AdmissionRefusedError,
    Answerer,
    IntroductionDeclinedError,
    IntroductionError,
    Offerer,
    ProofCheck,
)
from pknet.network.messages import Introduce, Prepare, Prepared, Signalling

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from pknet.network.identity import Identity, NodeId
    from pknet.stun import Message

    Address = tuple[str, int]

__all__ = ["Meeting", "MeetingHost"]

ROUNDS: Final = 3
# How long the other side may take to answer a message before the meeting has failed.
STEP_TIMEOUT: Final = 8.0
# How long a program may take to open a signalling channel.
CONNECT_TIMEOUT: Final = 20.0
# Dies at the first router behind the sender's own NAT.
OPENER_TTL: Final = 2
# How much later than half a round trip the initiator's checks begin in round 0: the responder's, which find
# an open NAT, come first, even if its Go was late. They are answered at once, so nothing waits for this.
OPENER_LEAD: Final = 0.1


class MeetingHost(Protocol):
    """What a meeting asks of its node."""

    identity: Identity
    token_bytes: Callable[[int], bytes]

    def describe(self, local: Hashable | None) -> Description | None:
        """Return this node's description by the socket `local`, None while it is still being gathered."""

    def want_socket(self, meeting: Meeting) -> None:
        """Open a socket and learn its public address; `meeting.socket_ready` or `socket_failed` follows."""

    def admit_offer(self, node_id: NodeId, proof_check: ProofCheck) -> bool:
        """Return whether a node that asks to be introduced may come in."""

    def reachable(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return those of a peer's candidates that packets may be sent to."""


class _Step(Enum):
    CONNECTING = auto()
    GATHERING = auto()
    PREPARING = auto()
    OFFERED = auto()
    WAITING = auto()
    PUNCHING = auto()
    DONE = auto()


class Meeting:
    """One side of a meeting; `peer` is None for a responder that has not seen an Offer yet.

    After any call take `data_to_send()` for the channel. When `is_over`, `path` is set if one was found, else
    `failure`. What was found is good for as long as `punch` goes on answering checks.
    """

    def __init__(
        self, host: MeetingHost, number: int, now: float, *, peer: NodeId | None = None, secret: bytes = b""
    ) -> None:
        self.number = number
        self.peer = peer
        self.path: PathFound | None = None
        self.failure: str | None = None
        self.is_initiator = peer is not None
        self.punch: HolePunch | None = None
        self._host = host
        self._secret = secret
        self._reader = FrameReader()
        self._out = bytearray()
        self._round = 0
        # The round's own socket; None is the primary one.
        self._local: Hashable | None = None
        self._wants_socket = False
        self._peer_is_prepared = False
        # Why nothing more can be said or heard, None while it can.
        self._channel_failure: str | None = None
        self._offerer: Offerer | None = None
        self._answerer: Answerer | None = None
        self._offered_at = now
        self._ours: Description | None = None
        self._theirs: Description | None = None
        self._checks_sent = 0
        self._step = _Step.CONNECTING if self.is_initiator else _Step.WAITING
        self._deadline = now + (CONNECT_TIMEOUT if self.is_initiator else STEP_TIMEOUT)

    @property
    def is_over(self) -> bool:
        """Whether the meeting has ended, one way or the other."""
        return self._step is _Step.DONE

    # What the node tells.

    def start(self, now: float) -> None:
        """Begin, as the initiator: the channel is open."""
        if self._step is _Step.CONNECTING:
            self._wait(_Step.GATHERING, now)
            self._go_on(now)

    def receive_stream_data(self, data: bytes, now: float) -> None:
        """Take bytes from the signalling channel."""
        if self.is_over or self._channel_failure is not None:
            return
        try:
            for payload in self._reader.receive_stream_data(data):
                self._receive(messages.decode(payload, Signalling), now)
        except IntroductionDeclinedError as error:
            self._fail(f"the node refused: {error.reason}")
        except ProtocolError as error:
            self.channel_failed(f"the introduction broke off: {error}", now)

    def channel_failed(self, reason: str, now: float) -> None:
        """Take the end of the signalling channel; punching goes on without it."""
        if self.is_over or self._channel_failure is not None:
            return
        self._channel_failure = reason or "the peer closed the signalling channel"
        if self._step is not _Step.PUNCHING:
            self._channel_needed()

    def description_ready(self, now: float) -> None:
        """Take note that `host.describe` may have an answer now."""
        if self._step is _Step.GATHERING:
            self._go_on(now)

    def socket_ready(self, local: Hashable, now: float) -> None:
        """Take the fresh socket that was asked for, its public address known."""
        self._wants_socket = False
        self._local = local
        self._go_on(now)

    def socket_failed(self, reason: str, now: float) -> None:
        """Take note that no fresh socket can be had."""
        self._wants_socket = False
        if not self.is_over:
            self._fail(f"{self._why_no_path()}; another try with a fresh socket failed: {reason}")

    def receive_message(self, message: Message, remote: Address, local: Hashable | None, now: float) -> bool:
        """Take a STUN message; return False unless it is one of this meeting's checks and proves its key."""
        if self.punch is None or not self.punch.owns(message):
            return False
        known = self.punch.receive_message(message, remote, local, now)
        self._take_punch_events(now)
        return known

    def cancel(self, reason: str) -> None:
        """End the meeting: nobody wants it any more."""
        if not self.is_over:
            self._fail(reason)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        if self.is_over:
            return
        if self.punch is not None:
            self.punch.handle_timeout(now)
            self._take_punch_events(now)
        if not self.is_over and self._step is not _Step.PUNCHING and now >= self._deadline:
            self._timed_out()

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        if self.is_over:
            return None
        punch_due = None if self.punch is None else self.punch.next_timeout()
        if self._step is _Step.PUNCHING:
            return punch_due
        return self._deadline if punch_due is None else min(punch_due, self._deadline)

    def data_to_send(self) -> bytes:
        """Take what goes on the signalling channel."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # Rounds.

    def _go_on(self, now: float) -> None:
        """Take the next step of a round if all that it needs is there."""
        if self._step not in (_Step.GATHERING, _Step.PREPARING) or self._wants_socket:
            return
        description = self._host.describe(self._local)
        if description is None:
            return
        self._ours = description
        if not self.is_initiator:
            if self._step is _Step.GATHERING:
                assert self._answerer is not None
                self._introduce(self._answerer.answer(description.encode()))
            else:
                self._send(Prepared(self._round))
            self._wait(_Step.WAITING, now)
        elif self._step is _Step.GATHERING or self._peer_is_prepared:
            assert self.peer is not None
            self._offerer = Offerer(
                self._host.identity, self.peer, self._host.token_bytes, self._secret or None
            )
            self._offered_at = now
            self._introduce(self._offerer.offer())
            self._wait(_Step.OFFERED, now)

    def _next_round(self, round_: int, now: float) -> None:
        """Leave what the last round had behind, and get a fresh socket."""
        self._stop_punching()
        self._round = round_
        self._local = None
        self._offerer = self._answerer = None
        self._peer_is_prepared = False
        self._wait(_Step.PREPARING, now)
        if self.is_initiator:
            self._send(Prepare(round_))
        if not self._wants_socket:
            # Else the one that an earlier round asked for is on its way, and as fresh.
            self._wants_socket = True
            self._host.want_socket(self)

    def _receive(self, message: Any, now: float) -> None:
        if self._step is _Step.PUNCHING and not (isinstance(message, Prepare) and not self.is_initiator):
            # All has been said; what comes now is a copy of something.
            return
        match message:
            case Prepare(round_) if self._may_prepare(round_):
                self._next_round(round_, now)
            case Prepared(round_) if (
                self.is_initiator and self._step is _Step.PREPARING and round_ == self._round
            ):
                self._peer_is_prepared = True
                self._go_on(now)
            case Introduce(round_, data) if self.is_initiator:
                if self._step is not _Step.OFFERED or round_ != self._round:
                    raise IntroductionError("no answer is expected")
                self._receive_answer(data, now)
            case Introduce(round_, data) if self._step is _Step.WAITING and round_ == self._round:
                if self._answerer is None:
                    self._receive_offer(data, now)
                else:
                    self._receive_go(data, now)
            case _:
                raise IntroductionError("the peer's message is out of order")

    def _may_prepare(self, round_: int) -> bool:
        """Return whether the peer may begin a round: for who was not admitted no socket is opened."""
        return not self.is_initiator and self._theirs is not None and self._round < round_ < ROUNDS

    def _receive_offer(self, data: bytes, now: float) -> None:
        answerer = Answerer(self._host.identity, self._host.token_bytes, self._host.admit_offer)
        try:
            peer = answerer.receive_offer(data)
        except AdmissionRefusedError:
            self._introduce(
                answerer.decline("this node is not on the list, and its ticket does not admit it")
            )
            self._fail("the peer was not admitted")
            return
        if self.peer is not None and peer != self.peer:
            raise IntroductionError("another node than in the round before")
        self.peer = peer
        self._answerer = answerer
        self._wait(_Step.GATHERING, now)
        self._go_on(now)

    def _receive_answer(self, data: bytes, now: float) -> None:
        assert self._offerer is not None
        self._theirs = Description.decode(self._offerer.receive_answer(data))
        # Perhaps more is known by now than when the offer was made.
        self._ours = ours = self._host.describe(self._local) or self._ours
        assert ours is not None
        start = now + (now - self._offered_at) / 2
        self._introduce(self._offerer.go(ours.encode()))
        is_first = self._round == 0
        if is_first:
            start += OPENER_LEAD
        self._start_punching(
            self._offerer.attempt, self._offerer.check_key, start, now, with_openers=is_first
        )

    def _receive_go(self, data: bytes, now: float) -> None:
        assert self._answerer is not None
        self._theirs = Description.decode(self._answerer.receive_go(data))
        self._start_punching(self._answerer.attempt, self._answerer.check_key, now, now, with_openers=False)

    def _start_punching(
        self, name: bytes, key: bytes, start: float, now: float, *, with_openers: bool
    ) -> None:
        assert self._theirs is not None
        candidates = self._host.reachable(self._theirs.candidates)
        outside = [item.address for item in candidates if item.type is CandidateType.SERVER_REFLEXIVE]
        self._step = _Step.PUNCHING
        self.punch = HolePunch(
            name,
            key,
            [candidate.address for candidate in candidates],
            self._host.token_bytes,
            controlling=self.is_initiator,
            start=start,
            now=now,
            local=self._local,
            openers=outside if with_openers else (),
            opener_ttl=OPENER_TTL,
        )

    def _stop_punching(self) -> None:
        if self.punch is not None:
            self._checks_sent += self.punch.checks_sent
            self.punch = None

    def _take_punch_events(self, now: float) -> None:
        if self.punch is None:
            return
        for event in self.punch.events():
            if isinstance(event, PathFound):
                self.path = event
            if self._step is not _Step.PUNCHING:
                continue
            if not self.is_initiator:
                # The initiator chooses the path, and whether there is another round.
                self._wait(_Step.WAITING, now)
                if self._channel_failure is not None:
                    self._channel_needed()
            elif isinstance(event, PathFound):
                self._step = _Step.DONE
            else:
                self._punch_failed(event, now)

    def _punch_failed(self, event: PunchFailed, now: float) -> None:
        ours, theirs = self._mappings()
        if self._round + 1 < ROUNDS and may_recover(ours, theirs) and event.checks_sent:
            if self._channel_failure is None:
                self._next_round(self._round + 1, now)
                return
            self._fail(f"{self._why_no_path()}; there was no other try: {self._channel_failure}")
        else:
            self._fail(self._why_no_path())

    def _mappings(self) -> tuple[Mapping, Mapping]:
        """Return how this side's and the peer's NAT map, as far as that is known by now."""
        ours = self._host.describe(None) or self._ours
        return (
            Mapping.UNKNOWN if ours is None else ours.mapping,
            Mapping.UNKNOWN if self._theirs is None else self._theirs.mapping,
        )

    def _why_no_path(self) -> str:
        checks_sent = self._checks_sent + (0 if self.punch is None else self.punch.checks_sent)
        return f"no direct path, because {why_no_path(*self._mappings(), checks_sent)}"

    def _channel_needed(self) -> None:
        """Go no further without the channel."""
        assert self._channel_failure is not None
        if self.path is not None:
            self._step = _Step.DONE
        elif self._theirs is not None and self.is_initiator:
            self._fail(f"{self._why_no_path()}; there was no other try: {self._channel_failure}")
        else:
            self._fail(self._channel_failure)

    def _timed_out(self) -> None:
        if self.path is not None:
            self._step = _Step.DONE
        elif self._step is _Step.CONNECTING:
            self._fail("no signalling channel to the node could be opened in time")
        elif self._step is _Step.GATHERING:
            self._fail("the public address could not be learnt: no STUN server answers")
        elif self._wants_socket:
            self._fail(f"{self._why_no_path()}; a fresh socket for another try was not opened in time")
        else:
            self._fail("the peer does not answer on the signalling channel")

    def _wait(self, step: _Step, now: float) -> None:
        self._step = step
        self._deadline = now + STEP_TIMEOUT

    def _introduce(self, message: bytes) -> None:
        self._send(Introduce(self._round, message))

    def _send(self, message: Prepare | Prepared | Introduce) -> None:
        self._out += messages.encode(message)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._stop_punching()
        self._step = _Step.DONE
