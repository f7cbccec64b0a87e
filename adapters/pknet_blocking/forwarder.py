"""The other half of a pipe: a local TCP port whose connections go to a node."""

from __future__ import annotations

import selectors
import socket as sockets
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet.network import NodeId
    from pknet_blocking.driver import Driver

    OnConnection = Callable[["Forwarder", sockets.socket, tuple[str, int]], None]

__all__ = ["Forwarder"]

# Connections taken in one wake-up.
MAX_ACCEPTS = 16
# Seconds to rest when the system has no room for another connection.
REST_TIME = 1.0


class Forwarder:
    """A local TCP port whose connections go to a node; get one from `Network.forward`.

    `failures` counts the connections that were closed because the node could not be reached.
    """

    def __init__(
        self,
        node_id: NodeId,
        on_connection: OnConnection,
        on_close: Callable[[Forwarder], None],
        driver: Driver,
    ) -> None:
        self.node_id = node_id
        self.failures = 0
        self.address = ("", 0)
        """The (host, port) that is listened on."""
        self._on_connection = on_connection
        self._on_close = on_close
        self._driver = driver
        self._listener: sockets.socket | None = None
        self._rest: threading.Timer | None = None

    def listen(self, host: str, port: int) -> None:
        """Open the port. Raises OSError if that fails."""
        family = sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM)[0][0]
        self._listener = sockets.create_server((host, port), family=family)
        self._listener.setblocking(False)
        self.address = self._listener.getsockname()[:2]
        self._driver.watch(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Listen no more; connections that are open go on."""
        with self._driver.lock:
            if self._listener is not None:
                self._driver.watch(self._listener, 0, self._accept)
                self._listener.close()
                self._listener = None
            if self._rest is not None:
                self._rest.cancel()
                self._rest = None
            self._on_close(self)

    def _accept(self) -> None:
        """Take the connections that wait; the driver's lock is held."""
        for _ in range(MAX_ACCEPTS):
            if self._listener is None:
                return
            try:
                tcp, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # No file descriptor is left, say. The connection goes on waiting, and would wake us at once.
                self._driver.watch(self._listener, 0, self._accept)
                self._rest = threading.Timer(REST_TIME, self._accept_again)
                self._rest.daemon = True
                self._rest.start()
                return
            self._on_connection(self, tcp, address[:2])

    def _accept_again(self) -> None:
        with self._driver.lock:
            self._rest = None
            if self._listener is not None:
                self._driver.watch(self._listener, selectors.EVENT_READ, self._accept)
