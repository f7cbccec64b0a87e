"""asyncssh, which knows nothing of uTP, runs commands and moves files over it as it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from pknet_asyncio import UtpServer, create_utp_connection, create_utp_server
from tests.adapters.harness import digest, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.peer, pytest.mark.timeout(60)]

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")
MUCH = os.urandom(4 << 20)


class Utp:
    """What asyncssh calls a tunnel: whatever opens its connections."""

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]:
        return await create_utp_connection(protocol_factory, host, port)

    async def create_server(
        self, protocol_factory: Callable[[str, int], Any], host: str, port: int
    ) -> UtpServer:
        return await create_utp_server(lambda: protocol_factory(host, port), host, port)


async def run(process: asyncssh.SSHServerProcess[str]) -> None:
    """Run a command of the client."""
    if process.command == "shout":
        process.stdout.write((await process.stdin.read()).upper())
        process.exit(0)
    else:
        process.stderr.write(f"{process.command}: not found\n")
        process.exit(127)


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[asyncssh.SSHClientConnection, asyncssh.SSHAcceptor]]:
    """Give a client's connection to a server that has a folder for SFTP."""
    async with await asyncssh.listen(
        "127.0.0.1",
        0,
        tunnel=Utp(),
        server_host_keys=[HOST_KEY],
        authorized_client_keys=asyncssh.import_authorized_keys(USER_KEY.export_public_key().decode()),
        process_factory=run,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(folder)),
    ) as server:
        async with asyncssh.connect(
            "127.0.0.1",
            server.get_port(),
            tunnel=Utp(),
            config=None,
            compression_algs=None,
            username="somebody",
            client_keys=[USER_KEY],
            known_hosts=asyncssh.import_known_hosts(f"* {HOST_KEY.export_public_key().decode()}"),
        ) as client:
            yield client, server


async def test_a_command_is_run(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server):
        assert client.get_extra_info("peername") == server.get_addresses()[0]
        result = await client.run("shout", input="hello\n" * 100_000)
        assert (result.exit_status, result.stdout) == (0, "HELLO\n" * 100_000)
        result = await client.run("whisper")
        assert (result.exit_status, result.stderr) == (127, "whisper: not found\n")
        sent = client.get_extra_info("utp_connection").stats().bytes_sent
        assert sent > len("hello\n" * 100_000)


async def test_commands_run_beside_each_other_on_one_connection(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server):
        results = await asyncio.gather(
            *(client.run("shout", input=f"number {number}\n") for number in range(20))
        )
        assert [result.stdout for result in results] == [f"NUMBER {number}\n" for number in range(20)]
        assert len(server.connections) == 1


async def test_4_mib_go_by_sftp_and_come_back(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "here").write_bytes(MUCH)
    async with connected(tmp_path / "server") as (client, _):
        async with client.start_sftp_client() as sftp:
            await sftp.put(tmp_path / "here", "there")
            assert digest((tmp_path / "server" / "there").read_bytes()) == digest(MUCH)
            await sftp.get("there", tmp_path / "back")
    assert digest((tmp_path / "back").read_bytes()) == digest(MUCH)


async def test_who_has_not_the_key_stays_outside(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, server):
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(
                "127.0.0.1",
                server.get_port(),
                tunnel=Utp(),
                config=None,
                username="somebody",
                client_keys=[asyncssh.generate_private_key("ssh-ed25519")],
                known_hosts=None,
            )
        await until(lambda: len(server.connections) == 1)
