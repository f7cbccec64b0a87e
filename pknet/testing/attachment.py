"""A machine on a host: calls its five verbs, and nothing else, as an adapter would."""

from collections.abc import Callable, Hashable, Sequence
from heapq import heappush
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pknet._core.transmit import Transmit
from pknet.testing.errors import SimulationError
from pknet.testing.packet import MAX_UDP_PAYLOAD, Address, canonical_address
from pknet.testing.simulation import Simulation
from pknet.testing.trace import endpoint

if TYPE_CHECKING:
    from pknet.testing.host import Host, SimulatedSocket

__all__ = ["Attachment", "Machine"]

# So many calls of handle_timeout at one moment are no coincidence of many timers.
_TIMEOUTS_AT_ONE_MOMENT = 1000

# What one call can carry: the field for it has 16 bits (Linux: UDP_SEGMENT, UDP_GRO).
_MAX_SEGMENTS_BUFFER = 65535


class Machine(Protocol):
    """The five verbs.

    A machine may also have `receive_segments`, and `next_timer`, the name of the timer that is due next.
    """

    def receive_datagram(self, data: bytes, remote: Address, local: Any, now: float, /) -> None:
        """Take a datagram."""

    def handle_timeout(self, now: float, /) -> None:
        """Do what is due."""

    def next_timeout(self) -> float | None:
        """Return when something is due."""

    def transmits(self) -> Sequence[Transmit]:
        """Hand over what is to be sent."""

    def events(self) -> Sequence[Any]:
        """Hand over what happened."""


MachineT = TypeVar("MachineT", bound=Machine)


