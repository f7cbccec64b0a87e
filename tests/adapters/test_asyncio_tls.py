"""TLS over uTP by the standard library: `ssl=`, and `start_tls`."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from pknet_asyncio import create_utp_server, open_utp_connection, start_utp_server
from tests.adapters.certificates import tls_contexts
from tests.adapters.harness import digest, open_sockets, until
from tests.adapters.protocols import ClosingProtocol, Protocol, connect, unhandled_exceptions
from tests.adapters.silent_peer import silent_peer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(30)

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    """The contexts of a server and of a client that trusts it."""
    return tls_contexts(tmp_path)


class Greeting(ClosingProtocol):
    """Speaks first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"220 ready\r\n")


async def until_told(accepted: Any) -> Any:
    """Wait for the server's half of the handshake and return the server's protocol."""
    protocol = accepted.get_protocol()
    await until(lambda: protocol.told)
    return protocol


async def test_4_mib_pass_each_way_by_tls(contexts: Contexts) -> None:
    there, back = os.urandom(4 << 20), os.urandom(4 << 20)
    received = asyncio.get_running_loop().create_future()

    async def swap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(back)
        received.set_result(await reader.readexactly(len(there)))
        await writer.drain()
        writer.close()

    async with await start_utp_server(swap, "127.0.0.1", ssl=contexts[0]) as server:
        reader, writer = await open_utp_connection(*server.address, ssl=contexts[1])
        writer.write(there)
        assert digest(await reader.read()) == digest(back)
        assert digest(await received) == digest(there)
        writer.close()
        await writer.wait_closed()


async def test_both_sides_are_told_of_the_connection_before_what_comes_by_it(contexts: Contexts) -> None:
    class Eager(Greeting):
        def __init__(self) -> None:
            super().__init__()
            accepted.append(self)

    accepted: list[Eager] = []
    async with await create_utp_server(Eager, "127.0.0.1", ssl=contexts[0]) as server:
        transport = await connect(server.address, protocol := Greeting(), ssl=contexts[1])
        assert transport is protocol.transport
        await until(lambda: protocol.received and accepted[0].received)
        assert protocol.received == accepted[0].received == b"220 ready\r\n"
        assert protocol.told == accepted[0].told == ["made", "data"]
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert transport.get_extra_info("peername") == server.address
        assert transport.get_extra_info("utp_connection").state == "CONNECTED"
        transport.close()


async def test_the_host_is_what_the_certificate_has_to_be_for(contexts: Contexts) -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1", ssl=contexts[0]) as server:
        for name in (None, "example.org"):
            transport = await connect(server.address, Protocol(), ssl=contexts[1], server_hostname=name)
            transport.close()
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await connect(server.address, Protocol(), ssl=contexts[1], server_hostname="example.com")


@pytest.mark.parametrize("stranger", [True, ssl.create_default_context()])
async def test_a_certificate_that_is_not_trusted_ends_the_dial_and_leaves_nothing(
    contexts: Contexts, stranger: Any
) -> None:
    async with await create_utp_server(Protocol, "127.0.0.1", ssl=contexts[0]) as server:
        before = open_sockets()
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server.address, protocol := Protocol(), ssl=stranger)
        assert protocol.told == []
        assert open_sockets().items() <= before.items()
        # Nor does it cost the server anything but that connection.
        await until(lambda: not server.connections)


async def test_a_client_that_speaks_no_tls_is_dropped_and_the_program_not_told(contexts: Contexts) -> None:
    made: list[Protocol] = []

    def make() -> Protocol:
        made.append(Protocol())
        return made[-1]

    unhandled = unhandled_exceptions()
    async with await create_utp_server(make, "127.0.0.1", ssl=contexts[0]) as server:
        transport = await connect(server.address, protocol := Protocol())
        transport.write(b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert made[0].told == []
    assert unhandled == []


async def test_a_peer_that_never_shakes_hands_is_given_up(contexts: Contexts) -> None:
    async with silent_peer() as address:
        with pytest.raises(ConnectionAbortedError, match="handshake"):
            await connect(address, Protocol(), ssl=contexts[1], ssl_handshake_timeout=0.2)


async def test_a_dial_that_is_cancelled_in_the_handshake_leaves_nothing(contexts: Contexts) -> None:
    async with silent_peer() as address:
        before = open_sockets()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connect(address, Protocol(), ssl=contexts[1])
        assert open_sockets().items() <= before.items()


async def test_a_server_ends_tls_in_peace_when_it_closes_its_clients(contexts: Contexts) -> None:
    async with await create_utp_server(Protocol, "127.0.0.1", ssl=contexts[0]) as server:
        await connect(server.address, protocol := ClosingProtocol(), ssl=contexts[1])
        (accepted,) = server.connections
        await until_told(accepted)
        accepted.write(b"good bye")
        server.close_clients()
        server.close_clients()
        assert accepted.get_extra_info("sockname") == server.address
        assert await protocol.lost is None
        # The end is that of TLS, and not a cut.
        assert protocol.told == ["made", "data", "eof", "lost"]


async def test_an_abort_within_tls_resets_the_connection(contexts: Contexts) -> None:
    async with await create_utp_server(Protocol, "127.0.0.1", ssl=contexts[0]) as server:
        transport = await connect(server.address, protocol := Protocol(), ssl=contexts[1])
        (accepted,) = server.connections
        peer = await until_told(accepted)
        transport.abort()
        assert await protocol.lost is None
        assert isinstance(await peer.lost, ConnectionResetError)


async def test_a_stream_that_is_open_is_upgraded_by_start_tls(contexts: Contexts) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.start_tls(contexts[0])
        writer.write((await reader.readline()).upper())
        writer.close()

    async with await start_utp_server(upgrade, "127.0.0.1") as server:
        reader, writer = await open_utp_connection(*server.address)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go ahead\n"
        await writer.start_tls(contexts[1], server_hostname="example.org")
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.write(b"a secret\n")
        assert await reader.read() == b"A SECRET\n"
        writer.close()
        await writer.wait_closed()
