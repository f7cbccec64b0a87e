"""Time for machines in a target: each timer fires at its moment, and none fires for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pknet.machine import Machine

# So often may timers fire in silence, before all is over.
MOST_FIRINGS = 3000
# After so many seconds of silence a peer has been given up, whatever it owed, and its last FIN forgotten.
LONGEST_MEMORY = 600.0


def let_time_pass(
    machines: Sequence[Machine], now: float, seconds: float, collect: Callable[[float], None]
) -> float:
    """Fire what is due within `seconds`, and return the time after them.

    `collect` takes what the machines send and tell. A timer that has fired must not be due again at once.
    """
    end = now + seconds
    while (due := next_due(machines)) is not None and due <= end:
        now = max(now, due)
        fire(machines, now, collect)
    fire(machines, end, collect)
    return end


def fire(machines: Sequence[Machine], now: float, collect: Callable[[float], None]) -> None:
    """Fire what is due at `now`."""
    for machine in machines:
        machine.handle_timeout(now)
    collect(now)
    due = next_due(machines)
    assert due is None or due > now, "a timer that has fired is due again at once"


def let_silence_end_it(machines: Sequence[Machine], now: float, collect: Callable[[float], None]) -> None:
    """Let the peers fall silent: timers must come to rest, in bounded time and with a bounded effort."""
    firings = 0
    end = now + LONGEST_MEMORY
    while (due := next_due(machines)) is not None:
        assert due <= end, "a connection outlives its peer"
        firings += 1
        assert firings <= MOST_FIRINGS, "timers fire without end"
        now = max(now, due)
        fire(machines, now, collect)


def next_due(machines: Sequence[Machine]) -> float | None:
    """Return when the first timer of all is due, None if none is set."""
    return min((due for machine in machines if (due := machine.next_timeout()) is not None), default=None)
