"""The drivers of both adapters, with machines that are made to misbehave."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pknet import Transmit
from pknet_asyncio.driver import Driver as AsyncioDriver
from pknet_blocking.driver import Driver as BlockingDriver
from pknet_blocking.ending import deliver
from pknet_io.outbox import MAX_WAITING, TRANSMIT_COST
from pknet_io.udp import UdpSocket
from tests.adapters.harness import open_sockets, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.adapters.harness import Adapter

pytestmark = pytest.mark.timeout(30)


class Recorder:
    """A machine that notes what it is told, and says what the test tells it to."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.to_send: list[Transmit] = []
        self.happened: list[Any] = []
        self.deadline: float | None = None
        self.fired = 0

    def receive_datagram(self, data: Any, remote: Any, local: Any, now: float) -> None:
        self.received.append(bytes(data))
        self.happened.append(bytes(data))

    def handle_timeout(self, now: float) -> None:
        self.fired += 1
        self.deadline = None
        self.happened.append("timeout")

    def next_timeout(self) -> float | None:
        return self.deadline

    def transmits(self) -> list[Transmit]:
        taken, self.to_send = self.to_send, []
        return taken

    def events(self) -> list[Any]:
        taken, self.happened = self.happened, []
        return taken


class Driven:
    """A driver of either adapter."""

    def __init__(self, adapter: Adapter, on_event: Callable[[Any], None]) -> None:
        self.machine = Recorder()
        self.socket = UdpSocket.bind("127.0.0.1")
        self.address = self.socket.address
        make = AsyncioDriver if adapter.name == "asyncio" else BlockingDriver
        self.driver: Any = make(self.machine, self.socket, on_event)
        if adapter.name == "blocking":
            self.driver.start()

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, *exc: object) -> None:
        self.driver.close()


def send(address: tuple[str, int], *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, address)


async def test_a_run_is_cut_for_a_machine_that_takes_single_datagrams(adapter: Adapter) -> None:
    with Driven(adapter, lambda _: None) as driven, UdpSocket.bind("127.0.0.1") as sender:
        sender.send(Transmit(b"one.two.three.end"[:14] + b"!", driven.address, None, segment_size=4))
        await until(lambda: len(driven.machine.received) == 4)
        assert driven.machine.received == [b"one.", b"two.", b"thre", b"e.!"]


async def test_what_goes_wrong_with_one_event_costs_no_other(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))

    def on_event(event: Any) -> None:
        if event == b"bad":
            raise LookupError("the handler's mistake")
        told.append(event)

    with Driven(adapter, on_event) as driven:
        driven.machine.deadline = driven.driver.now + 0.2
        send(driven.address, b"first", b"bad", b"last")
        # The timer is served too.
        await until(lambda: told == [b"first", b"last", "timeout"])
    if adapter.name == "asyncio":
        assert [str(context["exception"]) for context in unhandled] == ["the handler's mistake"]
    else:
        assert "LookupError: the handler's mistake" in caplog.text


async def test_a_deadline_that_moves_nearer_is_kept(adapter: Adapter) -> None:
    with Driven(adapter, lambda _: None) as driven:
        driven.machine.deadline = driven.driver.now + 3600
        driven.driver.drain()
        driven.machine.deadline = driven.driver.now + 0.05
        driven.driver.drain()
        await until(lambda: driven.machine.fired == 1)


async def test_a_handler_may_close_its_driver_and_last_words_leave(adapter: Adapter) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        told = []

        def on_event(event: Any) -> None:
            told.append(event)
            driven.machine.to_send.append(Transmit(b"last words", peer.getsockname()))
            driven.driver.close()

        with Driven(adapter, on_event) as driven:
            send(driven.address, b"stop", b"more")
            assert await asyncio.to_thread(peer.recv, 100) == b"last words"
            await until(lambda: driven.driver.is_closed)
            assert told == [b"stop"] or told == [b"stop", b"more"]
            assert driven.socket.fileno() == -1


