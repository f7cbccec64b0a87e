"""The congestion controllers at a simulated bottleneck: what docs/topics/congestion.md shows.

    python -m benchmarks.congestion [--directory DIRECTORY] [PART...]

draws the pictures into DIRECTORY (docs/images) and prints the tables, of the parts that are named or of all.
All is in virtual time, from a seed: it comes out the same on every machine.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib import pyplot
from rich.console import Console
from rich.table import Table

from tests.utp.bottleneck import MEGABIT, Bottleneck, BulkFlow
from tests.utp.peer import SEGMENT

console = Console(width=120)

CONTROLLERS = ("ledbat", "ledbat++", "cubic", "bbr")
COLOURS = {"ledbat": "#0072b2", "ledbat++": "#009e73", "cubic": "#d55e00", "bbr": "#7b4ea3"}
# A multiple of the 20 ms in which the queue is looked at.
STEP = 0.2
RATES = (1, 10, 100, 1000)
ROUND_TRIPS = (0.01, 0.05, 0.2)
LOSSES = (0.0, 0.001, 0.01, 0.05)
SEEDS = (1, 2, 3)
# What a byte of payload is on the wire, headers included.
WIRE = (SEGMENT + 20) / SEGMENT
# Of the packets over a path that reorders, so many are late, each by up to a part of the round trip.
LATE_SHARE = 0.02
LATENESS = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
LATE_RATES = (10, 100)


class Watch:
    """The rates of flows and the queue of their bottleneck, in steps of time."""

    def __init__(self, bottleneck: Bottleneck) -> None:
        self.bottleneck = bottleneck
        self.flows: list[tuple[str, BulkFlow, list[float], list[float]]] = []
        self.times: list[float] = []
        self.queue: list[float] = []

    def start(self, controller: str) -> BulkFlow:
        """Begin a flow."""
        flow = self.bottleneck.start(controller)
        self.flows.append((controller, flow, [], []))
        return flow

    def run(self, seconds: float) -> None:
        """Let time pass and note what happens."""
        for _ in range(round(seconds / STEP)):
            # The longest of several looks: what a packet has to wait for.
            self.queue.append(max(self.bottleneck.queueing_delays(STEP)) * 1e3)
            self.times.append(self.bottleneck.network.now)
            for _, flow, times, rates in self.flows:
                times.append(self.bottleneck.network.now)
                rates.append(flow.take() / STEP / MEGABIT)

    def share(self, number: int, start: float, end: float) -> float:
        """Return the share of the wire that a flow filled from one moment to another."""
        _, _, times, rates = self.flows[number]
        seen = [
            rate for time, rate in zip(times, rates, strict=True) if start + STEP / 2 < time < end + STEP / 2
        ]
        return statistics.mean(seen) * MEGABIT * WIRE / self.bottleneck.rate


def draw(watches: dict[str, Watch], title: str, path: Path) -> None:
    """Draw the rates of several runs, and the queue of each below it."""
    figure, axes = pyplot.subplots(
        2, len(watches), figsize=(4.2 * len(watches), 5), sharex=True, sharey="row", squeeze=False
    )
    for (name, watch), above, below in zip(watches.items(), axes[0], axes[1], strict=True):
        for number, (controller, _, times, rates) in enumerate(watch.flows):
            style: dict[str, Any] = {"color": COLOURS[controller], "linewidth": 1.4}
            if number and controller == watch.flows[0][0]:
                style["linestyle"] = "--"
            above.plot(times, rates, label=f"{controller}, from {max(times[0] - STEP, 0):.0f} s", **style)
        above.set_title(name)
        above.legend(loc="upper right", fontsize=8, ncols=2, frameon=False)
        below.fill_between(watch.times, watch.queue, color="#999999", linewidth=0)
        below.set_xlabel("time (s)")
        for axis in (above, below):
            axis.grid(color="#e5e5e5")
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
    # For all of a row, since they share it. What a retransmission lets through at once goes beyond.
    axes[0][0].set_ylim(0, 13)
    axes[1][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("delivered (Mbit/s)")
    axes[1][0].set_ylabel("queueing delay (ms)")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def alone(directory: Path) -> None:
    """Each controller alone."""
    watches = {}
    for controller in CONTROLLERS:
        watch = watches[f"{controller} alone"] = Watch(Bottleneck(10 * MEGABIT, 0.05, 10 * MEGABIT * 0.25))
        watch.start(controller)
        watch.run(20)
    draw(watches, "10 Mbit/s, 50 ms round trip, room for 250 ms of queue", directory / "congestion-alone.png")


def yielding(directory: Path) -> None:
    """A flow by loss comes and goes beside one that yields."""
    table = Table("share of the wire", "5 to 10 s", "to 15 s", "to 20 s", "to 30 s", "to 35 s", "to 45 s")
    watches = {}
    for controller in ("ledbat", "ledbat++", "bbr"):
        watch = Watch(Bottleneck(10 * MEGABIT, 0.05, 10 * MEGABIT * 0.25))
        watches[f"{controller}, and CUBIC from 10 to 30 s"] = watch
        watch.start(controller)
        watch.run(10)
        other = watch.start("cubic")
        watch.run(20)
        assert other.connection is not None
        other.connection.abort(watch.bottleneck.network.now)
        watch.run(15)
        spans = ((5, 10), (10, 15), (15, 20), (20, 30), (30, 35), (35, 45))
        shares = [watch.share(0, *times) for times in spans]
        table.add_row(controller, *(f"{share:.0%}" for share in shares))
    console.print(table)
    draw(
        watches, "10 Mbit/s, 50 ms round trip, room for 250 ms of queue", directory / "congestion-yields.png"
    )


def sharing(directory: Path) -> None:
    """Two flows of one kind, of which one comes later."""
    table = Table("shares of first and late-comer", "10 to 15 s", "to 20 s", "to 30 s", "to 40 s", "to 60 s")
    watches = {}
    for controller in CONTROLLERS:
        watch = watches[f"two of {controller}"] = Watch(Bottleneck(10 * MEGABIT, 0.05, 10 * MEGABIT * 0.25))
        watch.start(controller)
        watch.run(10)
        watch.start(controller)
        watch.run(50)
        spans = ((10, 15), (15, 20), (20, 30), (30, 40), (40, 60))
        shares = [(watch.share(0, *times), watch.share(1, *times)) for times in spans]
        table.add_row(controller, *(f"{first:.0%}, {late:.0%}" for first, late in shares))
    console.print(table)
    draw(
        watches, "10 Mbit/s, 50 ms round trip, room for 250 ms of queue", directory / "congestion-shares.png"
    )


def use(directory: Path) -> None:
    """How much of a link each fills, after its ramp, and with how much queue."""
    table = Table("share of the wire (queue)", *CONTROLLERS)
    for rate in RATES:
        for rtt in ROUND_TRIPS:
            # A second of a gigabit takes several seconds to simulate.
            seconds = 8 if rate < 1000 else 3
            ramp = 8 if rate < 1000 or rtt > 0.1 else 5
            cells = []
            for controller in CONTROLLERS:
                bottleneck = Bottleneck(rate * MEGABIT, rtt, rate * MEGABIT * max(rtt, 0.25))
                flow = bottleneck.start(controller)
                bottleneck.run(ramp)
                flow.take()
                delays = bottleneck.queueing_delays(seconds)
                share = flow.take() * WIRE / seconds / bottleneck.rate
                cells.append(f"{share:.1%} ({statistics.mean(delays) * 1e3:.0f} ms)")
            table.add_row(f"{rate} Mbit/s, {rtt * 1e3:.0f} ms", *cells)
    console.print(table)


def loss(directory: Path) -> None:
    """What each carries over a path that loses packets, the ramp included."""
    table = Table("100 Mbit/s, 50 ms, MB/s in 10 s", *CONTROLLERS)
    for share in LOSSES:
        cells = []
        for controller in CONTROLLERS:
            rates = []
            for seed in SEEDS:
                bottleneck = Bottleneck(100 * MEGABIT, 0.05, 625_000, share, seed)
                flow = bottleneck.start(controller)
                bottleneck.run(10)
                rates.append(flow.take() / 10 / 1e6)
            cells.append(f"{statistics.median(rates):.2f}")
        table.add_row(f"{share:.1%} loss", *cells)
    console.print(table)


class Reordered(NamedTuple):
    """The share of the wire that is filled, and that of the packets that were sent again for nothing."""

    use: float
    needless: float


def reordering(directory: Path) -> None:
    """What each makes of packets that are late, and not lost."""
    table = Table("share of the wire (sent again for nothing)", *CONTROLLERS)
    runs: dict[tuple[int, str], list[Reordered]] = {}
    for rate in LATE_RATES:
        for lateness in LATENESS:
            row = [reordered(rate, controller, lateness) for controller in CONTROLLERS]
            for controller, run in zip(CONTROLLERS, row, strict=True):
                runs.setdefault((rate, controller), []).append(run)
            table.add_row(
                f"{rate} Mbit/s, late by {lateness * 100:.3g} % of the round trip",
                *(f"{run.use:.1%} ({run.needless:.2%})" for run in row),
            )
    console.print(table)
    draw_reordering(runs, directory / "congestion-reordering.png")


def reordered(rate: int, controller: str, lateness: float) -> Reordered:
    """Run a flow over a path that reorders."""
    rtt = 0.05
    bottleneck = Bottleneck(rate * MEGABIT, rtt, rate * MEGABIT * 0.25)
    if lateness:
        bottleneck.wire.change(reorder=LATE_SHARE, reorder_delay=lateness * rtt)
    flow = bottleneck.start(controller)
    bottleneck.run(8)
    share = flow.share(bottleneck, 8)
    assert flow.connection is not None
    stats = flow.connection.stats()
    needless = stats.packets_retransmitted - sum(bottleneck.wire.dropped.values())
    return Reordered(share, max(needless, 0) / stats.packets_sent)


def draw_reordering(runs: dict[tuple[int, str], list[Reordered]], path: Path) -> None:
    """Draw the use of the wire, and below it what was sent again, by how late packets are."""
    figure, axes = pyplot.subplots(2, len(LATE_RATES), figsize=(9, 5.5), sharex=True, sharey="row")
    for rate, (above, below) in zip(LATE_RATES, axes.T, strict=True):
        for controller in CONTROLLERS:
            run = runs[rate, controller]
            style: dict[str, Any] = {"color": COLOURS[controller], "marker": "o", "markersize": 4}
            above.plot(LATENESS, [100 * point.use for point in run], label=controller, **style)
            below.plot(LATENESS, [100 * point.needless for point in run], **style)
        above.set_title(f"{rate} Mbit/s")
        below.set_xlabel("late by up to this part of a round trip")
        for axis in (above, below):
            axis.grid(color="#e5e5e5")
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylim(0, 105)
    axes[1][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("of the wire (%)")
    axes[1][0].set_ylabel("sent again for nothing (%)")
    axes[0][0].legend(fontsize=8, frameon=False)
    figure.suptitle(f"{LATE_SHARE:.0%} of the packets late; 50 ms round trip, room for 250 ms of queue")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


PARTS = {part.__name__: part for part in (alone, yielding, sharing, use, loss, reordering)}


def main() -> None:
    """Draw and print."""
    matplotlib.use("Agg")
    parser = argparse.ArgumentParser(description="The congestion controllers at a simulated bottleneck.")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; none is all")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part is called {min(unknown)}")
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.directory)


if __name__ == "__main__":
    main()
