"""Signal handlers that raise, at every place where the interpreter may call one: no stream suffers by it."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

import pknet_blocking
from pknet_blocking.driver import Driver
from pknet_io.udp import UdpSocket
from tests.adapters.ends import LOOPBACK, ends_of, in_thread
from tests.adapters.harness import until
from tests.adapters.test_driver import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(60)


class Interrupt(BaseException):
    """What the program's signal handler raises."""


def is_interrupted_at(place: int, function: Callable[[], object]) -> bool:
    """Call a function; return whether it comes to the place of that number, where it is interrupted.

    The interpreter calls signal handlers where a function begins and where one that is compiled has returned.
    """
    places = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal places
        if event in ("call", "c_return"):
            places += 1
            if places == place:
                raise Interrupt

    before = sys.getprofile()
    try:
        sys.setprofile(count)
        try:
            function()
        finally:
            sys.setprofile(before)
    except Interrupt:
        return True
    except RuntimeError as error:
        # Condition.wait is interrupted when it has just let go of the lock: who entered that can't leave it.
        if isinstance(error.__context__, Interrupt):
            return True
        raise
    return False


def interrupted_everywhere(function: Callable[[], object]) -> Iterator[int]:
    """Call a function again and again, interrupted at another place each time, until it gets through."""
    place = 1
    while is_interrupted_at(place, function):
        yield place
        place += 1


def is_free(lock: Any) -> bool:
    """Return whether another thread gets a lock."""

    def take() -> bool:
        taken = lock.acquire(timeout=5)
        if taken:
            lock.release()
        return bool(taken)

    return bool(in_thread(take)())


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "recv": lambda stream: stream.recv(1),
    "recv_into": lambda stream: stream.recv_into(bytearray(1)),
    "send": lambda stream: stream.send(b"!"),
    "stats": lambda stream: stream.stats(),
    "undelivered": lambda stream: stream.undelivered,
    "wait_closed": lambda stream: stream.wait_closed(0),
    "shutdown": lambda stream: stream.shutdown(1),
    "abort": lambda stream: stream.abort(),
}


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_whoever_is_interrupted_does_not_keep_the_lock_that_all_streams_share(operation: str) -> None:
    with ends_of("plain") as (ours, theirs):
        theirs.sendall(b"x" * 1000)
        assert ours.recv(1) == b"x"
        ours.setblocking(False)

        def operate() -> None:
            with contextlib.suppress(OSError):
                OPERATIONS[operation](ours)

        places = 0
        for places in interrupted_everywhere(operate):
            assert is_free(ours._connection.driver.lock), places
        assert places > 1


def test_who_is_interrupted_while_accepting_does_not_keep_the_lock_either() -> None:
    with pknet_blocking.create_server(LOOPBACK) as listener:
        listener.setblocking(False)

        def accept() -> None:
            with pytest.raises(BlockingIOError):
                listener.accept()

        for place in interrupted_everywhere(accept):
            assert is_free(listener._acceptor.driver.lock), place


async def test_no_event_is_lost_though_its_telling_is_interrupted_and_nothing_else_happens() -> None:
    told: list[int] = []
    machine = Recorder()
    driver = Driver(machine, UdpSocket.bind(*LOOPBACK), told.append)
    driver.start()
    number = 0

    def drain() -> None:
        nonlocal number
        machine.happened += [number, number + 1, number + 2]
        number += 3
        driver.drain()

    for _ in interrupted_everywhere(drain):
        if machine.happened:
            # The drain had not even begun.
            driver.drain()
        await until(lambda: set(told) == set(range(number)))
    driver.close()
    driver.join()


def test_a_connection_is_accepted_once_though_its_telling_was_interrupted_and_is_done_once_more() -> None:
    with pknet_blocking.create_server(LOOPBACK) as listener:
        driver = listener._acceptor.driver
        tell = driver._on_event

        def tell_twice(event: Any) -> None:
            tell(event)
            tell(event)

        driver._on_event = tell_twice
        with pknet_blocking.create_connection(listener.address) as ours, listener.accept()[0] as theirs:
            ours.sendall(b"!")
            assert theirs.recv(1) == b"!"
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_a_guest_that_is_interrupted_wherever_it_is_leaves_the_sockets_to_the_thread() -> None:
    with ends_of("plain") as (ours, theirs):
        ours.settimeout(0.002)

        def wait() -> None:
            with contextlib.suppress(TimeoutError):
                ours.recv(1)

        for place in interrupted_everywhere(wait):
            assert is_free(ours._connection.driver.lock), place
            theirs.sendall(b"!")
            assert in_thread(lambda: recv_patiently(ours))() == b"!"


def recv_patiently(stream: Any) -> bytes:
    stream.settimeout(20)
    try:
        return bytes(stream.recv(1))
    finally:
        stream.settimeout(0.002)