class Attachment(Generic[MachineT]):
    """A machine and the sockets it sends and receives by; made by `Host.attach`.

    `events` has every event so far. `on_event` is called with each as it happens, and may call the machine's
    own methods; what these want sent leaves in the same turn. After calling them from anywhere else, call
    `kick()`.
    """

    def __init__(
        self,
        simulation: Simulation,
        machine: MachineT,
        socket: "SimulatedSocket",
        on_event: Callable[[Any], object] | None = None,
        *,
        receive_segments: bool = False,
    ) -> None:
        self.machine = machine
        self.socket = socket
        self.events: list[Any] = []
        self.on_event = on_event
        self._simulation = simulation
        if receive_segments and not hasattr(machine, "receive_segments"):
            raise SimulationError(f"{self.describe()} has no receive_segments")
        self._receive_segments: Callable[..., None] | None = (
            getattr(machine, "receive_segments") if receive_segments else None  # noqa: B009 (no part of Machine)
        )
        self._sockets: dict[Hashable | None, SimulatedSocket] = {}
        self._remotes: dict[object, Address] = {}
        self._inbox: list[tuple[bytes, Address, Hashable | None]] = []
        self._marked = False
        self._detached = False
        self._deadline = inf
        self._alarm = inf
        self._timeouts = 0
        self._timeouts_at = -inf
        self._join(socket, None)
        self.kick()

    @property
    def host(self) -> "Host":
        """The host it is on."""
        return self.socket.host

    @property
    def address(self) -> Address:
        """The (host, port) of the primary socket, as its own host knows it."""
        return self.socket.address

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return self._simulation.now

    @property
    def sockets(self) -> "list[SimulatedSocket]":
        """The sockets, the primary one first."""
        return list(self._sockets.values())

    def kick(self) -> None:
        """Take what the machine has to send and tell; for use after its own methods were called."""
        if not self._marked and not self._detached:
            self._marked = True
            self._simulation.take_turn(self)

    def add_socket(self, socket: "SimulatedSocket") -> None:
        """Give the machine one more socket. It is the handle itself: what comes by it has it as `local`."""
        if self._detached:
            raise SimulationError(f"{self.describe()} is detached")
        self._join(socket, socket)

    def remove_socket(self, socket: "SimulatedSocket") -> None:
        """Close one of the sockets that were added."""
        if socket is self.socket or self._sockets.pop(socket, None) is None:
            raise SimulationError(f"{socket!r} was not added to {self.describe()}")
        socket.attachment = None
        socket.close()

    def detach(self) -> None:
        """Close all sockets and leave the machine alone: to the others it has vanished without a word."""
        self._detached = True
        self._deadline = inf
        self._inbox.clear()
        for socket in self._sockets.values():
            socket.attachment = None
            socket.close()

    def describe(self) -> str:
        """Return who this is and what it waits for, for error messages."""
        words = f"{type(self.machine).__name__} at {endpoint(self.socket.address)}"
        timer = getattr(self.machine, "next_timer", None)
        return f"{words} (next timer: {timer})" if timer is not None else words

    def take(self, data: bytes, remote: Address, local: Hashable | None) -> None:
        """Keep a datagram for the next turn, which is still at this moment."""
        self._inbox.append((data, remote, local))
        if not self._marked:
            self._marked = True
            self._simulation.waiting.append(self)

    def turn(self) -> None:
        """Give the machine what came and its timer if that is due, then take what it sends and tells."""
        self._marked = False
        if self._detached:
            return
        try:
            self._take_turn(self._simulation.now)
        except Exception as error:
            error.add_note(f"in the turn of {self.describe()} at {self._simulation.now}")
            raise

    def _take_turn(self, now: float) -> None:
        machine = self.machine
        if self._inbox:
            inbox, self._inbox = self._inbox, []
            if self._receive_segments is not None:
                self._give_segments(inbox, now)
            else:
                receive_datagram = machine.receive_datagram
                for data, remote, local in inbox:
                    receive_datagram(data, remote, local, now)
        if self._deadline <= now:
            self._count_timeout(now)
            machine.handle_timeout(now)
        rounds = 0
        while True:
            for transmit in machine.transmits():
                self._send(transmit)
            events = machine.events()
            if not events:
                break
            self.events.extend(events)
            if self.on_event is None:
                break
            for event in events:
                self.on_event(event)
            if self._detached:
                return
            rounds += 1
            if rounds > self._simulation.instant_limit:
                raise SimulationError(f"{self.describe()} answers each event with another one, at {now}")
        self._arm(machine.next_timeout(), now)

    def _send(self, transmit: Transmit) -> None:
        if type(transmit) is not Transmit:
            raise SimulationError(f"{self.describe()} gave {transmit!r} where a Transmit was due")
        socket = self._sockets.get(transmit.local)
        if socket is None:
            raise SimulationError(f"{self.describe()} sends by {transmit.local!r}, which it was not given")
        remote = self._remotes.get(transmit.remote)
        if remote is None:
            remote = self._remotes[transmit.remote] = canonical_address(transmit.remote)
        if (":" in remote[0]) != socket.is_ipv6:
            raise SimulationError(
                f"{self.describe()} sends to {remote} by {socket!r}, of another address family"
            )
        data, size = transmit.data, transmit.segment_size
        ttl, dont_fragment, ecn = transmit.ttl, transmit.dont_fragment, transmit.ecn
        send = socket.host.send
        if size is None:
            if len(data) > MAX_UDP_PAYLOAD:
                raise SimulationError(f"{self.describe()} puts {len(data)} bytes into one datagram")
            send(socket, data, remote, ttl, dont_fragment, ecn)
            return
        if not 0 < size <= MAX_UDP_PAYLOAD:
            raise SimulationError(f"{self.describe()} gave a run of datagrams of {size} bytes")
        for start in range(0, len(data), size):
            send(socket, data[start : start + size], remote, ttl, dont_fragment, ecn)

    def _arm(self, deadline: float | None, now: float) -> None:
        if deadline is None:
            self._deadline = inf
            return
        if not deadline > -inf:
            raise SimulationError(f"{self.describe()} gave {deadline} as its next timeout")
        self._deadline = deadline
        if deadline <= now:
            self.kick()
        elif deadline < self._alarm:
            # An alarm is never taken back: deadlines mostly move away, and it is set anew when it rings.
            self._alarm = deadline
            heappush(self._simulation.heap, (deadline, next(self._simulation.counter), self._ring, deadline))

    def _ring(self, when: float) -> None:
        if when == self._alarm:
            self._alarm = inf
        if self._deadline <= when:
            self.kick()
        elif self._deadline < self._alarm:
            self._alarm = self._deadline
            heappush(
                self._simulation.heap,
                (self._deadline, next(self._simulation.counter), self._ring, self._deadline),
            )

    def _count_timeout(self, now: float) -> None:
        if now != self._timeouts_at:
            self._timeouts_at = now
            self._timeouts = 0
        self._timeouts += 1
        if self._timeouts > _TIMEOUTS_AT_ONE_MOMENT:
            raise SimulationError(
                f"handle_timeout does not move the deadline of {self.describe()}: "
                f"it is still {self._deadline} after {_TIMEOUTS_AT_ONE_MOMENT} calls at {now}"
            )

    def _give_segments(self, inbox: list[tuple[bytes, Address, Hashable | None]], now: float) -> None:
        """Merge neighbours as GRO does: one peer, one size, of which only the last may be shorter."""
        run: list[bytes] = []
        held = 0
        peer: tuple[Address, Hashable | None] | None = None
        for data, remote, local in inbox:
            if run and (
                (remote, local) != peer
                or len(data) > len(run[0])
                or len(run[-1]) < len(run[0])
                or held + len(data) > _MAX_SEGMENTS_BUFFER
                or not data
            ):
                self._give_run(run, peer, now)
                run, held = [], 0
            run.append(data)
            held += len(data)
            peer = remote, local
        self._give_run(run, peer, now)

    def _give_run(self, run: list[bytes], peer: tuple[Address, Hashable | None] | None, now: float) -> None:
        assert peer is not None
        assert self._receive_segments is not None
        remote, local = peer
        if len(run) == 1:
            self.machine.receive_datagram(run[0], remote, local, now)
        else:
            self._receive_segments(b"".join(run), len(run[0]), remote, local, now)

    def _join(self, socket: "SimulatedSocket", handle: Hashable | None) -> None:
        if socket.attachment is not None or socket.closed:
            raise SimulationError(f"{socket!r} is closed or belongs to another machine")
        socket.attachment = self
        socket.handle = handle
        self._sockets[handle] = socket
