"""Threads of the program that serve a blocking driver's sockets while they wait."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pknet_blocking.driver import Driver
from pknet_io.udp import UdpSocket
from tests.adapters.harness import open_sockets, until
from tests.adapters.test_driver import Recorder, send

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(30)


class Served:
    """A driver of a machine that notes which thread it is served by."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, threading.Thread]] = []
        self.machine = Recorder()
        self.driver = Driver(
            self.machine,
            UdpSocket.bind("127.0.0.1"),
            lambda event: self.told.append((event, threading.current_thread())),
        )
        self.driver.start()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc: object) -> None:
        self.driver.close()
        self.driver.join()

    def events(self) -> list[Any]:
        return [event for event, _ in self.told]

    def fire_at(self, deadline: float) -> None:
        with self.driver.lock:
            self.machine.deadline = deadline
            self.driver.drain()

    def guest(self, condition: Any, timeout: float | None = None) -> Guest:
        """Return a thread that waits."""
        thread = Guest(self.driver, condition, timeout)
        thread.start()
        return thread


class Guest(threading.Thread):
    """Waits for a condition; `came_true` is what the driver said."""

    def __init__(self, driver: Driver, condition: Any, timeout: float | None) -> None:
        super().__init__()
        self._arguments = driver, condition, timeout
        self.came_true: bool | None = None

    def run(self) -> None:
        driver, condition, timeout = self._arguments
        self.came_true = driver.wait_for(condition, timeout)


async def serves(served: Served) -> None:
    guests = served.driver._guests
    await until(lambda: guests._has_guest and served.driver._is_asleep and guests._own_rests)


async def test_a_thread_that_waits_alone_serves_the_sockets_and_the_timer_itself() -> None:
    with Served() as served:
        guest = served.guest(lambda: b"done" in served.events())
        await serves(served)
        served.fire_at(served.driver.now + 0.02)
        await until(lambda: served.machine.fired == 1)
        send(served.driver.address, b"not yet")
        await until(lambda: served.machine.received)
        send(served.driver.address, b"done")
        await asyncio.to_thread(guest.join)
        assert guest.came_true
        assert served.events() == ["timeout", b"not yet", b"done"]
        assert {thread for _, thread in served.told} == {guest}


async def test_the_thread_of_the_driver_serves_again_when_its_guest_has_gone() -> None:
    with Served() as served:
        for step in range(20):
            guest = served.guest(lambda: served.events()[-1:] == [b"go"])
            send(served.driver.address, b"go")
            await asyncio.to_thread(guest.join)
            served.fire_at(served.driver.now)
            await until(lambda step=step: served.machine.fired == step + 1)
        assert served.told[-1][1] is served.driver._thread


async def test_who_waits_beside_a_guest_is_told_and_is_served_when_the_guest_has_gone() -> None:
    with Served() as served:
        guest = served.guest(lambda: b"first" in served.events())
        await serves(served)
        beside = served.guest(lambda: b"second" in served.events())
        await until(lambda: served.driver._guests._waiting == 2)
        send(served.driver.address, b"first")
        await asyncio.to_thread(guest.join)
        send(served.driver.address, b"second")
        await asyncio.to_thread(beside.join)
        assert guest.came_true
        assert beside.came_true
        assert served.told[1] == (b"second", served.driver._thread)


async def test_a_guest_waits_no_longer_than_it_wanted() -> None:
    with Served() as served:
        for timeout in (0, 0.05, -1):
            assert not await asyncio.to_thread(served.driver.wait_for, lambda: False, timeout)
        send(served.driver.address, b"on its own")
        await until(lambda: served.told)


async def test_closing_ends_the_wait_of_a_guest_and_the_thread_and_leaves_nothing_open() -> None:
    before = open_sockets()
    for _ in range(30):
        with Served() as served:
            guest = served.guest(lambda: False)
            served.driver.close()
            await asyncio.to_thread(guest.join)
            assert guest.came_true is False
    assert open_sockets().items() <= before.items()


async def test_what_is_asked_for_soon_is_called_while_a_guest_serves() -> None:
    with Served() as served:
        called: list[threading.Thread] = []
        guest = served.guest(lambda: called)
        await serves(served)
        served.driver.call_soon(lambda: called.append(threading.current_thread()))
        await asyncio.to_thread(guest.join)
        assert called == [guest]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have SIGINT interrupt, also where whoever started the tests has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_guest_that_is_interrupted_gives_the_sockets_back() -> None:
    with Served() as served:

        def interrupt() -> None:
            while not (served.driver._guests._has_guest and served.driver._is_asleep):
                pass
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            served.driver.wait_for(lambda: False, None)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"still here", served.driver.address)
        with served.driver.lock:
            served.driver._drained.wait_for(lambda: served.events() == [b"still here"], 10)
        assert served.told == [(b"still here", served.driver._thread)]


@pytest.mark.parametrize("far", [3e6, 1e12])
async def test_guests_may_be_ready_to_wait_for_months(far: float) -> None:
    with Served() as served:
        guest = served.guest(lambda: b"done" in served.events(), far)
        await serves(served)
        beside = served.guest(lambda: b"done" in served.events(), far)
        await until(lambda: served.driver._guests._waiting == 2)
        send(served.driver.address, b"done")
        await asyncio.to_thread(guest.join)
        await asyncio.to_thread(beside.join)
        assert guest.came_true
        assert beside.came_true
