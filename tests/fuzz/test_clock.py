"""Targets notice a machine whose timers never come to rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fuzz.clock import let_silence_end_it, let_time_pass


class Alarm:
    """A machine with one timer, that is set again when it has fired as `again` says."""

    def __init__(self, again: Callable[[float], float | None]) -> None:
        self.due: float | None = 1.0
        self.again = again
        self.fired: list[float] = []

    def receive_datagram(self, data: Any, remote: Any, local: Any, now: float) -> None:
        pass

    def handle_timeout(self, now: float) -> None:
        if self.due is not None and self.due <= now:
            self.fired.append(now)
            self.due = self.again(now)

    def next_timeout(self) -> float | None:
        return self.due

    def transmits(self) -> list[Any]:
        return []

    def events(self) -> list[Any]:
        return []


def collect(_: float) -> None:
    pass


def test_each_timer_fires_at_its_moment() -> None:
    alarm = Alarm(lambda now: now + 0.5)
    assert let_time_pass([alarm], 0.75, 1.5, collect) == 2.25
    assert alarm.fired == [1.0, 1.5, 2.0]


def test_a_timer_that_is_due_again_at_once_is_noticed() -> None:
    with pytest.raises(AssertionError, match="due again at once"):
        let_time_pass([Alarm(lambda now: now)], 0.0, 2.0, collect)


@pytest.mark.parametrize(("interval", "complaint"), [(0.001, "without end"), (30.0, "outlives")])
def test_a_machine_that_never_comes_to_rest_is_noticed(interval: float, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        let_silence_end_it([Alarm(lambda now: now + interval)], 0.0, collect)


def test_a_machine_that_comes_to_rest_is_not_complained_about() -> None:
    alarm = Alarm(lambda now: now + 1 if now < 100 else None)
    let_silence_end_it([alarm], 0.0, collect)
    assert len(alarm.fired) == 100
