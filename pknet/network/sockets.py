"""A node's sockets and how each is seen from outside.

There is the primary one, perhaps a second one for STUN, and fresh ones for meetings.

The adapter has them; this asks for them by events, learns their public addresses by STUN, and answers
the STUN of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pknet._core.stun_address import pack_address
from pknet.errors import StateError
from pknet.nat import (
    AddressDiscovery,
    Candidate,
    CandidateType,
    Description,
    Mapping,
    PublicAddress,
    reachable_address,
)
from pknet.nat.candidate import MAX_CANDIDATES
from pknet.network.events import PublicAddressChanged, SocketReleased, SocketWanted
from pknet.stun import BindingServer, MessageClass, StunClient

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from pknet._core.transmit import Transmit
    from pknet.stun import Message

    Address = tuple[str, int]

__all__ = ["FreshSocketUser", "NodeSockets"]

MAX_FRESH_SOCKETS: Final = 64
# How long a fresh socket is kept while no connection uses it: as long as a meeting may take to come to one.
FRESH_SOCKET_PATIENCE: Final = 30.0
# A host may have many addresses; a few are told, and room is left for the one that others see.
MAX_HOST_CANDIDATES: Final = 6


class FreshSocketUser(Protocol):
    """Who asked for a fresh socket."""

    def socket_ready(self, local: Hashable, now: float) -> None:
        """Take the socket, its public address known."""

    def socket_failed(self, reason: str, now: float) -> None:
        """Take note that there is none to be had."""


@dataclass(slots=True)
class _FreshSocket:
    """A socket that was opened for a meeting: what is known of its address, how many connections use it."""

    discovery: AddressDiscovery
    addresses: tuple[Address, ...]
    user: FreshSocketUser
    unused_since: float
    connections: int = 0
    is_ready: bool = False


class NodeSockets:
    """The sockets of one node; `tell` takes its events."""

    def __init__(self, token_bytes: Callable[[int], bytes], tell: Callable[[object], None]) -> None:
        self.addresses: tuple[Address, ...] = ()
        """Where the primary socket is reached on the local network."""
        self.alternate_port = 0
        """The port of the second socket for STUN, 0 while there is none."""
        self.stun_server = BindingServer()
        self._tell = tell
        self._stun = StunClient(token_bytes)
        self._discovery = AddressDiscovery(self._stun, ())
        self._told_address: Address | None = None
        self._numbers = 0
        # Who asked for a socket; None is the second one for STUN.
        self._requests: dict[int, FreshSocketUser | None] = {}
        self._fresh: dict[Hashable, _FreshSocket] = {}
        self._stopped = False

    @property
    def public_address(self) -> PublicAddress | None:
        """The address by which others see the primary socket, None while it is not known."""
        return self._discovery.public_address

    @property
    def mapping(self) -> Mapping:
        """What is known of how the NAT before this node maps ports."""
        return self._discovery.mapping

    # What the node asks for.

    def start(self, addresses: Iterable[Address], alternate_port: int | None) -> None:
        """Take the primary socket's addresses; ask for a second socket unless `alternate_port` is None."""
        self.addresses = tuple(addresses)
        self._discovery.close()
        self._discovery = AddressDiscovery(self._stun, self.addresses)
        if alternate_port is not None:
            self._request(None, alternate_port)

    def stop(self, now: float) -> None:
        """Ask and answer no more, and give back what no connection uses."""
        self._stopped = True
        self._discovery.close()
        for local, fresh in list(self._fresh.items()):
            if not fresh.connections:
                self._give_back(local, fresh)

    def can_reach(self, host: str) -> bool:
        """Return whether a host is an IP address of a kind that the primary socket can send to."""
        try:
            size = len(pack_address(host))
        except ValueError:
            return False
        return not self.addresses or any(size == len(pack_address(own)) for own, _ in self.addresses)

    def add_server(self, server: Address, alternate: Address | None, now: float) -> None:
        """Learn the public address from a STUN server, if it can be reached."""
        if self.can_reach(server[0]) and server not in self.addresses and not self._stopped:
            self._discovery.add_server(server, alternate, now)

    def remove_server(self, server: Address) -> None:
        """Ask a STUN server no more."""
        self._discovery.remove_server(server)

    def want_fresh(self, user: FreshSocketUser, now: float) -> None:
        """Open a socket and learn its public address; `user.socket_ready` or `socket_failed` follows."""
        if self._stopped or len(self._fresh) + len(self._requests) >= MAX_FRESH_SOCKETS:
            user.socket_failed("the node was stopped" if self._stopped else "too many are open", now)
        else:
            self._request(user, 0)

    def describe(self, local: Hashable | None) -> Description | None:
        """Return what a peer may be told of a socket, None while it is still being learnt or is gone."""
        if local is None:
            if self._discovery.is_gathering:
                return None
            return _describe(self.addresses, self.public_address, self.mapping)
        fresh = self._fresh.get(local)
        if fresh is None or not fresh.is_ready:
            return None
        # One socket alone can't tell how the NAT maps, but all of them are behind the same.
        return _describe(fresh.addresses, fresh.discovery.public_address, self.mapping)

    def reachable(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return those of a peer's candidates that packets may be sent to, in canonical form."""
        own = set(self.addresses)
        for fresh in self._fresh.values():
            own.update(fresh.addresses)
        if self.public_address is not None:
            own.add(self.public_address.address)
        return [
            Candidate(candidate.type, *address)
            for candidate in candidates
            if (address := reachable_address(candidate.address, own)) is not None
            and self.can_reach(address[0])
        ]

    def hold(self, local: Hashable | None) -> None:
        """Count a connection that goes by a socket."""
        if local in self._fresh:
            self._fresh[local].connections += 1

    def let_go(self, local: Hashable | None, now: float) -> None:
        """Count the end of a connection that went by a socket."""
        if local in self._fresh:
            fresh = self._fresh[local]
            fresh.connections -= 1
            fresh.unused_since = now

    # What the adapter answers.

    def opened(self, number: int, local: Hashable, addresses: Iterable[Address], now: float) -> None:
        """Take a socket that SocketWanted asked for; `addresses`: where it is reached locally."""
        user = self._answered(number)
        bound = tuple(addresses)
        if self._stopped:
            self._tell(SocketReleased(local))
        elif user is None:
            self.alternate_port = bound[0][1] if bound else 0
        else:
            discovery = AddressDiscovery(self._stun, bound, local)
            self._fresh[local] = _FreshSocket(discovery, bound, user, now)
            for server in self._discovery.servers:
                discovery.add_server(server, None, now)

    def failed(self, number: int, reason: str, now: float) -> None:
        """Take note that a socket that SocketWanted asked for can't be had."""
        user = self._answered(number)
        if user is not None:
            user.socket_failed(reason, now)

    # What the network brings.

    def receive_message(self, message: Message, remote: Address, local: Hashable | None, now: float) -> None:
        """Take a STUN message that is no meeting's check."""
        if message.message_class is not MessageClass.REQUEST:
            self._stun.receive_message(message, remote, local, now)
        elif not self._stopped:
            self.stun_server.receive_message(message, remote, local, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        self._stun.handle_timeout(now)
        self._discovery.handle_timeout(now)
        for local, fresh in list(self._fresh.items()):
            fresh.discovery.handle_timeout(now)
            if not fresh.connections and fresh.unused_since + FRESH_SOCKET_PATIENCE <= now:
                self._give_back(local, fresh)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        deadlines = [self._stun.next_timeout(), self._discovery.next_timeout()]
        for fresh in self._fresh.values():
            deadlines.append(fresh.discovery.next_timeout())
            if not fresh.connections:
                deadlines.append(fresh.unused_since + FRESH_SOCKET_PATIENCE)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def work(self, now: float) -> None:
        """Follow what the STUN servers have answered."""
        for answer in self._stun.events():
            if not self._discovery.receive_event(answer, now):
                for fresh in self._fresh.values():
                    if fresh.discovery.receive_event(answer, now):
                        break
        for local, fresh in list(self._fresh.items()):
            if not fresh.is_ready:
                self._look_at(local, fresh, now)
        known = self.public_address
        if known is not None and known.address != self._told_address:
            self._told_address = known.address
            self._tell(PublicAddressChanged(known))

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        return self._stun.transmits() + self.stun_server.transmits()

    def _request(self, user: FreshSocketUser | None, port: int) -> None:
        self._numbers += 1
        self._requests[self._numbers] = user
        self._tell(SocketWanted(self._numbers, port))

    def _answered(self, number: int) -> FreshSocketUser | None:
        """Return who asked for a socket."""
        if number not in self._requests:
            raise StateError(f"no socket is wanted under the number {number}")
        return self._requests.pop(number)

    def _look_at(self, local: Hashable, fresh: _FreshSocket, now: float) -> None:
        """Hand a fresh socket to who wants it, once its address is known or there is nobody to ask."""
        discovery = fresh.discovery
        if discovery.public_address is not None or not discovery.servers:
            fresh.is_ready = True
            # What keeps its mapping from here on is the traffic that it was opened for.
            discovery.close()
            fresh.user.socket_ready(local, now)
        elif not discovery.is_gathering:
            self._give_back(local, fresh)
            fresh.user.socket_failed("its public address can't be learnt, for no STUN server answers", now)

    def _give_back(self, local: Hashable, fresh: _FreshSocket) -> None:
        fresh.discovery.close()
        del self._fresh[local]
        self._tell(SocketReleased(local))


def _describe(
    addresses: tuple[Address, ...], public_address: PublicAddress | None, mapping: Mapping
) -> Description:
    """Put together what a peer is told: local addresses first, then the one seen from outside."""
    # A scope means nothing to a peer, and without it a link-local address means nothing either.
    told = [address for address in addresses if "%" not in address[0]][:MAX_HOST_CANDIDATES]
    candidates = [Candidate(CandidateType.HOST, *address) for address in told]
    if public_address is not None and public_address.address not in addresses:
        candidates.append(Candidate(CandidateType.SERVER_REFLEXIVE, *public_address.address))
    return Description(tuple(candidates[:MAX_CANDIDATES]), mapping)
