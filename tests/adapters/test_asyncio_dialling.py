"""Which UDP port an asyncio program dials from: one for all, its own, or that of its server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pknet.utp import UtpConfig
from pknet_asyncio import create_utp_connection, create_utp_server, start_utp_server
from pknet_asyncio.dialling import MAX_LINGERING
from tests.adapters.certificates import tls_contexts
from tests.adapters.harness import open_sockets, until
from tests.adapters.protocols import ClosingProtocol, Protocol, connect

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(30)


def port_of(transport: Any) -> int:
    port: int = transport.get_extra_info("sockname")[1]
    return port


async def test_a_thousand_dials_one_after_the_other_need_one_socket() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        before = len(open_sockets())
        for _ in range(1000):
            transport = await connect(server.address, protocol := ClosingProtocol())
            transport.close()
            await protocol.lost
            assert len(open_sockets()) <= before + 1
    # When the last has lingered it is closed, and the next dial has another.
    await until(lambda: len(open_sockets()) < before)
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        transport = await connect(server.address, Protocol())
        transport.close()


async def test_dials_from_ports_of_their_own_that_are_over_do_not_pile_up() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        before = len(open_sockets())
        for _ in range(3 * MAX_LINGERING):
            protocol = ClosingProtocol()
            transport = await connect(server.address, protocol, local_addr=("127.0.0.1", 0))
            transport.close()
            assert await protocol.lost is None
            assert len(open_sockets()) <= before + MAX_LINGERING + 1


async def test_dials_share_a_port_if_they_are_configured_alike() -> None:
    one, other = UtpConfig(), UtpConfig(congestion_control="cubic")
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        dials = [(await connect(server.address, Protocol(), config=c)) for c in (None, None, one, one, other)]
        ports = [port_of(transport) for transport in dials]
        assert ports[0] == ports[1]
        assert ports[2] == ports[3]
        assert len(set(ports)) == 3
        assert dials[4].stats().congestion_control == "cubic"
        own = await connect(server.address, Protocol(), local_addr=("127.0.0.1", 0))
        assert port_of(own) not in ports
        for transport in (*dials, own):
            transport.close()


async def test_a_dial_that_is_given_up_harms_no_other_on_its_port() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1", start_serving=False) as refusing:
        async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
            transport = await connect(server.address, protocol := Protocol())
            with pytest.raises(ConnectionRefusedError):
                await connect(refusing.address, Protocol())
            dial = asyncio.ensure_future(connect(refusing.address, Protocol()))
            await asyncio.sleep(0)
            dial.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dial
            transport.write(b"!")
            await until(lambda: server.connections and server.connections[0].get_protocol().received)
            transport.close()
            assert await protocol.lost is None


async def test_a_server_dials_from_its_own_port() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        dialling = await create_utp_server(Protocol, "127.0.0.1")
        transport, protocol = await dialling.create_connection(Protocol, *server.address)
        assert transport.get_extra_info("sockname") == dialling.address
        await until(lambda: server.connections)
        assert server.connections[0].get_extra_info("peername") == dialling.address
        assert dialling.connections == [transport]
        dialling.close()
        closed = asyncio.ensure_future(dialling.wait_closed())
        transport.write(b"goes on")
        await until(lambda: server.connections[0].get_protocol().received == b"goes on")
        assert not closed.done()
        transport.close()
        assert await protocol.lost is None
        await closed
        with pytest.raises(RuntimeError, match="closed"):
            await dialling.create_connection(Protocol, *server.address)


async def test_a_server_that_gives_up_a_dial_goes_on_serving() -> None:
    async with await create_utp_server(ClosingProtocol, "127.0.0.1", start_serving=False) as refusing:
        async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
            with pytest.raises(ConnectionRefusedError):
                await server.create_connection(Protocol, *refusing.address)
            assert server.connections == []
            transport = await connect(server.address, Protocol())
            transport.close()


async def test_two_servers_that_dial_each_other_at_once_both_get_through() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async with (
        await start_utp_server(echo, "127.0.0.1") as one,
        await start_utp_server(echo, "127.0.0.1") as other,
    ):
        dials = await asyncio.gather(one.open_connection(*other.address), other.open_connection(*one.address))
        for number, (reader, writer) in enumerate(dials):
            writer.write(b"from %d" % number)
            writer.write_eof()
            assert await reader.read() == b"from %d" % number
            writer.close()
            await writer.wait_closed()


async def test_a_server_dials_by_tls(tmp_path: Path) -> None:
    theirs, ours = tls_contexts(tmp_path)
    async with await create_utp_server(ClosingProtocol, "127.0.0.1", ssl=theirs) as server:
        async with await create_utp_server(Protocol, "127.0.0.1") as dialling:
            transport, protocol = await dialling.create_connection(Protocol, *server.address, ssl=ours)
            assert transport.get_extra_info("peercert")
            transport.close()
            await protocol.lost
            with pytest.raises(ValueError, match="only meaningful with ssl"):
                await dialling.create_connection(Protocol, *server.address, server_hostname="example.org")


async def test_an_address_in_numbers_is_dialled_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", None)
    async with await create_utp_server(ClosingProtocol, "127.0.0.1") as server:
        transport = await connect(server.address, Protocol())
        transport.close()
    async with await create_utp_server(ClosingProtocol, "::1") as server:
        transport = await connect(server.address, Protocol())
        transport.close()


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (("127.0.0.1", "80"), {}, TypeError, "port: an int is needed, not 'str'"),
        (("127.0.0.1", None), {}, TypeError, "port: an int is needed, not 'NoneType'"),
        (("127.0.0.1", 0), {}, OSError, "port 0"),
        (("127.0.0.1", 65536), {}, OverflowError, "port must be"),
        ((None, 9), {}, TypeError, "host: a str is needed"),
        (("127.0.0.1", 9), {"ssl": "x"}, TypeError, "ssl: an SSLContext is needed, not 'str'"),
        (("127.0.0.1", 9), {"config": {}}, TypeError, "config: a UtpConfig is needed, not 'dict'"),
    ],
)
async def test_what_is_no_address_is_told_at_once(
    arguments: Any, options: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        await create_utp_connection(Protocol, *arguments, **options)