async def test_closing_twice_is_harmless_and_nothing_works_after_it(adapter: Adapter) -> None:
    with Driven(adapter, lambda _: None) as driven:
        driven.driver.close()
        driven.driver.close()
        driven.driver.drain()
        driven.machine.deadline = driven.driver.now
        driven.driver.drain()
        driven.driver.close_when(lambda: True)
    assert driven.machine.fired == 0


async def test_who_waits_for_a_condition_is_told_when_it_holds_and_when_it_never_will(
    adapter: Adapter,
) -> None:
    with Driven(adapter, lambda _: None) as driven:
        machine, wait = driven.machine, driven.driver.wait_for
        limit = () if adapter.name == "asyncio" else (None,)
        holds = asyncio.ensure_future(adapter.call(wait, lambda: machine.received, *limit))
        never = asyncio.ensure_future(adapter.call(wait, lambda: False, *limit))
        await asyncio.sleep(0)
        send(driven.address, b"!")
        assert await holds
        assert await adapter.call(wait, lambda: True, *limit)
        driven.driver.close()
        assert not await never
        assert not await adapter.call(wait, lambda: True, *limit)


async def test_a_socket_that_is_added_is_driven_and_one_that_is_removed_is_closed(adapter: Adapter) -> None:
    with Driven(adapter, lambda _: None) as driven:
        second = UdpSocket.bind("127.0.0.1")
        address = second.address
        driven.driver.add_socket(second)
        send(address, b"by the second")
        await until(lambda: driven.machine.received == [b"by the second"])
        driven.driver.remove_socket(second)
        driven.driver.remove_socket(second)
        assert second.fileno() == -1
        # What still was to leave by it is dropped.
        driven.machine.to_send.append(Transmit(b"x", address, second.local))
        driven.driver.drain()


async def test_what_the_kernel_has_no_room_for_is_sent_when_it_has(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        Driven(adapter, lambda _: None) as driven,
    ):
        peer.bind(("127.0.0.1", 0))
        refusals = [False, False]
        send_now = UdpSocket.send
        monkeypatch.setattr(
            UdpSocket, "send", lambda self, transmit: refusals.pop() if refusals else send_now(self, transmit)
        )
        driven.machine.to_send += [Transmit(b"%d" % number, peer.getsockname()) for number in range(3)]
        driven.driver.drain()
        received = [await asyncio.to_thread(peer.recv, 100) for _ in range(3)]
        assert received == [b"0", b"1", b"2"]


