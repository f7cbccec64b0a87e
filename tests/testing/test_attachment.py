"""Machines in the simulation: the five verbs are called as the contract says, and breaking it is an error."""

from typing import Any

import pytest

from pknet import Transmit
from pknet.testing import Address, Attachment, Link, SimulatedNetwork, SimulationError
from tests.testing.machines import Clock, Listener, Mirror, Quiet, SegmentListener


class Diary(Quiet):
    """Writes down each call of a verb."""

    def __init__(self, deadline: float | None = None) -> None:
        super().__init__()
        self.calls: list[tuple[str, float | None]] = []
        self.deadline = deadline

    def receive_datagram(self, data: bytes, remote: Address, local: Any, now: float) -> None:
        self.calls.append(("receive_datagram", now))

    def handle_timeout(self, now: float) -> None:
        self.calls.append(("handle_timeout", now))
        super().handle_timeout(now)

    def next_timeout(self) -> float | None:
        self.calls.append(("next_timeout", None))
        return super().next_timeout()

    def transmits(self) -> list[Transmit]:
        self.calls.append(("transmits", None))
        return super().transmits()

    def events(self) -> list[Any]:
        self.calls.append(("events", None))
        return super().events()

    def taken(self) -> list[tuple[str, float | None]]:
        calls, self.calls = self.calls, []
        return calls


TAKEN = [("transmits", None), ("events", None), ("next_timeout", None)]


def test_after_all_changes_of_a_moment_all_is_taken_and_then_the_timeout_asked_for() -> None:
    network = SimulatedNetwork()
    diary = Diary()
    attachment = network.host("192.0.2.1").attach(diary, port=80)
    assert diary.taken() == TAKEN
    sender = network.host("192.0.2.2", up=Link(latency=1.0)).bind()
    for datagram in b"one", b"two", b"three":
        sender.send(datagram, attachment.address)
    network.run(5.0)
    assert diary.taken() == [("receive_datagram", 1.0)] * 3 + TAKEN


def test_datagrams_of_one_moment_come_before_the_timer_of_that_moment() -> None:
    network = SimulatedNetwork()
    diary = Diary(deadline=1.0)
    attachment = network.host("192.0.2.1").attach(diary, port=80)
    diary.taken()
    network.host("192.0.2.2", up=Link(latency=1.0)).bind().send(b"hello", attachment.address)
    network.run(5.0)
    assert diary.taken() == [("receive_datagram", 1.0), ("handle_timeout", 1.0), *TAKEN]


def test_a_timer_fires_at_its_deadline_and_not_without_one() -> None:
    network = SimulatedNetwork()
    clock = network.host().attach(Clock(0.25, 3))
    network.run(100)
    assert clock.events == [0.25, 0.5, 0.75]


def test_a_deadline_in_the_past_is_due_at_once() -> None:
    network = SimulatedNetwork(start=10.0)
    clock = network.host().attach(Clock(2.0, 1))
    network.run(0)
    assert clock.events == [10.0]


@pytest.mark.parametrize("moved", [0.5, 3.0, None])
def test_a_deadline_can_move_either_way_or_go(moved: float | None) -> None:
    network = SimulatedNetwork()
    diary = Diary(deadline=1.0)
    attachment = network.host().attach(diary)
    diary.deadline = moved
    attachment.kick()
    diary.taken()
    network.run(10)
    assert [call for call in diary.taken() if call[0] == "handle_timeout"] == (
        [] if moved is None else [("handle_timeout", moved)]
    )


def test_a_deadline_that_moves_away_and_back_fires_once() -> None:
    network = SimulatedNetwork()
    diary = Diary(deadline=1.0)
    attachment = network.host().attach(diary)
    for moved in (5.0, 0.5, 2.0):
        diary.deadline = moved
        attachment.kick()
    diary.taken()
    network.run(10)
    assert [call for call in diary.taken() if call[0] == "handle_timeout"] == [("handle_timeout", 2.0)]


def test_deadlines_that_move_away_with_each_datagram_do_not_pile_up() -> None:
    network = SimulatedNetwork()
    diary = Diary(deadline=1.0)
    attachment = network.host().attach(diary)
    for number in range(1000):
        diary.deadline = 1.0 + number / 1000
        attachment.kick()
    assert len(network.heap) == 1


def test_what_a_machine_wants_sent_after_its_own_methods_leaves_with_a_kick() -> None:
    network = SimulatedNetwork()
    receiver = network.host().bind()
    attachment = network.host().attach(Quiet())
    attachment.machine.send(b"hello", receiver.address)
    network.run(1)
    assert receiver.received == []
    attachment.kick()
    assert [received.data for received in receiver.received] == [b"hello"]


def test_what_a_machine_has_to_send_from_the_start_leaves_when_it_is_attached() -> None:
    network = SimulatedNetwork()
    receiver = network.host().bind()
    machine = Quiet()
    machine.send(b"hello", receiver.address)
    network.host().attach(machine)
    assert [received.data for received in receiver.received] == [b"hello"]


