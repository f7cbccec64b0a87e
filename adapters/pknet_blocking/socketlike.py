"""What streams and listeners have in common with sockets."""

from __future__ import annotations

import errno
import io
import os
import socket as sockets
import time
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, Self

from pknet_io.options import set_for_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from pknet_blocking.served import Served

__all__ = ["SocketLike", "check_timeout"]


class SocketLike:
    """A timeout, a name, a file descriptor to select on, and an end: also when the program just drops it.

    What a method waits for is bounded by `settimeout`; past it, TimeoutError is raised. With a timeout of 0
    nothing is waited for, and BlockingIOError is raised. After `close` there is OSError (EBADF).
    """

    type = sockets.SOCK_STREAM
    proto = sockets.IPPROTO_UDP

    def __init__(self, served: Served) -> None:
        self._served = served
        self._timeout: float | None = None
        self._is_closed = False

    @property
    def family(self) -> sockets.AddressFamily:
        """AF_INET or AF_INET6."""
        return sockets.AF_INET6 if ":" in self._served.driver.address[0] else sockets.AF_INET

    def settimeout(self, timeout: float | None) -> None:
        """Set how many seconds a method may wait; None for as long as it takes, 0 for not at all."""
        check_timeout(timeout)
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """Return what `settimeout` set."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """What `settimeout` set."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Let methods wait for as long as it takes, or not at all."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Return whether methods may wait."""
        return self._timeout != 0

    def getsockname(self) -> tuple[str, int]:
        """Return the (host, port) that the UDP socket is bound to."""
        self._check_open()
        return self._served.driver.address

    def setsockopt(self, *args: Any) -> None:
        """Set an option of the UDP socket, as socket.setsockopt does; one that only TCP has is passed over.

        The socket may have other streams beside this one: what is set holds for them too.
        """
        self._check_open()
        set_for_stream(self._served.driver.socket.sock, *args)

    def getsockopt(self, *args: Any) -> Any:
        """Return an option of the UDP socket, as socket.getsockopt does."""
        self._check_open()
        return self._served.driver.socket.sock.getsockopt(*args)

    def fileno(self) -> int:
        """Return a file descriptor to select on, and for nothing else; -1 once closed.

        It is made when it is first asked for: one end of a socket pair, which the driver makes readable and
        writable when a method would not wait.
        """
        return self._served.fileno()

    def detach(self) -> NoReturn:
        """Raise io.UnsupportedOperation: what is sent and received does not go through a file descriptor."""
        raise io.UnsupportedOperation("there is no file descriptor that could be used in its place")

    def close(self) -> None:
        """Close; harmless when repeated."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if not hasattr(self, "_served"):
            # Its making was interrupted.
            return
        is_abandoned = not (self._is_closed or self._served.is_closed)
        self._served.release_soon()
        if is_abandoned:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        closed = "closed " if self._is_closed else ""
        return f"<{closed}{type(self).__qualname__} {self._describe()}>"

    def _describe(self) -> str:
        return f"laddr={self._served.driver.address}"

    def _check_open(self) -> None:
        if self._served.is_released:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self, is_ready: Callable[[], Any], deadline: float | None) -> None:
        """Wait until `is_ready()`; the driver's lock is held."""
        if is_ready():
            return
        if self._timeout == 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        if not self._served.driver.wait(self._served.changed, is_ready, left):
            raise TimeoutError("timed out")


def check_timeout(timeout: float | None) -> None:
    """Raise ValueError if nobody can wait for so many seconds."""
    if timeout is not None and timeout < 0:
        raise ValueError("Timeout value out of range")
