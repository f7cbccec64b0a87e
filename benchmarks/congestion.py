"""The congestion controllers at a simulated bottleneck: what docs/topics/congestion.md shows.

    python -m benchmarks.congestion [DIRECTORY]

draws the pictures into DIRECTORY (docs/images) and prints the tables. All is in virtual time, from a seed: it
comes out the same on every machine.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from rich.console import Console
from rich.table import Table

from tests.utp.bottleneck import MEGABIT, Bottleneck, BulkFlow

CONTROLLERS = ("ledbat", "ledbat++", "cubic", "bbr")
COLOURS = {"ledbat": "#0072b2", "ledbat++": "#009e73", "cubic": "#d55e00", "bbr": "#7b4ea3"}
# A multiple of the 20 ms in which the queue is looked at.
STEP = 0.2
RATES = (1, 10, 100)
ROUND_TRIPS = (0.01, 0.05, 0.2)
LOSSES = (0.0, 0.001, 0.01, 0.05)
SEEDS = (1, 2, 3)


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
    draw(
        watches, "10 Mbit/s, 50 ms round trip, room for 250 ms of queue", directory / "congestion-yields.png"
    )


def sharing(directory: Path) -> None:
    """Two flows of one kind, of which one comes later."""
    watches = {}
    for controller in CONTROLLERS:
        watch = watches[f"two of {controller}"] = Watch(Bottleneck(10 * MEGABIT, 0.05, 10 * MEGABIT * 0.25))
        watch.start(controller)
        watch.run(10)
        watch.start(controller)
        watch.run(50)
    draw(
        watches, "10 Mbit/s, 50 ms round trip, room for 250 ms of queue", directory / "congestion-shares.png"
    )


def print_use(console: Console) -> None:
    """How much of a link each fills, after its ramp, and with how much queue."""
    table = Table("share of the wire (queue)", *CONTROLLERS)
    for rate in RATES:
        for rtt in ROUND_TRIPS:
            cells = []
            for controller in CONTROLLERS:
                bottleneck = Bottleneck(rate * MEGABIT, rtt, rate * MEGABIT * max(rtt, 0.25))
                flow = bottleneck.start(controller)
                bottleneck.run(8)
                flow.take()
                delays = sorted(bottleneck.queueing_delays(8))
                share = flow.take() * 1402 / 1382 / 8 / bottleneck.rate
                cells.append(f"{share:.1%} ({statistics.mean(delays) * 1e3:.0f} ms)")
            table.add_row(f"{rate} Mbit/s, {rtt * 1e3:.0f} ms", *cells)
    console.print(table)


def print_loss(console: Console) -> None:
    """What each carries over a path that loses packets, the ramp included."""
    table = Table("100 Mbit/s, 50 ms, MB/s in 10 s", *CONTROLLERS)
    for loss in LOSSES:
        cells = []
        for controller in CONTROLLERS:
            rates = []
            for seed in SEEDS:
                bottleneck = Bottleneck(100 * MEGABIT, 0.05, 625_000, loss, seed)
                flow = bottleneck.start(controller)
                bottleneck.run(10)
                rates.append(flow.take() / 10 / 1e6)
            cells.append(f"{statistics.median(rates):.2f}")
        table.add_row(f"{loss:.1%} loss", *cells)
    console.print(table)


def main() -> None:
    """Draw and print."""
    matplotlib.use("Agg")
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images"
    directory.mkdir(parents=True, exist_ok=True)
    for picture in (alone, yielding, sharing):
        picture(directory)
    console = Console(width=120)
    print_use(console)
    print_loss(console)


if __name__ == "__main__":
    main()
