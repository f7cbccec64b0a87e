"""The public address of a socket: learnt by STUN on the data socket itself, and kept alive by asking again.

Servers are asked at two of their ports where they have two. How their answers differ tells how the NAT maps
(RFC 4787 section 4.1): to another port for each port of a host, only for each host, or to one for all. From a
single server the second can't be told from the third, and the third, by far the more common, is assumed. An
alternate port is asked once for each address that is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pknet.nat.candidate import Mapping, reachable_address
from pknet.stun import BindingSucceeded, TooManyTransactionsError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from pknet.stun import BindingEvent, StunClient

    Address = tuple[str, int]

__all__ = ["AddressDiscovery", "PublicAddress"]

# Linux forgets a mapping over which nothing has come back after 30 s; asking more often than that keeps it.
KEEPALIVE_INTERVAL: Final = 20.0
# How old the word of one server may be before that of another one, which differs, is believed instead.
BELIEVED_FOR: Final = 3 * KEEPALIVE_INTERVAL
# How long a new question holds up those who want its answer.
GATHERING_PATIENCE: Final = 2.0
MAX_SERVERS: Final = 4


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """An address of this node as others see it: when it was last confirmed, and by whom.

    `learnt_at` is in seconds of the machine's clock.
    """

    address: Address
    learnt_at: float
    server: Address

    @property
    def how(self) -> str:
        """How it was learnt, in words."""
        return f"STUN Binding answered by {self.server[0]} port {self.server[1]}"


class AddressDiscovery:
    """Keeps the public address of one socket known; it asks through a StunClient that its owner drives."""

    def __init__(
        self, client: StunClient, local_addresses: Iterable[Address], local: Hashable | None = None
    ) -> None:
        self.public_address: PublicAddress | None = None
        self._client = client
        self._local_addresses = frozenset(local_addresses)
        self._local = local
        # Server -> its alternate address.
        self._servers: dict[Address, Address | None] = {}
        # Transaction -> who was asked.
        self._asked: dict[bytes, Address] = {}
        # Who was asked -> the address that it sees.
        self._seen: dict[Address, Address] = {}
        self._next: float | None = None
        self._gathering_ends: float | None = None

    @property
    def mapping(self) -> Mapping:
        """What is known of the NAT's mapping behaviour."""
        outside = {asked: seen for asked, seen in self._seen.items() if seen not in self._local_addresses}
        if not outside:
            return Mapping.NONE if self._seen else Mapping.UNKNOWN
        by_host: dict[str, set[Address]] = {}
        for (host, _), seen in outside.items():
            by_host.setdefault(host, set()).add(seen)
        if any(len(seen) > 1 for seen in by_host.values()):
            return Mapping.ADDRESS_AND_PORT_DEPENDENT
        if len(set(outside.values())) > 1:
            return Mapping.ADDRESS_DEPENDENT
        return Mapping.ENDPOINT_INDEPENDENT if len(outside) > 1 else Mapping.UNKNOWN

    @property
    def servers(self) -> list[Address]:
        """The servers that are asked."""
        return list(self._servers)

    @property
    def is_gathering(self) -> bool:
        """Whether the address, or how the NAT maps, is not known yet and an answer is worth waiting for."""
        if self._gathering_ends is None:
            return False
        return self.public_address is None or self.mapping is Mapping.UNKNOWN

    def add_server(self, server: Address, alternate: Address | None, now: float) -> None:
        """Ask a server, now and from time to time; `alternate` is the same host at another port.

        Raises ValueError if an address is not an IP address and a port.
        """
        is_new = server not in self._servers
        if is_new and len(self._servers) >= MAX_SERVERS:
            return
        known_alternate = self._servers.get(server)
        self._servers[server] = alternate or known_alternate
        if is_new:
            if not self._is_believed(now):
                # What was learnt before has not been kept alive.
                self._seen.clear()
            self._inquire(server, now)
            if self._next is None:
                self._next = now + KEEPALIVE_INTERVAL
        if alternate is not None and alternate != known_alternate:
            self._inquire(alternate, now)

    def remove_server(self, server: Address) -> None:
        """Ask a server no more."""
        if server not in self._servers:
            return
        self._forget_answers_of({server, self._servers.pop(server)})
        if not self._servers:
            self._next = None

    def close(self) -> None:
        """Ask nobody any more; what was learnt stays."""
        self._forget_answers_of(set(self._asked.values()))
        self._servers.clear()
        self._next = self._gathering_ends = None

    def receive_event(self, event: BindingEvent, now: float) -> bool:
        """Take an event of the StunClient; return whether it was an answer to this discovery."""
        asked = self._asked.pop(event.transaction_id, None)
        if asked is None:
            return False
        if isinstance(event, BindingSucceeded):
            self._learn(event.mapped_address, asked, now)
        self._wait_no_longer()
        return True

    def handle_timeout(self, now: float) -> None:
        """Ask again when it is time."""
        if self._gathering_ends is not None and now >= self._gathering_ends:
            self._gathering_ends = None
        if self._next is not None and now >= self._next:
            self._next = now + KEEPALIVE_INTERVAL
            for server in self._servers:
                self._ask(server, now)

    def next_timeout(self) -> float | None:
        """Return when the servers are asked again, or are not waited for any longer."""
        if self._gathering_ends is not None and (self._next is None or self._gathering_ends < self._next):
            return self._gathering_ends
        return self._next

    def _learn(self, address: Address, asked: Address, now: float) -> None:
        is_own = address in self._local_addresses
        if not is_own and reachable_address(address, self._local_addresses) != address:
            # A server may say what it likes; nobody could be told of such an address.
            return
        before = self._seen.get(asked)
        self._seen[asked] = address
        if before is not None and before != address:
            # The mapping has changed; what others saw belongs to the old one.
            self._seen = {asked: address}
            for server, alternate in self._servers.items():
                for other in (server, alternate):
                    if other is not None and other != asked:
                        self._inquire(other, now)
        known = self.public_address
        if asked not in self._servers:
            return
        if known is None or known.address == address or known.server == asked:
            is_better = True
        else:
            # A server on the local network sees no NAT, one beyond it does: the latter's word is worth more.
            was_own = known.address in self._local_addresses
            is_better = not self._is_believed(now) or (was_own and not is_own)
        if is_better:
            self.public_address = PublicAddress(address, now, asked)

    def _is_believed(self, now: float) -> bool:
        known = self.public_address
        return known is not None and known.server in self._servers and now < known.learnt_at + BELIEVED_FOR

    def _inquire(self, server: Address, now: float) -> None:
        """Ask what is not known yet, so that it is worth waiting for the answer."""
        self._gathering_ends = now + GATHERING_PATIENCE
        self._ask(server, now)

    def _ask(self, server: Address, now: float) -> None:
        if server in self._asked.values():
            return
        try:
            transaction_id = self._client.binding(server, now, local=self._local)
        except TooManyTransactionsError:
            return
        self._asked[transaction_id] = server

    def _forget_answers_of(self, servers: set[Address | None]) -> None:
        """Drop what some servers said, and what they are still asked."""
        for transaction_id, asked in list(self._asked.items()):
            if asked in servers:
                del self._asked[transaction_id]
                self._client.cancel(transaction_id)
        for server in servers:
            if server is not None:
                self._seen.pop(server, None)
        self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        if not self._asked:
            self._gathering_ends = None
