"""Plain uTP for programs that block, as the `socket` module is for TCP."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from pknet.utp import ConnectionAccepted, UtpConfig, UtpEndpoint, UtpEvent
from pknet_blocking.driver import Driver
from pknet_blocking.stream import Stream
from pknet_io.names import any_address_like, resolve
from pknet_io.udp import UdpSocket

if TYPE_CHECKING:
    import socket

    from pknet.utp import UtpConnection

__all__ = ["UtpListener", "create_connection", "create_server"]


def create_connection(
    address: tuple[str, int],
    timeout: float | None = None,
    *,
    source_address: tuple[str, int] | None = None,
    config: UtpConfig | None = None,
) -> Stream:
    """Open a uTP connection to (host, port) and return it, as socket.create_connection does for TCP.

    `timeout` (seconds) bounds the dialling and then every method of the stream. Raises TimeoutError if nobody
    answers, ConnectionRefusedError if the connection is refused, OSError if the name can't be resolved or
    bound.
    """
    remote = resolve(*address)[0]
    udp_socket = UdpSocket.bind(*(source_address or any_address_like(remote)))
    endpoint = UtpEndpoint(os.urandom, config)
    endpoint.accepting = False
    driver = Driver(endpoint, udp_socket, _dispatch)
    with driver.lock:
        connection = endpoint.connect(remote, driver.now)
        stream = Stream(driver, connection, lambda _: driver.close_when(lambda: not len(endpoint)))
        _deliver_before_exit(driver, endpoint)
        driver.drain()
    driver.start()
    try:
        stream.wait_open(timeout)
    except BaseException:
        # The peer may have answered already: it is told.
        stream.abort()
        driver.close()
        driver.join()
        raise
    stream.settimeout(timeout)
    return stream


def create_server(
    address: tuple[str, int] = ("0.0.0.0", 0),
    *,
    sock: socket.socket | None = None,
    config: UtpConfig | None = None,
    backlog: int = 128,
) -> UtpListener:
    """Bind to (host, port) and return a listener, as socket.create_server does for TCP.

    `sock`: a bound UDP socket to use instead; the listener owns it from then on. `backlog`: how many
    connections may wait for `accept`; more are refused. Raises OSError if the address can't be bound.
    """
    udp_socket = UdpSocket.bind(*resolve(*address)[0]) if sock is None else UdpSocket(sock)
    return UtpListener(udp_socket, config, backlog)


class UtpListener:
    """A uTP server: connections come in until it is closed, and wait for `accept`.

    After `wait_closed` the socket goes on answering for connections that have just ended, for about two
    seconds: their peers may not have heard the last acknowledgement. As long the port is in use.
    """

    def __init__(self, udp_socket: UdpSocket, config: UtpConfig | None, backlog: int) -> None:
        self._backlog = backlog
        self._waiting: deque[Stream] = deque()
        self._streams: set[Stream] = set()
        self._timeout: float | None = None
        self._closed = False
        self._endpoint = UtpEndpoint(os.urandom, config)
        self._driver = Driver(self._endpoint, udp_socket, self._on_event)
        self._changed = threading.Condition(self._driver.lock)
        _deliver_before_exit(self._driver, self._endpoint)
        self._driver.start()

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that the listener is bound to."""
        return self._driver.socket.address

    @property
    def connections(self) -> list[Stream]:
        """The connections that are open now, accepted or waiting."""
        with self._changed:
            return list(self._streams)

    def accept(self) -> tuple[Stream, Any]:
        """Wait for a connection and return it with its peer's (host, port).

        Raises TimeoutError past what `settimeout` set, OSError if the listener is closed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting or self._closed, self._timeout):
                raise TimeoutError("timed out")
            if not self._waiting:
                raise OSError("the listener is closed")
            stream = self._waiting.popleft()
            return stream, stream.getpeername()

    def settimeout(self, timeout: float | None) -> None:
        """Set how many seconds `accept` may wait; None for as long as it takes."""
        self._timeout = timeout

    def getsockname(self) -> tuple[str, int]:
        """Return the (host, port) that the listener is bound to."""
        return self.address

    def close(self) -> None:
        """Accept no more connections; those that were accepted go on, those that wait are ended."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._endpoint.accepting = False
            while self._waiting:
                self._waiting.popleft().abort()
            self._changed.notify_all()
            self._close_if_done()

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the listener is closed and its connections are over, or raise TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._closed and not self._streams,
                None if deadline is None else deadline - time.monotonic(),
            ):
                raise TimeoutError("timed out")

    def __enter__(self) -> Self:
        """Return the listener."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the listener."""
        self.close()

    def _on_event(self, event: UtpEvent) -> None:
        if isinstance(event, ConnectionAccepted):
            if self._closed or len(self._waiting) >= self._backlog:
                event.connection.abort(self._driver.now)
                return
            stream = Stream(self._driver, event.connection, self._on_lost)
            self._streams.add(stream)
            self._waiting.append(stream)
            self._changed.notify_all()
        _dispatch(event)

    def _on_lost(self, stream: Stream) -> None:
        self._streams.discard(stream)
        self._changed.notify_all()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._closed and not self._streams:
            self._driver.close_when(lambda: not len(self._endpoint))


def _deliver_before_exit(driver: Driver, endpoint: UtpEndpoint) -> None:
    """Have the end of the program see to what was closed by then, as the kernel does for TCP."""

    def closed() -> list[UtpConnection]:
        return [connection for connection in endpoint.connections if connection.is_closing]

    def abandon() -> None:
        for connection in endpoint.connections:
            connection.abort(driver.now)

    driver.deliver_before_exit(
        lambda: not any(connection.unacknowledged for connection in closed()),
        lambda: not closed(),
        abandon,
    )


def _dispatch(event: UtpEvent) -> None:
    """Hand an event to the stream of its connection."""
    if event.connection.context is not None:
        event.connection.context.handle_event(event)
