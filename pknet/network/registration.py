"""Staying known to rendezvous nodes: a stream to each, opened again when it is lost.

A registration lasts if the program asked for it. Others are made to reach a node through its rendezvous, and
end when they have been of no use for a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from pknet.errors import PknetError
from pknet.network.channel import Channel, RendezvousClient
from pknet.network.events import RendezvousLost, RendezvousRegistered
from pknet.utp import ConnectionClosed, ConnectionOpened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pknet.network.identity import Identity, NodeId
    from pknet.network.info import RendezvousInfo
    from pknet.network.sockets import NodeSockets
    from pknet.network.stream import NodeStream
    from pknet.utp import UtpEvent

    Address = tuple[str, int]

__all__ = ["Registration", "RegistrationHost", "Registrations"]

FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
# How often a node says that it is there; a rendezvous that does not acknowledge it is gone.
HEARTBEAT_INTERVAL: Final = 30.0
# How long a registration that need not last may be idle.
IDLE_PATIENCE: Final = 60.0


class RegistrationHost(Protocol):
    """What registrations ask of their node."""

    identity: Identity
    sockets: NodeSockets
    token_bytes: Callable[[int], bytes]

    def dial_rendezvous(self, info: RendezvousInfo) -> NodeStream:
        """Begin to open a stream to a rendezvous node; it fails by itself if that takes too long."""

    def accept_channel(self, channel: Channel, rendezvous: NodeId) -> str:
        """Take a channel that another node opened; return why not, or ""."""

    def emit(self, event: UtpEvent) -> None:
        """Take an event of a channel."""

    def tell(self, event: object) -> None:
        """Tell the program of an event."""


class Registration:
    """What a node keeps of one of its rendezvous nodes."""

    def __init__(self, info: RendezvousInfo) -> None:
        self.info = info
        self.is_lasting = False
        self.client: RendezvousClient | None = None
        self.is_told = False
        self.servers: set[Address] = set()
        """The STUN servers that it brought."""
        self.retry_at: float | None = None
        self.heartbeat_at: float | None = None
        self._delay = FIRST_RETRY

    @property
    def idle_ends(self) -> float | None:
        """When to end the registration for want of use."""
        if self.is_lasting or self.client is None or self.client.idle_since is None:
            return None
        return self.client.idle_since + IDLE_PATIENCE

    def registered(self) -> None:
        """Take note that all is well."""
        self.is_told = True
        self._delay = FIRST_RETRY

    def lost(self, now: float, chance: float) -> None:
        """Take note of a loss, and set when to try again; `chance` (0 to 1) keeps many nodes apart."""
        self.client = None
        self.is_told = False
        self.heartbeat_at = None
        self.retry_at = now + self._delay * (0.75 + chance / 2) if self.is_lasting else None
        self._delay = min(2 * self._delay, LAST_RETRY)


class Registrations:
    """The rendezvous nodes of one node."""

    def __init__(self, host: RegistrationHost) -> None:
        self._host = host
        self._registrations: dict[NodeId, Registration] = {}
        self._of_stream: dict[NodeStream, Registration] = {}
        self._stopped = False

    @property
    def registered_with(self) -> list[NodeId]:
        """The rendezvous nodes that introduce others to this one now."""
        return [node_id for node_id, registration in self._registrations.items() if registration.is_told]

    def register(self, info: RendezvousInfo, now: float) -> None:
        """Stay known to a rendezvous node; to itself a node is known without."""
        if info.node_id == self._host.identity.node_id:
            return
        known = self._registrations.get(info.node_id)
        if known is None:
            known = self._registrations[info.node_id] = Registration(info)
        known.is_lasting = True
        known.info = info
        if known.client is None:
            self._join(known, now)

    def open_channel(self, infos: Iterable[RendezvousInfo], node_id: NodeId, now: float) -> Channel:
        """Open a channel to a node through the first rendezvous node that is connected, or can be.

        Raises PknetError if there is none.
        """
        named = [info for info in infos if info.node_id != self._host.identity.node_id]
        if not named:
            raise PknetError("no rendezvous node is known that could introduce it")
        for info in named:
            known = self._registrations.get(info.node_id)
            if known is not None and known.is_told and known.client is not None:
                return known.client.open_channel(node_id, now)
        for info in named:
            known = self._registrations.get(info.node_id)
            if known is None:
                known = self._registrations[info.node_id] = Registration(info)
            if known.client is None:
                self._join(known, now)
            if known.client is not None:
                return known.client.open_channel(node_id, now)
        raise PknetError("its rendezvous nodes have no address of a kind that this node can reach")

    def stop(self, now: float) -> None:
        """Close the streams to all rendezvous nodes, for good."""
        self._stopped = True
        known = list(self._registrations.values())
        self._registrations.clear()
        for registration in known:
            if registration.client is not None:
                registration.client.stream.close(now)

    def handle_event(self, event: UtpEvent, now: float) -> bool:
        """Take an event of a stream; return False if it is not one to a rendezvous node."""
        registration = self._of_stream.get(event.connection)
        if registration is None:
            return False
        client = registration.client
        if client is None or client.stream is not event.connection:
            return True
        client.handle_event(event, now)
        if isinstance(event, ConnectionClosed):
            del self._of_stream[client.stream]
            self._lost(registration, client.stream.failure or event.reason.value, now)
        elif isinstance(event, ConnectionOpened):
            self._ask(registration, client.stream, now)
        elif client.is_registered and not registration.is_told:
            self._registered(registration, client, now)
        return True

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for registration in list(self._registrations.values()):
            if registration.retry_at is not None and registration.retry_at <= now:
                self._join(registration, now)
            client = registration.client
            if client is None:
                continue
            if registration.heartbeat_at is not None and registration.heartbeat_at <= now:
                registration.heartbeat_at = now + HEARTBEAT_INTERVAL
                client.register(now)
            idle_ends = registration.idle_ends
            if idle_ends is not None and idle_ends <= now:
                self._forget(registration)
                client.stream.close(now)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        deadlines = [
            deadline
            for registration in self._registrations.values()
            for deadline in (registration.retry_at, registration.heartbeat_at, registration.idle_ends)
            if deadline is not None
        ]
        return min(deadlines, default=None)

    def _join(self, registration: Registration, now: float) -> None:
        """Open the stream to a rendezvous node, and ask it by STUN at the same time."""
        registration.retry_at = None
        info = registration.info
        stream = self._host.dial_rendezvous(info)
        registration.client = RendezvousClient(
            stream, self._host.emit, lambda channel: self._host.accept_channel(channel, info.node_id)
        )
        self._of_stream[stream] = registration
        if not stream.attempts_left:
            stream.fail("it has no address of a kind that this node can reach", now)
            return
        for address in info.addresses:
            self._add_server(registration, address, None, now)

    def _ask(self, registration: Registration, stream: NodeStream, now: float) -> None:
        """Ask the address by which the rendezvous is reached, and none of the others."""
        server: Address = stream.remote  # type: ignore[assignment]
        registration.heartbeat_at = now + HEARTBEAT_INTERVAL
        for other in registration.servers - {server}:
            self._remove_server(registration, other)
        self._add_server(registration, server, None, now)

    def _registered(self, registration: Registration, client: RendezvousClient, now: float) -> None:
        registration.registered()
        server: Address = client.stream.remote  # type: ignore[assignment]
        alternate = (server[0], client.alternate_port) if client.alternate_port else None
        self._add_server(registration, server, alternate, now)
        self._host.tell(RendezvousRegistered(registration.info.node_id))

    def _lost(self, registration: Registration, reason: str, now: float) -> None:
        chance = self._host.token_bytes(1)[0] / 256
        registration.lost(now, chance)
        if self._stopped or self._registrations.get(registration.info.node_id) is not registration:
            return
        if not registration.is_lasting:
            self._forget(registration)
        self._host.tell(RendezvousLost(registration.info.node_id, reason, registration.retry_at))

    def _forget(self, registration: Registration) -> None:
        self._registrations.pop(registration.info.node_id, None)
        for server in list(registration.servers):
            self._remove_server(registration, server)

    def _add_server(
        self, registration: Registration, server: Address, alternate: Address | None, now: float
    ) -> None:
        registration.servers.add(server)
        self._host.sockets.add_server(server, alternate, now)

    def _remove_server(self, registration: Registration, server: Address) -> None:
        registration.servers.discard(server)
        if not any(server in other.servers for other in self._registrations.values()):
            self._host.sockets.remove_server(server)
