"""What the network modules of both adapters have in common: everything but waiting."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pknet.errors import PknetError
from pknet.network import (
    Identity,
    Node,
    NodeConfig,
    NodeId,
    NodeInfo,
    NodeStream,
    PublicAddressChanged,
    RendezvousInfo,
    RendezvousLost,
    RendezvousRegistered,
    SocketReleased,
    SocketWanted,
    Ticket,
)
from pknet.utp import CloseReason
from pknet_io.errors import system_words
from pknet_io.interfaces import local_addresses
from pknet_io.names import host_and_port, resolve_all
from pknet_io.qlog import QlogDirectory
from pknet_io.udp import UdpSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pknet.nat import Mapping, PublicAddress
    from pknet.utp import UtpConfig
    from pknet_io.local import LocalAddress

    Address = tuple[str, int]

__all__ = [
    "DEFAULT_PORT",
    "LOOK_UP_RETRY",
    "UNPASSED_INTERVAL",
    "ConnectError",
    "NetworkBase",
    "NetworkOptions",
    "PipeRecord",
    "UndeliveredError",
    "open_socket",
    "resolve_info",
    "resolve_rendezvous",
    "why_not_reached",
]

DEFAULT_PORT = 1315
SECRET_SIZE = 16
# How often it asks whether a TCP connection has taken what came for it.
UNPASSED_INTERVAL = 0.02
# How long until the addresses of a rendezvous node are looked up again, if none was found.
LOOK_UP_RETRY = 5.0


class ConnectError(PknetError, ConnectionError):
    """A node could not be reached; the message says what was tried and why it failed."""


class UndeliveredError(PknetError):
    """A network was stopped before all that it was given could be delivered; `streams` says to whom."""

    def __init__(self, streams: list[tuple[NodeId | None, int]]) -> None:
        listed = ", ".join(f"{count} bytes to {node_id or 'an unknown node'}" for node_id, count in streams)
        super().__init__(f"not delivered: {listed}")
        self.streams = streams


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What a program may set for a Network.

    `host` and `port`: what the UDP socket is bound to, port 0 for any. `service`: (host, port) of the local
    TCP service that incoming streams are piped to. `admit(node_id)`: who may come in, nobody by default; it
    is called in the midst of things, so it must not wait for anything. `secrets`: of tickets, whose holders
    may come in too. `allow_plain_utp`: whether uTP without TLS may come in, from anybody, as streams with no
    node id; the initiator has to speak first, and not as TLS does (16 03). `introduces`: whether this node is
    a rendezvous for others; then `alternate_port` (None: none) answers STUN too, and tells others how their
    NAT maps. `stop_timeout`: how many seconds `stop` gives to what is not delivered yet. `utp`: settings of
    the uTP connections (pknet.utp.UtpConfig), None for those of a node. `qlog`: a folder for a log of each
    connection.
    """

    host: str = "0.0.0.0"
    port: int = DEFAULT_PORT
    service: Address | None = None
    admit: Callable[[NodeId], bool] = field(default=lambda _: False)
    secrets: frozenset[bytes] = frozenset()
    allow_plain_utp: bool = False
    introduces: bool = False
    alternate_port: int | None = None
    stop_timeout: float = 10.0
    utp: UtpConfig | None = None
    qlog: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Raise TypeError for a service that is no address, such as "host:port" in one string."""
        if self.service is not None:
            host_and_port(self.service)


@dataclass(slots=True, eq=False)
class PipeRecord:
    """A TCP connection joined to a stream: who is at the other end, and how much has passed."""

    node_id: NodeId | None
    tcp_address: Address
    bytes_to_node: int = 0
    bytes_from_node: int = 0
    close: Callable[[], None] = lambda: None
    """Close the pipe at once."""


def open_socket(host: str, port: int) -> UdpSocket:
    """Bind the UDP socket of a network. Raises OSError, in words that name the address."""
    try:
        return UdpSocket.bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"UDP port {port} on {host} is in use by another program; choose another port"
        else:
            why = f"UDP port {port} on {host} can't be had: {system_words(error)}"
        raise type(error)(error.errno, why) from None


class NetworkBase:
    """A node with its sockets; the adapters add the waiting."""

    def __init__(self, nodes: Any, options: NetworkOptions) -> None:
        self.nodes = nodes
        self.options = options
        self.identity = Identity(nodes.private_key())
        self.logger: logging.Logger = nodes.logger()
        if any(len(secret) != SECRET_SIZE for secret in options.secrets):
            raise PknetError(f"the secret of a ticket has {SECRET_SIZE} bytes")
        self._secrets = set(options.secrets)
        self._pipes: set[Any] = set()
        # Why a rendezvous node is lost, as it was last told.
        self._lost: dict[NodeId, str] = {}
        self._node: Node | None = None
        self._socket: UdpSocket | None = None
        self._driver: Any = None
        # Held while the node is asked or told: an adapter with threads puts its lock here.
        self._guard: AbstractContextManager[object] = nullcontext()
        if hasattr(nodes, "attach"):
            nodes.attach(self)

    @property
    def node_id(self) -> NodeId:
        """The id of this node."""
        return self.identity.node_id

    @property
    def is_started(self) -> bool:
        """Whether the uTP server is listening."""
        return self._node is not None

    @property
    def address(self) -> Address:
        """The (host, port) that the UDP socket is bound to; raises PknetError before `start`."""
        if self._socket is None:
            raise PknetError("the network is not started")
        return self._socket.address

    @property
    def local_addresses(self) -> list[Address]:
        """Where this node is reached on its local network; empty while the network is not started.

        IPv6 link-local addresses are left out: they lead nowhere without the number of an interface, which is
        another one on each machine (RFC 4007 section 6).
        """
        if self._socket is None:
            return []
        host, port = self._socket.address
        if host not in ("0.0.0.0", "::"):
            return [(host, port)]
        loopback = "::1" if ":" in host else "127.0.0.1"
        own = [own for own in local_addresses() if (":" in own) == (":" in host) and "%" not in own]
        return [(own, port) for own in own[:6] or [loopback]]

    @property
    def public_address(self) -> PublicAddress | None:
        """The UDP address by which others see this node, when it was learnt and how; None if not known."""
        with self._guard:
            return None if self._node is None else self._node.public_address

    @property
    def mapping(self) -> Mapping | None:
        """What is known of how this node's NAT maps ports."""
        with self._guard:
            return None if self._node is None else self._node.mapping

    @property
    def registered_with(self) -> list[NodeId]:
        """The rendezvous nodes that introduce others to this node now."""
        with self._guard:
            return [] if self._node is None else self._node.registered_with

    @property
    def connections(self) -> list[NodeStream]:
        """The streams with other nodes that are open."""
        with self._guard:
            return [] if self._node is None else list(self._node.streams)

    @property
    def pipes(self) -> list[PipeRecord]:
        """The TCP connections that are joined to streams, or are about to be."""
        with self._guard:
            return [pipe.record for pipe in self._pipes]

    def make_ticket(self, rendezvous: Iterable[RendezvousInfo], secret: bytes | None = None) -> Ticket:
        """Make a ticket that admits its holder to this node.

        `secret`: 16 bytes; a new one by default, which this node honours from now on. Raises PknetError while
        the network is not started.
        """
        introducers = tuple(rendezvous)
        if not all(isinstance(introducer, RendezvousInfo) for introducer in introducers):
            raise TypeError(f"rendezvous nodes are given as a list of RendezvousInfo, not as {rendezvous!r}")
        ticket = Ticket(
            self.node_id,
            os.urandom(SECRET_SIZE) if secret is None else secret,
            tuple(self.local_addresses),
            introducers,
        )
        with self._guard:
            self._running()
            self._secrets.add(ticket.secret)
        return ticket

    def _running(self) -> Node:
        if self._node is None:
            raise PknetError("the network is not started")
        return self._node

    def _make_node(self) -> Node:
        options = self.options
        config = NodeConfig(
            admit=self._admits,
            secrets=self._secrets,
            allow_plain_utp=options.allow_plain_utp,
            introduces=options.introduces,
            alternate_port=options.alternate_port,
            utp=options.utp,
        )
        node = Node(self.identity, os.urandom, config)
        if options.qlog is not None:
            node.utp.open_log = QlogDirectory(options.qlog)
        return node

    def _handle_node_event(self, event: Any) -> None:
        """Take an event that is not of a stream and needs no waiting."""
        match event:
            case SocketWanted(number, port):
                self._open_socket(number, port)
            case SocketReleased(local):
                self._driver.remove_socket(cast("LocalAddress", local).socket)
            case PublicAddressChanged(public):
                self._log(logging.INFO, "seen from outside as %s port %d (%s)", *public.address, public.how)
            case RendezvousRegistered(node_id):
                self._lost.pop(node_id, None)
                self._log(logging.INFO, "registered with rendezvous node %s", node_id)
            case RendezvousLost(node_id, reason, retry_at):
                # It is tried again and again; to hear once what is wrong is enough.
                is_known = self._lost.get(node_id) == reason
                if retry_at is not None:
                    self._lost[node_id] = reason
                level = logging.INFO if is_known else logging.WARNING
                self._log(level, "rendezvous node %s: %s", node_id, reason)

    def _admits(self, node_id: NodeId) -> bool:
        """Ask the program whether a node may come in; if that goes wrong, it may not."""
        try:
            return self.options.admit(node_id)
        except Exception as error:
            self._log(logging.ERROR, "whether node %s may come in is not known: %r", node_id, error)
            return False

    def _log(self, level: int, message: str, *arguments: object) -> None:
        """Log from within the handling of an event."""
        self.logger.log(level, message, *arguments)

    def _is_reachable(self, rendezvous: Iterable[RendezvousInfo]) -> bool:
        """Return whether each of these rendezvous nodes introduces others, and there is a public address."""
        node = self._node
        wanted = {info.node_id for info in rendezvous}
        return not wanted or (
            node is not None and node.public_address is not None and wanted <= set(node.registered_with)
        )

    @staticmethod
    def _has_parted(node: Node) -> bool:
        """Return whether the peer of each connection has ended its side too."""
        return all(connection.state == "CLOSED" for connection in node.utp.connections)

    def _forget_pipe(self, pipe: Any) -> None:
        """Forget a pipe that is over; say so if the node broke it before it sent anything."""
        self._pipes.discard(pipe)
        stream: NodeStream | None = pipe.node_stream
        if stream is None or not stream.is_initiator or pipe.record.bytes_from_node:
            return
        if stream.close_reason is CloseReason.RESET:
            self._log(
                logging.WARNING,
                "node %s broke a forwarded connection before it sent anything: its service does not run,"
                " or breaks off, or the node was restarted",
                stream.peer,
            )

    def _abandon(self, node: Node) -> None:
        """Tell each peer that a connection is over which has not ended by itself."""
        for connection in node.utp.connections:
            connection.abort(self._driver.now)
            # What lingers has nothing more to tell.
            connection.log = None

    def _open_socket(self, number: int, port: int) -> None:
        node, now = self._running(), self._driver.now
        try:
            udp_socket = UdpSocket.bind(self.options.host, port)
        except OSError as error:
            what = f"UDP port {port}, the second one for STUN," if port else "one more UDP socket"
            lost = "; others can't learn from this node alone how their NAT maps ports" if port else ""
            self._log(logging.WARNING, "%s can't be had: %s%s", what, system_words(error), lost)
            node.socket_failed(number, str(error), now)
            return
        self._driver.add_socket(udp_socket)
        own_port = udp_socket.address[1]
        addresses = [(host, own_port) for host, _ in self.local_addresses]
        node.socket_opened(number, udp_socket.local, addresses, now)


def resolve_info(info: NodeInfo) -> tuple[NodeInfo, list[str]]:
    """Return the same with addresses in place of names, and the names that have none.

    Blocks while the system asks its name servers.
    """
    addresses, unknown = resolve_all(info.addresses)
    rendezvous = []
    for introducer in info.rendezvous:
        found, more_unknown = resolve_all(introducer.addresses)
        rendezvous.append(type(introducer)(introducer.node_id, found))
        unknown += more_unknown
    return NodeInfo(info.node_id, addresses, tuple(rendezvous), info.secret), unknown


def resolve_rendezvous(rendezvous: RendezvousInfo) -> RendezvousInfo:
    """Return the same with addresses in place of names; blocks while the system asks its name servers."""
    return type(rendezvous)(rendezvous.node_id, resolve_all(rendezvous.addresses)[0])


def why_not_reached(node_id: NodeId, failure: object, unknown: list[str]) -> ConnectError:
    """Return the error for a dial that failed; `unknown`: names that no address was found for."""
    names = f"; no address was found for {', '.join(unknown)}" if unknown else ""
    return ConnectError(f"node {node_id}: {failure}{names}")
