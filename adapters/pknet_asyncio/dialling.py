"""Dials of plain uTP: those of one event loop share a UDP socket, as long as nothing says otherwise."""

from __future__ import annotations

import asyncio
import os
import weakref
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pknet.utp import UtpEndpoint
from pknet_asyncio.arguments import TlsArguments, look_up
from pknet_asyncio.connections import dispatch, make_transport
from pknet_asyncio.driver import Driver
from pknet_asyncio.race import first_to_succeed
from pknet_asyncio.tls import TlsProtocol
from pknet_io.names import ATTEMPT_DELAY, any_address_like
from pknet_io.udp import UdpSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from pknet.utp import UtpConfig
    from pknet_asyncio.transport import StreamTransport
    from pknet_io.addresses import Address

__all__ = ["Dialler", "dial", "dial_shared", "open_connection"]

P = TypeVar("P", bound=asyncio.BaseProtocol)

# So many sockets of a loop may be kept for dials that are over, to acknowledge the peer's end again.
MAX_LINGERING = 16


class Dialler:
    """A UDP socket that connections are dialled from.

    Once it is released, it is closed as soon as none is left: not even one that lingers.
    """

    def __init__(self, udp_socket: UdpSocket, config: UtpConfig | None) -> None:
        self._endpoint = UtpEndpoint(os.urandom, config)
        self._endpoint.accepting = False
        self._driver = Driver(self._endpoint, udp_socket, dispatch)
        self._dialling = 0

    @property
    def is_closed(self) -> bool:
        """Whether the socket is closed."""
        return self._driver.is_closed

    @property
    def address(self) -> Address:
        """The (host, port) that the socket is bound to."""
        return self._driver.socket.address

    async def dial(self, remote: Address) -> StreamTransport:
        """Open a connection; return its transport, which has no protocol yet."""
        driver = self._driver
        self._dialling += 1
        # libuv stops watching a socket that has an error, and is never told why.
        driver.socket.hear_unreachable(isinstance(driver.loop, asyncio.SelectorEventLoop))
        try:
            return await dial(driver, self._endpoint, remote, self._on_lost)
        finally:
            self._dialling -= 1
            if not self._dialling and not driver.is_closed:
                driver.socket.hear_unreachable(False)

    def release(self) -> None:
        """Close the socket as soon as no connection is left; what is dialled until then may use it."""
        self._driver.close_when(self._is_idle)

    def let_go(self) -> None:
        """Close the socket now if no connection is left but such as linger."""
        if not self._driver.transports:
            for connection in self._endpoint.connections:
                connection.abort(self._driver.now)
            self._driver.close()

    def _on_lost(self, _: StreamTransport) -> None:
        self._driver.drain_soon()
        if not self._driver.transports:
            _linger(self, self._driver.loop)

    def _is_idle(self) -> bool:
        return not len(self._endpoint) and not self._driver.transports


_Shared = weakref.WeakValueDictionary[tuple[bool, "UtpConfig | None"], Dialler]
_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = weakref.WeakKeyDictionary()


_lingering: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[weakref.ref[Dialler]]] = (
    weakref.WeakKeyDictionary()
)


def _linger(dialler: Dialler, loop: asyncio.AbstractEventLoop) -> None:
    """Note that a dialler has only what lingers; if there are too many, let go of the first."""
    others = [known for ref in _lingering.get(loop, ()) if (known := ref()) is not None]
    lingering = [known for known in others if known is not dialler and not known.is_closed] + [dialler]
    _lingering[loop] = [weakref.ref(known) for known in lingering[-MAX_LINGERING:]]
    for known in lingering[:-MAX_LINGERING]:
        known.let_go()


async def dial_shared(config: UtpConfig | None, remote: Address) -> StreamTransport:
    """Dial from the socket that the running loop has for this very config and the address's family."""
    of_loop = _shared.setdefault(asyncio.get_running_loop(), weakref.WeakValueDictionary())
    key = ":" in remote[0], config
    dialler = of_loop.get(key)
    if dialler is None or dialler.is_closed:
        dialler = of_loop[key] = Dialler(UdpSocket.bind(*any_address_like(remote)), config)
        # It is looked at after this callback of the loop, and by then there is a connection.
        dialler.release()
    return await dialler.dial(remote)


async def dial(
    driver: Driver, endpoint: UtpEndpoint, remote: Address, on_lost: Callable[[StreamTransport], None]
) -> StreamTransport:
    """Open a connection of the driver's endpoint; return its transport, which has no protocol yet."""
    transport = make_transport(driver, endpoint.connect(remote, driver.now), None, on_lost)
    driver.drain()
    try:
        await transport.opened
    except BaseException:
        _give_up(transport)
        raise
    return transport


async def open_connection(
    protocol_factory: Callable[[], P],
    host: str,
    port: int,
    own: Address | None,
    dial_one: Callable[[Address], Coroutine[Any, Any, StreamTransport]],
    tls: TlsArguments,
) -> tuple[asyncio.Transport, P]:
    """Dial the addresses of a host until one answers; return its (transport, protocol).

    `own`: what is dialled from, None if all families can be. `dial_one` dials one of them.
    """
    remotes = await look_up(host, port, own)
    transport = await first_to_succeed(
        [partial(dial_one, remote) for remote in remotes],
        ATTEMPT_DELAY,
        _give_up,
    )
    try:
        protocol = protocol_factory()
        if not tls.ssl:
            transport.begin(protocol)
            return transport, protocol
        secure = TlsProtocol(
            protocol,
            None if isinstance(tls.ssl, bool) else tls.ssl,
            server_side=False,
            server_hostname=host if tls.server_hostname is None else tls.server_hostname,
            handshake_timeout=tls.handshake_timeout,
            shutdown_timeout=tls.shutdown_timeout,
        )
        transport.begin(secure)
        await secure.secured
    except BaseException:
        _give_up(transport)
        raise
    return secure.inside, protocol


def _give_up(transport: StreamTransport) -> None:
    """End what `dial` began, at once; the peer may have answered already, and is told."""
    transport.abort()
    transport.driver.drain()
