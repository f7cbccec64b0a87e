"""Virtual time: it moves only when told, does what is due in order, and never hangs."""

from functools import partial

import pytest

from pknet.testing import Link, SimulatedNetwork, SimulationError, pair
from tests.testing.machines import Clock, Listener, Mirror, Quiet


def test_time_stands_still_until_it_is_run() -> None:
    network = SimulatedNetwork(start=100.0)
    assert network.now == 100.0
    network.run(2.5)
    assert network.now == 102.5
    network.run(0)
    assert network.now == 102.5


def test_calls_happen_in_the_order_of_their_times_and_then_as_they_were_made() -> None:
    network = SimulatedNetwork()
    happened: list[tuple[str, float]] = []

    def note(name: str) -> None:
        happened.append((name, network.now))

    for name, when in (("late", 3.0), ("early", 1.0), ("second", 2.0), ("third", 2.0)):
        network.call_at(when, partial(note, name))
    network.call_later(0.5, partial(note, "first"))
    network.run(10)
    assert happened == [("first", 0.5), ("early", 1.0), ("second", 2.0), ("third", 2.0), ("late", 3.0)]


def test_what_is_due_after_the_end_of_a_run_waits_for_the_next() -> None:
    network = SimulatedNetwork()
    happened: list[float] = []
    network.call_at(1.0, lambda: happened.append(network.now))
    network.call_at(2.0, lambda: happened.append(network.now))
    network.run(1.5)
    assert happened == [1.0]
    network.run(0.5)
    assert happened == [1.0, 2.0]


@pytest.mark.parametrize("when", [0.5, float("nan")])
def test_nothing_can_be_called_in_the_past(when: float) -> None:
    network = SimulatedNetwork(start=1.0)
    with pytest.raises(SimulationError):
        network.call_at(when, lambda: None)


def test_run_until_stops_at_the_moment_the_predicate_holds() -> None:
    network = SimulatedNetwork()
    host = network.host()
    clock = host.attach(Clock(1.0, 100))
    assert network.run_until(lambda: len(clock.events) == 3, timeout=50)
    assert network.now == 3.0


def test_run_until_says_that_the_time_is_over() -> None:
    network = SimulatedNetwork()
    network.host().attach(Clock(1.0, 100))
    assert not network.run_until(lambda: False, timeout=5)
    assert network.now == 5.0


def test_run_until_does_not_move_time_if_the_predicate_holds_already() -> None:
    network = SimulatedNetwork()
    assert network.run_until(lambda: True, timeout=5)
    assert network.now == 0.0


def test_a_predicate_may_ask_for_the_time() -> None:
    network = SimulatedNetwork()
    assert network.run_until(lambda: network.now >= 5, timeout=5)


@pytest.mark.parametrize("timeout", [-1.0, float("inf"), float("nan")])
def test_time_can_not_run_backwards_or_for_ever(timeout: float) -> None:
    with pytest.raises(SimulationError):
        SimulatedNetwork().run(timeout)


def test_a_step_goes_to_the_next_moment_and_says_when_there_is_none() -> None:
    network = SimulatedNetwork()
    clock = network.host().attach(Clock(1.0, 2))
    assert network.step()
    assert (network.now, clock.events) == (1.0, [1.0])
    assert network.step()
    assert (network.now, clock.events) == (2.0, [1.0, 2.0])
    assert not network.step()
    assert network.now == 2.0


def test_time_can_not_be_run_from_within_a_callback() -> None:
    network = SimulatedNetwork()
    network.call_later(1.0, lambda: network.run(1.0))
    with pytest.raises(SimulationError, match="callback"):
        network.run(2.0)


class Restless(Clock):
    """A machine whose deadline never moves."""

    next_timer = "retransmission"

    def handle_timeout(self, now: float) -> None:
        pass


def test_a_deadline_that_does_not_move_is_an_error_that_names_the_machine_and_the_timer() -> None:
    network = SimulatedNetwork()
    network.host("192.0.2.1").attach(Restless(1.0, 1), port=80)
    with pytest.raises(SimulationError, match=r"Restless at 192\.0\.2\.1:80 .*retransmission.*1\.0"):
        network.run(5.0)


def test_two_machines_that_answer_each_other_without_delay_are_an_error() -> None:
    network = SimulatedNetwork(instant_limit=1000)
    host = network.host("192.0.2.1")
    one, other = host.attach(Mirror(), port=1), host.attach(Mirror(), port=2)
    one.machine.send(b"ping", other.address)
    one.kick()
    with pytest.raises(SimulationError, match=r"1000 things happened at 0\.0 .*Mirror at 192\.0\.2\.1"):
        network.run(1.0)


def test_a_machine_that_answers_each_event_with_another_is_an_error() -> None:
    network = SimulatedNetwork(instant_limit=100)
    machine = Listener()
    attachment = network.host().attach(machine, on_event=lambda event: machine.happened.append(event))
    machine.happened.append("first")
    with pytest.raises(SimulationError, match=r"Listener at .* answers each event"):
        attachment.kick()


def test_a_run_of_too_many_events_is_an_error() -> None:
    network = SimulatedNetwork(event_limit=500)
    network.host().attach(Clock(0.001, 10**9))
    with pytest.raises(SimulationError, match="more than 500 things"):
        network.run(1000.0)


def test_the_limit_of_events_is_that_of_one_run() -> None:
    network = SimulatedNetwork(event_limit=500)
    clock = network.host().attach(Clock(0.01, 10**9))
    for _ in range(10):
        network.run(1.0)
    assert len(clock.events) > 900


def run_once(seed: int) -> tuple[str, list[object]]:
    """Two machines over a bad wire, through a NAT; returns all that happened."""
    network = SimulatedNetwork(seed, trace=True)
    link = Link(latency=0.02, jitter=0.03, loss=0.2, reorder=0.1, duplicate=0.1, rate=10_000, queue=2000)
    server = network.host("192.0.2.1", up=link.copy()).attach(Mirror(), port=80)
    home = network.nat("symmetric", up=link.copy(), down=link.copy())
    client = network.host(behind=home).attach(Listener())
    for number in range(200):

        def send(number: int = number) -> None:
            client.machine.send(network.token_bytes(number), server.address)
            client.kick()

        network.call_at(number / 50, send)
    network.run(10)
    return str(network.trace), client.events


def test_the_same_seed_gives_the_same_trace() -> None:
    assert run_once(1) == run_once(1)


def test_another_seed_gives_another_trace() -> None:
    assert run_once(1) != run_once(2)


def test_the_bytes_machines_draw_do_not_change_what_the_wires_do() -> None:
    def delivered(draws: int) -> list[bytes]:
        wired = pair(Quiet(), Listener(), Link(loss=0.5), seed=4)
        for number in range(100):
            wired.network.token_bytes(draws)
            wired.a.machine.send(bytes([number]), wired.b.address)
        wired.a.kick()
        wired.network.run(1)
        return [event[0] for event in wired.b.events]

    assert delivered(0) == delivered(17)


def test_random_bytes_have_the_length_that_was_asked_for_and_differ() -> None:
    network = SimulatedNetwork()
    assert [len(network.token_bytes(length)) for length in (0, 1, 20)] == [0, 1, 20]
    assert network.token_bytes(16) != network.token_bytes(16)


def test_time_must_start_somewhere() -> None:
    with pytest.raises(SimulationError):
        SimulatedNetwork(start=float("nan"))
