"""Two nodes meet: over a signalling channel they introduce themselves and punch, in up to three rounds.

The initiator starts each round. It measures the round trip from Offer to Answer, sends Go, and begins half of that later;
the responder begins when Go arrives, so both begin at about the same moment.

Round 0 uses the nodes' own sockets. With its Go the initiator sends an opener, whose hop limit lets it out of its own NAT
but not up to the other: then the responder's checks find the initiator's NAT open, and the initiator's come after the
responder's have opened the other. Where that fails though theory allows a path, packets of one side came to the other's
NAT too early and took the port there (the clash). Then both take fresh sockets, whose ports are free, and cross their
checks in flight.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Protocol

from pknet.errors import ProtocolError
from pknet.nat import (
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
    from collections.abc import Callable, Hashable

    from pknet.network.identity import Identity, NodeId
    from pknet.stun import Message

__all__ = ["Meeting", "MeetingHost"]

ROUNDS: Final = 3
# How long the other side may take to answer a message before the meeting has failed.
STEP_TIMEOUT: Final = 8.0
# Dies at the first router behind the sender's own NAT.
OPENER_TTL: Final = 2
# How much later than half a round trip the initiator's checks begin in round 0: the responder's, which find an open NAT,
# come first, even if its Go was late. They are answered at once, so nothing waits for this.
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

    def is_reachable_family(self, host: str) -> bool:
        """Return whether this node has a socket for that kind of address."""


class _Step(Enum):
    GATHERING = auto()
    PREPARING = auto()
    OFFERED = auto()
    WAITING = auto()
    PUNCHING = auto()
    DONE = auto()


class Meeting:
    """One side of a meeting; `peer` is None for a responder that has not seen an Offer yet.

    After any call take `data_to_send()` for the channel. `path` is set when one was found, `failure` when none can be.
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
        self.locals: list[Hashable] = []
        """The fresh sockets that were opened for this meeting."""
        self._host = host
        self._secret = secret
        self._reader = FrameReader()
        self._out = bytearray()
        self._round = 0
        self._local: Hashable | None = None
        self._wants_socket = False
        self._peer_is_prepared = False
        self._offerer: Offerer | None = None
        self._answerer: Answerer | None = None
        self._offered_at = now
        self._ours: Description | None = None
        self._theirs: Description | None = None
        self._checks_sent = 0
        self._step = _Step.GATHERING if self.is_initiator else _Step.WAITING
        self._deadline = now + STEP_TIMEOUT

    @property
    def is_over(self) -> bool:
        """Whether the meeting has ended, one way or the other."""
        return self._step is _Step.DONE

    # What the node tells.

    def receive_stream_data(self, data: bytes, now: float) -> None:
        """Take bytes from the signalling channel."""
        if self.is_over:
            return
        try:
            for payload in self._reader.receive_stream_data(data):
                self._receive(messages.decode(payload, Signalling), now)
        except IntroductionDeclinedError as error:
            self._fail(f"the node refused: {error.reason}")
        except ProtocolError as error:
            self._fail(f"the introduction broke off: {error}")

    def channel_failed(self, reason: str, now: float) -> None:
        """Take the end of the signalling channel; punching goes on without it."""
        if self._step is not _Step.PUNCHING and not self.is_over:
            self._fail(reason or "the peer closed the signalling channel")

    def description_ready(self, now: float) -> None:
        """Take note that `host.describe` may have an answer now."""
        if self._step is _Step.GATHERING:
            self._go_on(now)

    def socket_ready(self, local: Hashable, now: float) -> None:
        """Take the fresh socket that was asked for, its public address known."""
        self._wants_socket = False
        self._local = local
        self.locals.append(local)
        self._go_on(now)

    def socket_failed(self, reason: str, now: float) -> None:
        """Take note that no fresh socket can be had."""
        self._wants_socket = False
        self._fail(f"no fresh socket for another try: {reason}")

    def receive_message(self, message: Message, remote: Any, local: Hashable | None, now: float) -> bool:
        """Take a STUN message; return False if it is not one of this meeting's checks."""
        if self.punch is None or not self.punch.owns(message):
            return False
        known = self.punch.receive_message(message, remote, local, now)
        self._take_punch_events(now)
        return known

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        if self.punch is not None:
            self.punch.handle_timeout(now)
            self._take_punch_events(now)
        if not self.is_over and self._step is not _Step.PUNCHING and now >= self._deadline:
            self._fail(
                "the public address could not be learnt: no STUN server answers"
                if self._step is _Step.GATHERING
                else "the peer does not answer on the signalling channel"
            )

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        if self.is_over:
            return None
        if self._step is _Step.PUNCHING:
            return None if self.punch is None else self.punch.next_timeout()
        return self._deadline

    def data_to_send(self) -> bytes:
        """Take what goes on the signalling channel."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # Rounds.

    def start(self, now: float) -> None:
        """Begin, as the initiator."""
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Take the next step of a round if all that it needs is there."""
        description = self._host.describe(self._local)
        if self._wants_socket or description is None:
            return
        self._ours = description
        if not self.is_initiator:
            if self._step is _Step.GATHERING and self._answerer is not None:
                self._introduce(self._answerer.answer(description.encode()))
                self._wait(_Step.WAITING, now)
            elif self._step is _Step.PREPARING:
                self._send(Prepared(self._round))
                self._wait(_Step.WAITING, now)
        elif self._step is _Step.GATHERING or (self._step is _Step.PREPARING and self._peer_is_prepared):
            assert self.peer is not None
            self._offerer = Offerer(self._host.identity, self.peer, self._host.token_bytes, self._secret or None)
            self._offered_at = now
            self._introduce(self._offerer.offer())
            self._wait(_Step.OFFERED, now)

    def _next_round(self, now: float) -> None:
        self._round += 1
        self._local = None
        self._peer_is_prepared = False
        self._wants_socket = True
        self._send(Prepare(self._round))
        self._wait(_Step.PREPARING, now)
        self._host.want_socket(self)

    def _receive(self, message: Any, now: float) -> None:
        match message:
            case Prepare(round_) if not self.is_initiator and self._round < round_ < ROUNDS:
                self._round = round_
                self._local = None
                self._answerer = None
                self._stop_punching()
                self._wants_socket = True
                self._wait(_Step.PREPARING, now)
                self._host.want_socket(self)
            case Prepared(round_) if self._step is _Step.PREPARING and self.is_initiator and round_ == self._round:
                self._peer_is_prepared = True
                self._go_on(now)
            case Introduce(round_, data) if round_ == self._round:
                if self.is_initiator:
                    self._receive_answer(data, now)
                elif self._answerer is None:
                    self._receive_offer(data, now)
                else:
                    self._receive_go(data, now)
            case _:
                raise IntroductionError("the peer's message is out of order")

    def _receive_offer(self, data: bytes, now: float) -> None:
        answerer = Answerer(self._host.identity, self._host.token_bytes, self._host.admit_offer)
        try:
            peer = answerer.receive_offer(data)
        except AdmissionRefusedError:
            self._introduce(answerer.decline("this node is not on the list, and its ticket does not admit it"))
            self._fail("the peer was not admitted")
            return
        if self.peer is not None and peer != self.peer:
            raise IntroductionError("another node than in the round before")
        self.peer = peer
        self._answerer = answerer
        self._wait(_Step.GATHERING, now)
        self._go_on(now)

    def _receive_answer(self, data: bytes, now: float) -> None:
        if self._step is not _Step.OFFERED or self._offerer is None:
            raise IntroductionError("no answer is expected")
        self._theirs = Description.decode(self._offerer.receive_answer(data))
        # Perhaps more is known by now than when the offer was made.
        self._ours = ours = self._host.describe(self._local) or self._ours
        assert ours is not None
        start = now + (now - self._offered_at) / 2
        self._introduce(self._offerer.go(ours.encode()))
        if self._round == 0:
            start += OPENER_LEAD
        self._start_punching(
            self._offerer.attempt, self._offerer.check_key, start, now, openers=self._round == 0
        )

    def _receive_go(self, data: bytes, now: float) -> None:
        assert self._answerer is not None
        self._theirs = Description.decode(self._answerer.receive_go(data))
        self._start_punching(self._answerer.attempt, self._answerer.check_key, now, now, openers=False)

    def _start_punching(self, name: bytes, key: bytes, start: float, now: float, *, openers: bool) -> None:
        assert self._theirs is not None
        candidates = [
            candidate
            for candidate in self._theirs.candidates
            if self._host.is_reachable_family(candidate.host)
        ]
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
            openers=outside if openers else (),
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
            match event:
                case PathFound():
                    self.path = event
                    self._step = _Step.DONE
                case PunchFailed() if not self.is_initiator:
                    # The initiator decides whether there is another round; it has as long as a step.
                    self._wait(_Step.WAITING, now)
                case PunchFailed():
                    self._punch_failed(now)

    def _punch_failed(self, now: float) -> None:
        self._stop_punching()
        our_mapping = Mapping.UNKNOWN if self._ours is None else self._ours.mapping
        their_mapping = Mapping.UNKNOWN if self._theirs is None else self._theirs.mapping
        if self._round + 1 < ROUNDS and may_recover(our_mapping, their_mapping):
            self._next_round(now)
        else:
            self._fail(f"no direct path, because {why_no_path(our_mapping, their_mapping, self._checks_sent)}")

    def _wait(self, step: _Step, now: float) -> None:
        self._step = step
        self._deadline = now + STEP_TIMEOUT

    def _introduce(self, message: bytes) -> None:
        self._send(Introduce(self._round, message))

    def _send(self, message: Prepare | Prepared | Introduce) -> None:
        self._out += messages.encode(message)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._step = _Step.DONE
