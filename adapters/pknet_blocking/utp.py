"""Plain uTP for programs that block, as the `socket` module is for TCP."""

from __future__ import annotations

import errno
import operator
import os
import socket as sockets
import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from pknet.utp import ConnectionAccepted, UtpConfig, UtpEndpoint, UtpEvent
from pknet_blocking.connection import Connection, dispatch
from pknet_blocking.driver import Driver
from pknet_blocking.race import first_to_open
from pknet_blocking.served import Served
from pknet_blocking.socketlike import SocketLike, check_timeout
from pknet_blocking.stream import Stream
from pknet_io.arguments import check_config
from pknet_io.ending import parting
from pknet_io.names import ATTEMPT_DELAY, any_address_like, host_and_port, of_family, resolve
from pknet_io.udp import UdpSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pknet_io.addresses import Address

__all__ = ["UtpListener", "create_connection", "create_server"]

DEFAULT_BACKLOG = 128
# So many dials that are over may each keep a thread and a socket, to acknowledge the peer's end again.
MAX_LINGERING = 16

# What http.client and others hand on when they were given no timeout.
_DEFAULT_TIMEOUT: object = getattr(sockets, "_GLOBAL_DEFAULT_TIMEOUT", None) or object()


def create_connection(
    address: tuple[str, int],
    timeout: float | None = None,
    source_address: tuple[str, int] | None = None,
    *,
    config: UtpConfig | None = None,
) -> Stream:
    """Open a uTP connection to (host, port) and return it, as socket.create_connection does for TCP.

    All addresses of the host are tried, the next a quarter of a second after the one before (RFC 8305).
    `timeout` (seconds) bounds the dialling and then every method of the stream. Raises TimeoutError if nobody
    answers, ConnectionRefusedError if the connection is refused or the host says that nobody has the port,
    OSError if the name can't be resolved or bound.
    """
    if timeout is _DEFAULT_TIMEOUT:
        timeout = sockets.getdefaulttimeout()
    check_timeout(timeout)
    check_config(config)
    host, port = host_and_port(address)
    own = None
    if source_address is not None:
        own = host_and_port(source_address)
        own = (own[0] or "0.0.0.0"), own[1]
    remotes = of_family(host, resolve(host, port), own)
    dials = [partial(_dial, remote, own, config) for remote in remotes]
    connection = first_to_open(dials, ATTEMPT_DELAY, timeout)
    with connection.driver.lock:
        if not connection.driver.is_closed:
            connection.driver.socket.hear_unreachable(False)
    stream = Stream(connection)
    stream.settimeout(timeout)
    return stream


def create_server(
    address: tuple[str, int] = ("0.0.0.0", 0),
    *,
    sock: socket.socket | None = None,
    config: UtpConfig | None = None,
    backlog: int = DEFAULT_BACKLOG,
) -> UtpListener:
    """Bind to (host, port) and return a listener, as socket.create_server does for TCP.

    An empty host stands for every IPv4 interface; of a name with several addresses the first alone is bound.
    `sock`: a bound UDP socket to use instead; the listener owns it from then on. `backlog`: how many
    connections may wait for `accept`, at least one; others are not answered until there is room, and try
    again. Raises OSError if the address can't be bound, ValueError if `sock` is not.
    """
    check_config(config)
    backlog = operator.index(backlog)
    if sock is None:
        host, port = host_and_port(address)
        udp_socket = UdpSocket.bind(*resolve(host or "0.0.0.0", port)[0])
    else:
        udp_socket = UdpSocket.of_server(sock)
    return UtpListener(Acceptor(udp_socket, config, backlog))


