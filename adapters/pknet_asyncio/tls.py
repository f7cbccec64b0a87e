"""TLS between a transport and the program's protocol: asyncio's own."""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

__all__ = ["TlsProtocol", "programs_transport"]


class TlsProtocol(SSLProtocol):
    """Give this to a transport as its protocol, and `protocol` gets the transport that is inside of TLS.

    That is how `loop.create_connection(ssl=...)` does it, for which asyncio has no public name: `start_tls`
    is for a protocol that has been told of its connection before, and would hand data to a new one too early.
    `context`: None for a client that trusts what the system trusts. The timeouts are in seconds, None for
    asyncio's own.
    """

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext | None,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        handshake_timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.secured: asyncio.Future[None] = loop.create_future()
        """Done when the handshake is, and the protocol's `connection_made` was called."""
        # Whoever waits for it gets the exception; on a server nobody does, and it is not worth a word.
        self.secured.add_done_callback(lambda done: done.cancelled() or done.exception())
        super().__init__(
            loop,
            protocol,
            context,  # type: ignore[arg-type]
            self.secured,
            server_side,
            server_hostname,
            ssl_handshake_timeout=handshake_timeout,  # type: ignore[arg-type]
            ssl_shutdown_timeout=shutdown_timeout,
        )
        self.inside: asyncio.Transport = self._app_transport
        """The protocol's transport."""


def programs_transport(transport: asyncio.Transport) -> asyncio.Transport:
    """Return the transport that the program's protocol has: with TLS, the one inside."""
    protocol = transport.get_protocol()
    # `loop.start_tls` makes SSLProtocols of its own.
    inside = getattr(protocol, "_app_transport", None) if isinstance(protocol, SSLProtocol) else None
    return transport if inside is None else inside