def test_events_are_collected_and_told_as_they_happen() -> None:
    network = SimulatedNetwork()
    told: list[tuple[float, float]] = []
    clock = network.host().attach(Clock(1.0, 3), on_event=lambda event: told.append((event, network.now)))
    network.run(10)
    assert clock.events == [1.0, 2.0, 3.0]
    assert told == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


def test_what_is_sent_from_on_event_leaves_in_the_same_turn() -> None:
    network = SimulatedNetwork()
    mirror = network.host("192.0.2.1").attach(Mirror(), port=80)

    def on_event(event: object) -> None:
        if isinstance(event, float):
            client.machine.send(b"hello", mirror.address)

    class Client(Clock, Listener):
        pass

    client: Attachment[Client] = network.host("192.0.2.2").attach(Client(1.0, 1), port=90, on_event=on_event)
    network.run(10)
    assert client.events == [1.0, (b"192.0.2.2 90", mirror.address, None, 1.0)]


def test_a_kick_from_another_machines_event_is_heard_at_that_moment() -> None:
    network = SimulatedNetwork()
    receiver = network.host().bind()
    other = network.host().attach(Quiet())

    def on_event(event: object) -> None:
        other.machine.send(b"now", receiver.address)
        other.kick()
        other.kick()

    network.host().attach(Clock(1.0, 1), on_event=on_event)
    network.run(10)
    assert [(received.data, received.time) for received in receiver.received] == [(b"now", 1.0)]


def test_datagrams_of_one_moment_come_one_at_a_time() -> None:
    network = SimulatedNetwork()
    listener = network.host().attach(SegmentListener())
    sender = network.host().attach(Quiet())
    sender.machine.send(bytes(250), listener.address, segment_size=100)
    sender.kick()
    network.run(1)
    assert [len(event[0]) for event in listener.events] == [100, 100, 50]


def test_a_run_becomes_datagrams_that_the_wire_treats_each_on_its_own() -> None:
    network = SimulatedNetwork(seed=2)
    receiver = network.host().bind()
    link = Link(loss=0.5)
    sender = network.host(up=link).attach(Quiet())
    sender.machine.send(bytes(100) * 1000, receiver.address, segment_size=100)
    sender.kick()
    network.run(1)
    assert 400 < len(receiver.received) < 600
    assert link.dropped["lost"] == 1000 - len(receiver.received)


class Segments:
    """A machine that takes segments, and senders far away, all datagrams of which arrive at one moment."""

    def __init__(self) -> None:
        self.network = SimulatedNetwork()
        self.host = self.network.host("192.0.2.1")
        self.listener = self.host.attach(SegmentListener(), port=80, receive_segments=True)
        self.senders = [self.network.host(up=Link(latency=1.0)).bind() for _ in range(2)]

    def runs(self) -> list[tuple[int, int | None]]:
        """The length and the segment size of what the machine got, None where it was a datagram."""
        self.network.run(2.0)
        return [(len(event[0]), event[1] if len(event) == 5 else None) for event in self.listener.events]


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [
        ([100], [(100, None)]),
        ([100, 100, 100], [(300, 100)]),
        ([100, 100, 40], [(240, 100)]),
        ([100, 40, 40], [(140, 100), (40, None)]),
        ([40, 100], [(40, None), (100, None)]),
        ([0, 0], [(0, None), (0, None)]),
        ([1400] * 50, [(46 * 1400, 1400), (4 * 1400, 1400)]),
    ],
)
def test_segments_are_merged_as_gro_merges_them(
    lengths: list[int], runs: list[tuple[int, int | None]]
) -> None:
    segments = Segments()
    for length in lengths:
        segments.senders[0].send(bytes(length), segments.listener.address)
    assert segments.runs() == runs


def test_segments_of_two_peers_are_not_merged() -> None:
    segments = Segments()
    for number in (0, 0, 1, 1, 0):
        segments.senders[number].send(bytes(100), segments.listener.address)
    assert segments.runs() == [(200, 100), (200, 100), (100, None)]


def test_segments_of_two_sockets_are_not_merged() -> None:
    segments = Segments()
    second = segments.host.bind(81)
    segments.listener.add_socket(second)
    for port in (80, 81, 81):
        segments.senders[0].send(bytes(100), ("192.0.2.1", port))
    assert segments.runs() == [(100, None), (200, 100)]
    assert [event[-2] for event in segments.listener.events] == [None, second]


def test_segments_can_not_be_given_to_a_machine_that_takes_none() -> None:
    with pytest.raises(SimulationError, match=r"Quiet .* has no receive_segments"):
        SimulatedNetwork().host().attach(Quiet(), receive_segments=True)


def test_a_machine_names_the_socket_it_sends_by_and_is_told_by_which_it_received() -> None:
    network = SimulatedNetwork()
    mirror = network.host("192.0.2.1").attach(Mirror(), port=80)
    host = network.host("192.0.2.2", "2001:db8::2")
    listener = host.attach(Listener(), port=1000)
    second = host.bind(2000)
    listener.add_socket(second)
    for local in (None, second):
        listener.machine.send(b"?", mirror.address, local=local)
    listener.kick()
    network.run(1)
    assert [(data, local) for data, _, local, _ in listener.events] == [
        (b"192.0.2.2 1000", None),
        (b"192.0.2.2 2000", second),
    ]
    assert listener.sockets == [listener.socket, second]


