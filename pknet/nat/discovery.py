"""The public address of a socket: learnt by STUN on the data socket itself, and kept alive by asking again.

A server is asked at two of its ports where it has two: if the answers differ, the NAT gives each destination a port
of its own (RFC 4787 section 4.1). An alternate port is asked once for each address that is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pknet.nat.candidate import Mapping
from pknet.stun import BindingFailed, BindingSucceeded, BindingTimedOut

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from pknet.stun import StunClient

    Address = tuple[str, int]

__all__ = ["AddressDiscovery", "PublicAddress"]

# Linux forgets a mapping over which nothing has come back after 30 s; asking more often than that keeps it.
KEEPALIVE_INTERVAL: Final = 20.0
MAX_SERVERS: Final = 4


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """An address of this node as others see it: when (seconds, the machine's clock) and from whom it was learnt."""

    address: Address
    learnt_at: float
    server: Address

    @property
    def how(self) -> str:
        """How it was learnt, in words."""
        return f"STUN Binding answered by {self.server[0]} port {self.server[1]}"


class AddressDiscovery:
    """Keeps the public address of one socket known; it asks through a StunClient that its owner drives."""

    def __init__(self, client: StunClient, local_addresses: Iterable[Address], local: Hashable | None = None) -> None:
        self.public_address: PublicAddress | None = None
        self._client = client
        self._local_addresses = frozenset(local_addresses)
        self._local = local
        self._servers: dict[Address, Address | None] = {}
        # Transaction -> whether it went to the server's alternate port.
        self._asked: dict[bytes, bool] = {}
        self._seen_from_alternate: Address | None = None
        self._next: float | None = None

    @property
    def mapping(self) -> Mapping:
        """What is known of the NAT's mapping behaviour."""
        if self.public_address is None:
            return Mapping.UNKNOWN
        if self.public_address.address in self._local_addresses:
            return Mapping.NONE
        if self._seen_from_alternate is None:
            return Mapping.UNKNOWN
        if self._seen_from_alternate == self.public_address.address:
            return Mapping.ENDPOINT_INDEPENDENT
        return Mapping.ENDPOINT_DEPENDENT

    @property
    def servers(self) -> list[Address]:
        """The servers that are asked."""
        return list(self._servers)

    @property
    def is_pending(self) -> bool:
        """Whether an answer is still waited for."""
        return bool(self._asked)

    def add_server(self, server: Address, alternate: Address | None, now: float) -> None:
        """Ask a server, now and from time to time; `alternate` is the same host at another port."""
        is_new = server not in self._servers
        if is_new and len(self._servers) >= MAX_SERVERS:
            return
        known_alternate = self._servers.get(server)
        self._servers[server] = alternate or known_alternate
        if is_new:
            self._ask(server, now, alternate=False)
            self._next = now + KEEPALIVE_INTERVAL
        if alternate is not None and known_alternate is None:
            self._ask(alternate, now, alternate=True)

    def remove_server(self, server: Address) -> None:
        """Ask a server no more."""
        self._servers.pop(server, None)

    def receive_event(self, event: BindingSucceeded | BindingFailed | BindingTimedOut, now: float) -> bool:
        """Take an event of the StunClient; return whether it was an answer to this discovery."""
        is_alternate = self._asked.pop(event.transaction_id, None)
        if is_alternate is None:
            return False
        if isinstance(event, BindingSucceeded):
            if is_alternate:
                self._seen_from_alternate = event.mapped_address
            else:
                self._learn(event.mapped_address, event.server, now)
        return True

    def handle_timeout(self, now: float) -> None:
        """Ask again when it is time."""
        if self._next is not None and now >= self._next:
            self._next = now + KEEPALIVE_INTERVAL
            for server in self._servers:
                self._ask(server, now, alternate=False)

    def next_timeout(self) -> float | None:
        """Return when the servers are asked again."""
        return self._next if self._servers else None

    def _learn(self, address: Address, server: Address, now: float) -> None:
        known = self.public_address
        if known is not None and known.address != address and known.server == server:
            # The mapping has changed; what the alternate port saw belongs to the old one.
            self._seen_from_alternate = None
            alternate = self._servers.get(server)
            if alternate is not None:
                self._ask(alternate, now, alternate=True)
        self.public_address = PublicAddress(address, now, server)

    def _ask(self, server: Address, now: float, *, alternate: bool) -> None:
        self._asked[self._client.binding(server, now, local=self._local)] = alternate
