"""What a blocking program has sent arrives though the program ends, or the program is told."""

from __future__ import annotations

import asyncio
import select
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import pknet_blocking
from pknet.utp import UtpConfig
from pknet_blocking import ending
from pknet_blocking.driver import Driver
from tests.adapters.ends import LOOPBACK
from tests.adapters.harness import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def listener() -> Iterator[pknet_blocking.UtpListener]:
    with pknet_blocking.create_server(LOOPBACK) as made:
        yield made


def receive_all(stream: pknet_blocking.Stream) -> int:
    received = 0
    while data := stream.recv(1 << 16):
        received += len(data)
    return received


def test_what_was_sent_on_a_stream_that_the_program_did_not_close_is_delivered(
    listener: pknet_blocking.UtpListener,
) -> None:
    program = (
        "import pknet_blocking, sys\n"
        "stream = pknet_blocking.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "stream.sendall(bytes(1_000_000))\n"
    )
    arguments = [sys.executable, "-c", program, str(listener.address[1])]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        with listener.accept()[0] as stream:
            assert receive_all(stream) == 1_000_000
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")


@pytest.fixture
def unread() -> Iterator[tuple[pknet_blocking.Stream, pknet_blocking.Stream]]:
    """Give a stream that more was sent on than there is room for at the other end, and that end."""
    with pknet_blocking.create_server(LOOPBACK, config=UtpConfig(receive_buffer=1 << 16)) as listener:
        ours = pknet_blocking.create_connection(listener.address, config=UtpConfig(send_buffer=1 << 20))
        theirs, _ = listener.accept()
        assert ours.send(bytes(1 << 20)) == 1 << 20
        yield ours, theirs
        ours.close()
        with pytest.raises(ConnectionResetError):
            receive_all(theirs)
        theirs.close()


def test_a_program_is_warned_of_what_it_sent_in_vain_on_a_stream_that_it_did_not_close(
    unread: tuple[pknet_blocking.Stream, pknet_blocking.Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "EXIT_TIME", 0.1)
    with pytest.warns(ResourceWarning, match="cut off by the end of the program: [0-9]+ bytes"):
        ending.deliver([unread[0]._connection.driver])


def test_what_was_closed_and_finds_no_taker_is_given_up_and_told(
    unread: tuple[pknet_blocking.Stream, pknet_blocking.Stream],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ending, "EXIT_TIME", 0.1)
    address = unread[0].getpeername()
    unread[0].close()
    ending.deliver([unread[0]._connection.driver])
    (told,) = caplog.messages
    assert f"to {address}: " in told
    assert "bytes were not delivered" in told


async def test_the_end_waits_for_all_who_do_not_end_together_and_not_for_one_after_another(
    listener: pknet_blocking.UtpListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dial() -> tuple[pknet_blocking.Stream, pknet_blocking.Stream]:
        return pknet_blocking.create_connection(listener.address), listener.accept()[0]

    ends = [await asyncio.to_thread(dial) for _ in range(3)]
    for ours, _ in ends:
        ours.sendall(b"all")
        await until(lambda ours=ours: not ours.undelivered)
        ours.close()
    waited = 0.0

    def wait_for(_: Driver, condition: Callable[[], bool], timeout: float) -> bool:
        nonlocal waited
        if not condition():
            waited += max(timeout, 0)
        return condition()

    monkeypatch.setattr(Driver, "wait_for", wait_for)
    monkeypatch.setattr(ending, "time", SimpleNamespace(monotonic=lambda: waited))
    ending.deliver([ours._connection.driver for ours, _ in ends])
    assert waited == ending.PARTING_TIME
    for _, theirs in ends:
        assert await asyncio.to_thread(theirs.recv, 10) == b"all"
        assert await asyncio.to_thread(theirs.recv, 10) == b""
        theirs.abort()


def test_who_was_not_accepted_when_the_program_ended_is_told(listener: pknet_blocking.UtpListener) -> None:
    with pknet_blocking.create_connection(listener.address) as stream:
        assert select.select([listener], [], [], 20)[0]
        ending.deliver([listener._acceptor.driver])
        with pytest.raises(ConnectionError):
            stream.recv(1)