def test_a_dual_stack_machine_has_a_socket_for_each_family() -> None:
    network = SimulatedNetwork()
    mirror = network.host("2001:db8::1").attach(Mirror(), port=80)
    host = network.host("192.0.2.2", "2001:db8::2")
    listener = host.attach(Listener(), port=1000)
    six = host.bind(1000, "2001:db8::2")
    listener.add_socket(six)
    listener.machine.send(b"?", mirror.address, local=six)
    listener.kick()
    network.run(1)
    assert [event[:3] for event in listener.events] == [(b"2001:db8::2 1000", mirror.address, six)]


def test_a_socket_that_was_removed_is_closed() -> None:
    network = SimulatedNetwork()
    host = network.host("192.0.2.1")
    listener = host.attach(Listener(), port=80)
    second = host.bind(81)
    listener.add_socket(second)
    listener.remove_socket(second)
    network.host().bind().send(b"hello", ("192.0.2.1", 81))
    network.run(1)
    assert listener.events == []
    assert network.drops == {"port closed": 1}
    for socket in (second, listener.socket):
        with pytest.raises(SimulationError, match="was not added"):
            listener.remove_socket(socket)


def test_a_socket_belongs_to_one_machine() -> None:
    host = SimulatedNetwork().host()
    one, other = host.attach(Quiet()), host.attach(Quiet())
    with pytest.raises(SimulationError, match="belongs to another machine"):
        one.add_socket(other.socket)


def test_a_detached_machine_is_left_alone_and_its_peers_hear_nothing() -> None:
    network = SimulatedNetwork()
    host = network.host("192.0.2.1")
    clock = host.attach(Clock(1.0, 100), port=80)
    network.run(2.5)
    clock.detach()
    network.host().bind().send(b"hello", ("192.0.2.1", 80))
    clock.machine.send(b"hello", ("192.0.2.1", 80))
    clock.kick()
    network.run(10)
    assert clock.events == [1.0, 2.0]
    assert network.drops == {"port closed": 1}
    with pytest.raises(SimulationError, match="detached"):
        clock.add_socket(host.bind())


def test_a_machine_may_be_detached_by_its_own_event() -> None:
    network = SimulatedNetwork()
    clock: Attachment[Clock] = network.host().attach(Clock(1.0, 100), on_event=lambda event: clock.detach())
    network.run(10)
    assert clock.events == [1.0]


class Broken(Quiet):
    """Gives whatever it is told to give."""

    def __init__(self, transmit: object = None, timeout: object = None) -> None:
        super().__init__()
        self.transmit = transmit
        self.timeout = timeout

    def transmits(self) -> list[Any]:
        return [] if self.transmit is None else [self.transmit]

    def next_timeout(self) -> Any:
        return self.timeout


@pytest.mark.parametrize(
    ("transmit", "complaint"),
    [
        ((b"data", ("192.0.2.1", 80)), "where a Transmit was due"),
        (Transmit(b"data", ("192.0.2.1", 80), local="a socket"), "sends by 'a socket'"),
        (Transmit(b"data", ("example.org", 80)), "not an IP address"),
        (Transmit(b"data", ("2001:db8::1", 80)), "another address family"),
        (Transmit(b"data", ("192.0.2.1", 80, 0, 0)), "not a pair"),
        (Transmit(b"data", ("192.0.2.1", 0)), "no port"),
        (Transmit(b"data", ("192.0.2.1", 80), ttl=0), "TTL of 0"),
        (Transmit(bytes(65508), ("192.0.2.1", 80)), "65508 bytes"),
        (Transmit(b"data", ("192.0.2.1", 80), segment_size=0), "datagrams of 0 bytes"),
        (Transmit(b"data", ("192.0.2.1", 80), segment_size=-1), "datagrams of -1 bytes"),
    ],
)
def test_a_transmit_that_no_socket_could_send_is_an_error(transmit: object, complaint: str) -> None:
    with pytest.raises(SimulationError, match=complaint):
        SimulatedNetwork().host("192.0.2.9").attach(Broken(transmit))


@pytest.mark.parametrize("timeout", [float("nan"), float("-inf")])
def test_a_timeout_that_is_no_time_is_an_error(timeout: float) -> None:
    with pytest.raises(SimulationError, match="as its next timeout"):
        SimulatedNetwork().host().attach(Broken(timeout=timeout))


def test_what_a_machine_raises_says_whose_turn_it_was() -> None:
    network = SimulatedNetwork()

    def explode(now: float) -> None:
        raise ValueError("no such thing")

    network.host("192.0.2.1").attach(Clock(2.0, 1, on_tick=explode), port=80)
    with pytest.raises(ValueError, match="no such thing") as caught:
        network.run(5)
    assert caught.value.__notes__ == ["in the turn of Clock at 192.0.2.1:80 (next timer: tick) at 2.0"]