class UtpListener(SocketLike):
    """A uTP server: connections come in until it is closed, and wait for `accept`.

    After `wait_closed` the socket goes on answering for connections that have just ended, for two seconds or,
    where packets were lost, up to peer_timeout: their peers may not have heard the last acknowledgement. As
    long the port is in use. One that nobody refers to any more is closed, with a ResourceWarning.
    """

    def __init__(self, acceptor: Acceptor) -> None:
        super().__init__(acceptor)
        self._acceptor = acceptor

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that the listener is bound to."""
        return self._acceptor.driver.address

    @property
    def connections(self) -> list[Stream]:
        """The connections that are open now, accepted or waiting."""
        with self._acceptor.driver.lock:
            return self._acceptor.streams

    def listen(self, backlog: int = DEFAULT_BACKLOG) -> None:
        """Set how many connections may wait for `accept`; it listens already."""
        with self._acceptor.driver.lock:
            self._acceptor.set_backlog(backlog)

    def accept(self) -> tuple[Stream, Any]:
        """Wait for a connection and return it with its peer's (host, port)."""
        deadline = self._deadline()
        acceptor = self._acceptor
        with acceptor.driver.lock:
            while (stream := acceptor.accept()) is None:
                self._wait(acceptor.is_readable, deadline)
            return stream, stream.getpeername()

    def close(self) -> None:
        """Accept no more connections; those that were accepted go on, those that wait are ended."""
        self._is_closed = True
        # At once: if there are no connections, the port is free by then.
        self._acceptor.release()

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the listener is closed and its connections are over, or raise TimeoutError."""
        acceptor = self._acceptor
        with acceptor.driver.lock:
            if not acceptor.driver.wait(acceptor.changed, lambda: acceptor.is_over, timeout):
                raise TimeoutError("timed out")


class Acceptor(Served):
    """What a driver keeps of a listener: the connections that have come in, and those that wait."""

    def __init__(self, udp_socket: UdpSocket, config: UtpConfig | None, backlog: int) -> None:
        self._endpoint = UtpEndpoint(os.urandom, config)
        super().__init__(Driver(self._endpoint, udp_socket, self._on_event))
        self._waiting: deque[Stream] = deque()
        self._streams: dict[Connection, weakref.ref[Stream]] = {}
        self.set_backlog(backlog)
        self.driver.on_exit = self._turn_away
        self.driver.start()

    @property
    def is_over(self) -> bool:
        """Whether it is closed, and all that it accepted is over."""
        return self.is_closed and not self._streams

    @property
    def streams(self) -> list[Stream]:
        """The connections that are open, but for those that the program has dropped."""
        return [stream for known in self._streams.values() if (stream := known()) is not None]

    def is_readable(self) -> bool:
        """Return whether `accept` returns or raises something at once."""
        return self.is_closed or bool(self._waiting)

    def is_writable(self) -> bool:
        """Return False: there is nothing to send."""
        return False

    def set_backlog(self, backlog: int) -> None:
        """Set how many may wait. Raises OSError once closed."""
        self._check_open()
        # As the kernel has it for TCP: none at all would be of no use.
        self._backlog = max(operator.index(backlog), 1)
        self._make_places()

    def accept(self) -> Stream | None:
        """Return a connection, None if none waits. Raises OSError once closed."""
        self._check_open()
        if not self._waiting:
            return None
        stream = self._waiting.popleft()
        self._make_places()
        self.show()
        return stream

    def close(self) -> None:
        """Accept no more connections; end those that wait."""
        self.is_closed = True
        self._turn_away()
        self.tell()
        self._close_if_over()

    def _turn_away(self) -> None:
        self._endpoint.accepting = False
        while self._waiting:
            self._waiting.popleft().abort()

    def _check_open(self) -> None:
        if self.is_closed:
            raise OSError(errno.EBADF, "the listener is closed")

    def _make_places(self) -> None:
        self._endpoint.places = max(self._backlog - len(self._waiting), 0)
        # Some may have waited for it.
        self.driver.drain()

    def _on_event(self, event: UtpEvent) -> None:
        if isinstance(event, ConnectionAccepted):
            if self.is_closed:
                event.connection.abort(self.driver.now)
                return
            connection = event.connection.context or Connection(self.driver, event.connection, self._on_lost)
            if connection not in self._streams and not connection.is_released:
                stream = Stream(connection)
                known = weakref.ref(stream)
                # Nothing interrupts between these two.
                self._streams[connection] = known
                self._waiting.append(stream)
            self.tell()
        dispatch(event)

    def _on_lost(self, connection: Connection) -> None:
        self._streams.pop(connection, None)
        self.tell()
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self.is_over:
            self.driver.close_when(lambda: not len(self._endpoint))


def _dial(
    remote: Address, source_address: Address | None, config: UtpConfig | None, on_change: Callable[[], None]
) -> Connection:
    """Begin to open a connection that has a socket and a driver of its own."""
    udp_socket = UdpSocket.bind(*(source_address or any_address_like(remote)))
    udp_socket.hear_unreachable(True)
    endpoint = UtpEndpoint(os.urandom, config)
    endpoint.accepting = False
    driver = Driver(endpoint, udp_socket, dispatch)
    try:
        with driver.lock:
            connection = Connection(
                driver,
                endpoint.connect(remote, driver.now),
                lambda _: _linger(driver, endpoint),
            )
            connection.on_change = on_change
            driver.drain()
        driver.start()
    except BaseException:
        driver.close()
        raise
    return connection


# Entered by finalizers too, in the midst of whatever a thread was doing.
_lingering_lock = threading.RLock()
_lingering: list[weakref.ref[Driver]] = []


def _linger(driver: Driver, endpoint: UtpEndpoint) -> None:
    """Keep a dial's driver for as long as its peer may have something to hear, but not too many of them."""
    driver.close_when(lambda: not len(endpoint))
    with _lingering_lock:
        others = [known for ref in _lingering if (known := ref()) is not None]
        lingering = [known for known in others if known is not driver and not known.is_closed] + [driver]
        _lingering[:] = map(weakref.ref, lingering[-MAX_LINGERING:])
    for known in lingering[:-MAX_LINGERING]:
        # Each is closed by its own thread: this one holds the lock of its driver.
        known.call_soon(partial(_let_go, known))


def _let_go(driver: Driver) -> None:
    for connection in parting(driver.machine):
        connection.abort(driver.now)
    driver.close()
