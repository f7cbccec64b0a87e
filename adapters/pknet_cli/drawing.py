"""Draws a flow: a time-sequence diagram, and below it, on the same axis of time, delay and window.

Wants matplotlib, the extra `plot`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from pathlib import Path

    from pknet_cli.flow import Flow, Packets, Series

__all__ = ["draw"]

# Colours that the colour-blind can tell apart (Okabe and Ito).
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, GREY, LIGHT_GREEN = "#56B4E9", "#CC79A7", "#666666", "#6CCBAC"
STATE_COLOURS = {"slow_start": SKY, "recovery": ORANGE}
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "#cccccc",
    "legend.fontsize": 9,
    # The same drawing of the same log has the same bytes.
    "svg.hashsalt": "pknet",
}
# An SVG with more marks than this in it is slow to show: they become pixels.
MAX_MARKS = 5000


def draw(flow: Flow, target: Path) -> None:
    """Draw a flow into a file, whose suffix says in what format."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 9), layout="constrained")
        sequence, delay, window = figure.subplots(3, sharex=True, height_ratios=[3, 1.4, 1.6])
        figure.suptitle(_title(flow), fontsize=12, fontweight="bold")
        _draw_sequence(sequence, flow)
        _draw_delay(delay, flow)
        _draw_window(window, flow)
        window.set_xlabel("time since the log began (s)")
        margin = flow.duration * 0.01 or 0.01
        window.set_xlim(-margin, flow.duration + margin)
        metadata = {"Date": None} if target.suffix == ".svg" else None
        figure.savefig(target, dpi=120, metadata=metadata)


def _title(flow: Flow) -> str:
    verb, way = ("sent", "to") if flow.is_sender else ("received", "from")
    moments = [time for packets in (flow.packets, flow.again) for time in packets.times]
    seconds = max(moments) - min(moments)
    rate = f", {_size(flow.payload / seconds)}/s" if seconds > 0 else ""
    name = flow.parameters.get("congestion_control")
    control = f" by {name}" if flow.is_sender and name else ""
    return f"{_size(flow.payload)} {verb} {way} {flow.remote} in {seconds:.3g} s{rate}{control}"


def _draw_sequence(axes: Any, flow: Flow) -> None:
    first, again = ("sent", "sent again") if flow.is_sender else ("came in order", "came again")
    early = "acknowledged early" if flow.is_sender else "came early"
    _bars(axes, flow.packets, f"{first}: {_packets(flow.packets)}", color=BLUE, linewidth=1.6)
    if flow.again.times:
        _bars(axes, flow.again, f"{again}: {_packets(flow.again)}", color=ORANGE, linewidth=4, zorder=5)
    if flow.lost.times:
        axes.plot(
            flow.lost.times,
            [(first + end) / 2 for _, first, end in _each(flow.lost)],
            linestyle="none",
            marker="x",
            markersize=9,
            markeredgewidth=1.6,
            color=RED,
            zorder=4,
            rasterized=len(flow.lost.times) > MAX_MARKS,
            label=f"taken for lost: {_packets(flow.lost)}",
        )
    line = flow.acknowledged
    axes.step(
        line.times, line.values, where="post", color=GREEN, linewidth=1.2, label="acknowledged in order"
    )
    if flow.early.times:
        colour = LIGHT_GREEN if flow.is_sender else PURPLE
        _bars(axes, flow.early, f"{early}: {_packets(flow.early)}", color=colour, linewidth=2, zorder=2)
    axes.autoscale_view()
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("packet, by seq_nr (the first is 0)")
    axes.legend(loc="upper left")


