"""The rules that asyncio's documentation has for transports and protocols, kept over uTP."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

import pknet_asyncio
from pknet.utp import UtpConfig, UtpConnection
from tests.adapters.harness import digest, until
from tests.adapters.protocols import (
    BufferedProtocol,
    ClosingProtocol,
    Protocol,
    connect,
    joined,
    unhandled_exceptions,
)
from tests.adapters.silent_peer import silent_peer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(30)

# More than the machines of both sides take.
MUCH = bytes(4 << 20)


# connection_made


async def test_no_protocol_is_made_for_a_dial_that_fails() -> None:
    made: list[Protocol] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            await pknet_asyncio.create_utp_connection(
                lambda: made.append(Protocol()), *deaf.getsockname(), config=UtpConfig(connect_timeout=0.2)
            )
    assert made == []


async def test_who_dials_is_told_that_the_protocol_could_not_be_made() -> None:
    def fail() -> Protocol:
        raise LookupError("no protocol today")

    async with await pknet_asyncio.create_utp_server(Protocol, "127.0.0.1") as server:
        with pytest.raises(LookupError, match="no protocol today"):
            await pknet_asyncio.create_utp_connection(fail, *server.address)


async def test_a_server_whose_protocol_could_not_be_made_resets_and_goes_on() -> None:
    unhandled = unhandled_exceptions()
    failures = [LookupError("no protocol today")]

    def fail_once() -> Protocol:
        if failures:
            raise failures.pop()
        return Protocol()

    async with await pknet_asyncio.create_utp_server(fail_once, "127.0.0.1") as server:
        await connect(server.address, refused := Protocol())
        assert isinstance(await refused.lost, ConnectionResetError)
        assert unhandled == ["no protocol today"]
        transport = await connect(server.address, Protocol())
        await until(lambda: server.connections)
        transport.close()
        server.close_clients()


# data_received, buffer_updated


async def test_a_transport_can_be_given_to_another_kind_of_protocol_between_two_pieces() -> None:
    class Upgrading(Protocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(buffered)

    buffered = BufferedProtocol()
    async with joined(Upgrading) as (here, there):
        there.transport.write(b"upgrade")
        await until(lambda: here.received == b"upgrade")
        assert here.transport.get_protocol() is buffered
        there.transport.write(b"as you wish")
        there.transport.close()
        assert await buffered.lost is None
        assert buffered.received == b"as you wish"


async def test_a_buffered_protocol_that_pauses_gets_no_more_until_it_resumes() -> None:
    class Sipping(BufferedProtocol):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    async with joined(Sipping) as (here, there):
        there.transport.write(bytes(2000))
        for expected in (700, 1400, 2000):
            await until(lambda: len(here.received) == expected)
            await until(lambda: here.transport.stream.readable == 2000 - expected)
            assert not here.transport.is_reading()
            here.transport.resume_reading()
        there.transport.close()
        assert await here.lost is None


async def test_a_buffered_protocol_without_room_loses_its_connection() -> None:
    unhandled = unhandled_exceptions()
    async with joined(lambda: BufferedProtocol(0)) as (here, there):
        there.transport.write(b"no room for this")
        assert isinstance(await here.lost, RuntimeError)
        assert unhandled == ["get_buffer() returned an empty buffer"]


# eof_received


async def test_a_protocol_that_says_nothing_about_the_end_has_its_side_closed() -> None:
    async with joined(make_other=ClosingProtocol) as (here, there):
        here.transport.write_eof()
        assert await there.lost is None
        assert there.told == ["made", "eof", "lost"]
        await until(lambda: here.told == ["made", "eof", "lost"])


async def test_a_protocol_that_wants_to_go_on_after_the_end_may_still_write() -> None:
    async with joined() as (here, there):
        assert here.transport.can_write_eof()
        here.transport.write_eof()
        here.transport.write_eof()
        await until(lambda: "eof" in there.told)
        assert not there.transport.is_closing()
        there.transport.writelines([b"still ", bytearray(b"here"), memoryview(b"!")])
        there.transport.close()
        assert await here.lost is None
        assert here.received == b"still here!"


# pause_reading


async def test_what_came_before_a_break_waits_for_a_protocol_that_does_not_read() -> None:
    async with joined() as (here, there):
        here.transport.pause_reading()
        here.transport.pause_reading()
        there.transport.write(b"the last of it")
        await until(lambda: here.transport.stream.readable)
        there.transport.abort()
        await until(lambda: here.transport.stream.state == "CLOSED")
        assert here.told == ["made"]
        here.transport.resume_reading()
        here.transport.resume_reading()
        assert isinstance(await here.lost, ConnectionResetError)
        assert here.received == b"the last of it"
        assert here.told == ["made", "data", "lost"]


async def test_a_protocol_that_does_not_read_learns_of_a_break_when_it_writes() -> None:
    async with joined() as (here, there):
        here.transport.pause_reading()
        there.transport.write(b"never read")
        await until(lambda: here.transport.stream.readable)
        there.transport.abort()
        await until(lambda: here.transport.stream.state == "CLOSED")
        here.transport.write(b"still there?")
        assert here.told == ["made"]
        assert isinstance(await here.lost, ConnectionResetError)
        assert here.told == ["made", "lost"]


async def test_a_protocol_that_waits_to_write_and_does_not_read_meanwhile_learns_of_a_break() -> None:
    async with joined() as (here, there):
        there.transport.pause_reading()
        here.transport.pause_reading()
        here.transport.write(MUCH)
        there.transport.write(b"never read")
        await until(lambda: here.transport.stream.readable)
        there.transport.abort()
        assert isinstance(await here.lost, ConnectionResetError)
        assert here.told == ["made", "pause", "lost"]


# connection_lost


async def test_an_abort_is_no_error_to_who_asked_for_it() -> None:
    async with joined() as (here, there):
        there.transport.pause_reading()
        here.transport.write(MUCH)
        here.transport.abort()
        assert here.transport.is_closing()
        # Never from within the call.
        assert "lost" not in here.told
        assert await here.lost is None
        assert isinstance(await there.lost, ConnectionResetError)


async def test_a_peer_that_breaks_what_was_closed_and_delivered_does_no_harm() -> None:
    async with joined() as (here, there):
        here.transport.write(b"good bye")
        here.transport.close()
        await until(lambda: there.received == b"good bye")
        await until(lambda: not here.transport.stream.unacknowledged)
        there.transport.abort()
        assert await here.lost is None


async def test_what_was_closed_and_could_not_be_delivered_is_an_error() -> None:
    async with silent_peer() as address:
        config = UtpConfig(peer_timeout=0.8, min_timeout=0.1, initial_timeout=0.2)
        transport = await connect(address, protocol := Protocol(), config=config)
        transport.write(b"good bye")
        transport.close()
        with pytest.raises(TimeoutError, match="8 bytes were not delivered"):
            raise await protocol.lost or AssertionError("nothing was said")


# write, pause_writing, resume_writing


@pytest.mark.parametrize("data", ["text", 5, [1, 2]])
async def test_what_is_written_has_to_be_bytes(data: Any) -> None:
    async with joined(make_other=ClosingProtocol) as (here, there):
        with pytest.raises(TypeError, match="bytes-like"):
            here.transport.write(data)
        here.transport.close()
        await there.lost
        assert there.received == b""


async def test_a_buffer_may_be_used_again_as_soon_as_it_was_written() -> None:
    async with joined(make_other=ClosingProtocol) as (here, there):
        buffer = bytearray(MUCH)
        here.transport.write(buffer)
        buffer[:] = b"\xff" * len(buffer)
        here.transport.close()
        await there.lost
        assert digest(there.received) == digest(MUCH)


async def test_limits_that_are_narrowed_hold_for_what_is_written_already() -> None:
    async with joined() as (here, there):
        there.transport.pause_reading()
        here.transport.set_write_buffer_limits(high=8 << 20)
        assert here.transport.get_write_buffer_limits() == (2 << 20, 8 << 20)
        here.transport.write(MUCH)
        assert here.told == ["made"]
        here.transport.set_write_buffer_limits(high=0)
        assert here.transport.get_write_buffer_limits() == (0, 0)
        assert here.told == ["made", "pause"]
        there.transport.resume_reading()
        await until(lambda: here.told == ["made", "pause", "resume"])
        assert here.transport.get_write_buffer_size() == 0


async def test_a_protocol_that_fails_to_pause_or_resume_keeps_its_connection() -> None:
    class Restless(Protocol):
        def pause_writing(self) -> None:
            raise LookupError("cannot pause")

        def resume_writing(self) -> None:
            raise LookupError("cannot resume")

    unhandled = unhandled_exceptions()
    async with joined(Restless, ClosingProtocol) as (here, there):
        here.transport.write(MUCH)
        here.transport.close()
        assert await here.lost is None
        assert digest(there.received) == digest(MUCH)
        assert unhandled == ["cannot pause", "cannot resume"]


async def test_the_loop_sends_a_file(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    async with joined(make_other=ClosingProtocol) as (here, there):
        there.transport.write(b"meanwhile")
        with (tmp_path / "file").open("rb") as file:
            sent = await asyncio.get_running_loop().sendfile(here.transport, file, 1000)
        assert sent == len(data) - 1000
        here.transport.close()
        await there.lost
        assert digest(there.received) == digest(data[1000:])
        assert here.transport.get_protocol() is here


async def test_a_file_that_nobody_takes_is_an_error() -> None:
    async with joined() as (here, there):
        there.transport.pause_reading()
        there.transport.write(b"not read while the file is sent")
        sending = asyncio.ensure_future(
            asyncio.get_running_loop().sendfile(here.transport, io.BytesIO(bytes(8 << 20)))
        )
        await until(lambda: here.transport.get_write_buffer_size())
        there.transport.abort()
        with pytest.raises(ConnectionError):
            await sending
        assert here.received == b""


# get_extra_info


async def test_a_transport_tells_its_addresses_and_its_connection() -> None:
    async with joined() as (here, there):
        ask, answer = here.transport.get_extra_info, there.transport.get_extra_info
        assert ask("peername") == answer("sockname") == ask("socket").getpeername()
        assert answer("peername")[1] == ask("sockname")[1] == ask("socket").getsockname()[1]
        assert ask("socket").family == socket.AF_INET
        assert ask("socket").type == socket.SOCK_DGRAM
        here.transport.write(b"12345")
        await until(lambda: there.received == b"12345")
        assert isinstance(ask("utp_connection"), UtpConnection)
        assert ask("utp_connection").stats().bytes_sent == 5
        assert answer("utp_connection").stats().bytes_received == 5
        assert str(ask("peername")) in repr(here.transport)
        assert ask("compression") is None
        assert ask("compression", "none") == "none"


async def test_a_server_on_all_addresses_knows_by_which_of_them_a_peer_came() -> None:
    accepted: list[Protocol] = []

    def accept() -> Protocol:
        accepted.append(Protocol())
        return accepted[-1]

    async with await pknet_asyncio.create_utp_server(accept) as server:
        transport = await connect(("127.0.0.2", server.address[1]), Protocol())
        await until(lambda: accepted)
        assert server.address[0] == "0.0.0.0"
        assert accepted[0].transport.get_extra_info("sockname") == ("127.0.0.2", server.address[1])
        transport.close()
        server.close_clients()


async def test_options_of_the_socket_can_be_set_and_those_of_tcp_are_passed_over() -> None:
    async with joined() as (here, _):
        sock = here.transport.get_extra_info("socket")
        # What programs made for TCP set without asking.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 33
        # And what would do harm to the other connections of a server can't be done.
        assert not hasattr(sock, "shutdown")
        assert not hasattr(sock, "close")