async def test_so_much_waits_for_room_in_the_kernel_and_what_is_beyond_is_counted(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driven(adapter, lambda _: None) as driven:
        monkeypatch.setattr(UdpSocket, "send", lambda self, transmit: False)
        run = Transmit(bytes(44 * 1400), driven.address, None, segment_size=1400)
        fit = MAX_WAITING // (len(run.data) + TRANSMIT_COST)
        driven.machine.to_send += [run] * (fit - 1)
        driven.driver.drain()
        driven.machine.to_send += [run] * 3
        driven.driver.drain()
        assert driven.socket.stats.send_drops == {"ENOBUFS": 2 * 44}


async def test_a_blocking_driver_can_be_closed_by_who_holds_its_lock() -> None:
    udp_socket = UdpSocket.bind("127.0.0.1")
    driver = BlockingDriver(Recorder(), udp_socket, lambda _: None)
    driver.start()

    def close() -> None:
        with driver.lock:
            driver.close_when(lambda: True)

    thread = threading.Thread(target=close)
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.to_thread(driver.join)
    assert driver.is_closed


async def test_a_blocking_driver_closed_in_the_midst_of_its_work_fails_in_nothing_and_leaves_nothing_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Busy(Recorder):
        """Always has something due, and something to send."""

        def next_timeout(self) -> float | None:
            return 0.0

        def transmits(self) -> list[Transmit]:
            return [Transmit(b"x", udp_socket.address)]

    before = open_sockets()
    for _ in range(200):
        udp_socket = UdpSocket.bind("127.0.0.1")
        machine = Busy()
        driver = BlockingDriver(machine, udp_socket, lambda _: None)
        driver.start()
        await until(lambda machine=machine: machine.received)
        driver.close()
        await asyncio.to_thread(driver.join)
    assert open_sockets().items() <= before.items()
    assert caplog.messages == []


async def test_a_blocking_driver_that_was_never_started_can_be_closed() -> None:
    before = open_sockets()
    udp_socket = UdpSocket.bind("127.0.0.1")
    driver = BlockingDriver(Recorder(), udp_socket, lambda _: None)
    driver.close()
    driver.join()
    assert open_sockets().items() <= before.items()


async def test_a_machine_that_raises_does_not_end_a_blocking_driver(caplog: pytest.LogCaptureFixture) -> None:
    machine = Recorder()
    receive = machine.receive_datagram

    def fail_once(*arguments: Any) -> None:
        machine.receive_datagram = receive  # type: ignore[method-assign]
        raise ZeroDivisionError

    machine.receive_datagram = fail_once  # type: ignore[method-assign]
    udp_socket = UdpSocket.bind("127.0.0.1")
    address = udp_socket.address
    driver = BlockingDriver(machine, udp_socket, lambda _: None)
    driver.start()
    with caplog.at_level(logging.ERROR):
        send(address, b"bad")
        await until(lambda: machine.receive_datagram == receive)
        send(address, b"good")
        await until(lambda: b"good" in machine.received)
    assert "ZeroDivisionError" in caplog.text
    driver.close()
    await asyncio.to_thread(driver.join)


async def test_a_blocking_driver_calls_what_it_was_asked_to_call_soon_also_when_it_ends() -> None:
    called: list[str] = []
    driver = BlockingDriver(Recorder(), UdpSocket.bind("127.0.0.1"), lambda _: None)
    driver.start()
    driver.call_soon(lambda: called.append("by the thread"))
    await until(lambda: called)
    with driver.lock:
        # The thread can do nothing meanwhile.
        driver.close()
        driver.call_soon(lambda: called.append("at its end"))
    await asyncio.to_thread(driver.join)
    assert called[1:] == ["at its end"]
    driver.call_soon(lambda: called.append("at once"))
    assert called[2:] == ["at once"]


async def test_the_end_of_the_program_comes_after_what_a_blocking_driver_was_asked_to_call_soon() -> None:
    called: list[str] = []
    driver = BlockingDriver(Recorder(), UdpSocket.bind("127.0.0.1"), lambda _: None)
    driver.on_exit = lambda: called.append("exit")
    driver.start()
    with driver.lock:
        driver.call_soon(lambda: called.append("soon"))
        deliver([driver])
    assert called == ["soon", "exit"]
    assert driver.is_closed
    await asyncio.to_thread(driver.join)


async def test_at_what_an_asyncio_program_raises_systemexit_is_not_told_again_and_the_rest_is() -> None:
    told: list[Any] = []

    def on_event(event: Any) -> None:
        told.append(event)
        if event == b"exit":
            raise SystemExit

    udp_socket = UdpSocket.bind("127.0.0.1")
    machine = Recorder()
    driver = AsyncioDriver(machine, udp_socket, on_event)
    machine.happened += [b"exit", b"rest"]
    with pytest.raises(SystemExit):
        driver.drain()
    driver.drain()
    driver.close()
    assert told == [b"exit", b"rest"]


@pytest.mark.parametrize("far", [3e6, 1e12])
async def test_a_deadline_that_is_months_away_ends_no_driver(adapter: Adapter, far: float) -> None:
    with Driven(adapter, lambda _: None) as driven:
        driven.machine.deadline = driven.driver.now + far
        driven.driver.drain()
        send(driven.address, b"meanwhile")
        await until(lambda: driven.machine.received == [b"meanwhile"])
        send(driven.address, b"and later")
        await until(lambda: driven.machine.received == [b"meanwhile", b"and later"])