def _draw_delay(axes: Any, flow: Flow) -> None:
    metrics = flow.metrics
    _step(axes, metrics.get("smoothed_rtt"), flow, color=BLUE, label="round trip, smoothed")
    _step(axes, metrics.get("min_rtt"), flow, color=GREY, linestyle="--", label="shortest round trip")
    if flow.is_sender:
        _fill(axes, metrics.get("queueing_delay"), flow, color=PURPLE, alpha=0.55, label="queueing delay")
    else:
        delay = metrics.get("relative_delay")
        _fill(axes, delay, flow, color=PURPLE, alpha=0.55, label="one-way delay above the least")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("delay (ms)")
    _legend(axes)


def _draw_window(axes: Any, flow: Flow) -> None:
    metrics = flow.metrics
    if flow.is_sender:
        _shade_states(axes, flow)
        window = metrics.get("congestion_window")
        top = max(window.values) if window is not None else 0
        unit, name = (1 << 20, "MiB") if top >= 4 << 20 else (1 << 10, "KiB")
        _fill(axes, metrics.get("bytes_in_flight"), flow, unit, color=BLUE, label="in flight")
        _step(axes, window, flow, unit, color=BLUE, label="congestion window")
        threshold, peer_window = metrics.get("ssthresh"), metrics.get("peer_window")
        _step(axes, threshold, flow, unit, color=GREY, linestyle="--", label="slow start threshold")
        # A line far above all others would press them flat; at first it is 0, for it isn't known.
        if peer_window is not None and min(peer_window.values[1:], default=0) < 1.2 * top:
            _step(axes, peer_window, flow, unit, color=RED, label="the peer's window")
        axes.set_ylim(0, top * 1.1 / unit or 1)
    else:
        window = metrics.get("receive_window")
        unit, name = (1 << 20, "MiB") if window and max(window.values) >= 4 << 20 else (1 << 10, "KiB")
        _step(axes, window, flow, unit, color=BLUE, label="receive window, as advertised")
        axes.set_ylim(bottom=0)
    axes.set_ylabel(f"window ({name})")
    _legend(axes)


def _shade_states(axes: Any, flow: Flow) -> None:
    """Show by the background when the congestion controller searches, and when it recovers."""
    shown = set()
    for (start, state), (end, _) in pairwise([*flow.states, (flow.duration, "")]):
        colour = STATE_COLOURS.get(state)
        if colour is not None and end > start:
            label = None if state in shown else state.replace("_", " ")
            axes.axvspan(start, end, color=colour, alpha=0.18, linewidth=0, zorder=0, label=label)
            shown.add(state)


def _bars(axes: Any, packets: Packets, label: str, **style: Any) -> None:
    """Draw a bar for each run of packets, from the first to the last, that is seen however short."""
    bars = [((time, first), (time, end)) for time, first, end in _each(packets)]
    axes.add_collection(
        LineCollection(
            bars,
            label=label,
            capstyle="projecting",
            rasterized=len(bars) > MAX_MARKS,
            **{"zorder": 3, **style},
        )
    )


def _each(packets: Packets) -> list[tuple[float, int, int]]:
    return list(zip(packets.times, packets.firsts, packets.ends, strict=True))


def _held(series: Series, flow: Flow, unit: float) -> tuple[list[float], list[float]]:
    """Return a series in another unit, its last value held to the end."""
    values = [value / unit for value in series.values]
    return [*series.times, flow.duration], [*values, values[-1]]


def _step(axes: Any, series: Series | None, flow: Flow, unit: float = 1, **style: Any) -> None:
    if series is not None:
        axes.step(*_held(series, flow, unit), where="post", **{"linewidth": 1.3, **style})


def _fill(axes: Any, series: Series | None, flow: Flow, unit: float = 1, **style: Any) -> None:
    if series is not None:
        axes.fill_between(*_held(series, flow, unit), step="post", linewidth=0, **{"alpha": 0.3, **style})


def _legend(axes: Any) -> None:
    """Explain the lines above the axes, where they hide nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2, frameon=False)


def _packets(packets: Packets) -> str:
    return f"{packets.count:,} packets".replace(",", " ") if packets.count != 1 else "1 packet"


def _size(size: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"
