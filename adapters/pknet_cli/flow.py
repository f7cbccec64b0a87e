"""What the log of a connection says, as series over time that can be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pknet.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pknet_io.qlog import QlogEvent

__all__ = ["Flow", "Packets", "read_flow"]

# A SYN has seen nothing yet: its ack_nr is 0, which may be anywhere. A RESET names what it was sent for.
_ACKNOWLEDGES_NOTHING = ("syn", "reset")


@dataclass
class Packets:
    """Packets at moments: seconds, the number of the first of them, and of the one after the last."""

    times: list[float] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, time: float, first: int, count: int) -> None:
        """Add some."""
        self.times.append(time)
        self.firsts.append(first)
        self.ends.append(first + count)

    @property
    def count(self) -> int:
        """How many packets they are."""
        return sum(self.ends) - sum(self.firsts)


@dataclass
class Series:
    """A value that changes at moments."""

    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, time: float, value: float) -> None:
        """Add a value; of several at one moment the last counts."""
        if self.times and self.times[-1] == time:
            self.values[-1] = value
        else:
            self.times.append(time)
            self.values.append(value)


@dataclass
class Flow:
    """One direction of a connection, as one end of it saw it; times are seconds, packets count from 0.

    `is_sender`: whether that end sent what is shown. `packets`: payload that was sent the first time, or that
    came as the next in order. `again`: what was sent again, or came twice. `early`: what came before another
    that was missing, or was acknowledged so by a selective ACK. `acknowledged`: the number of the first
    packet that was not, in order. `metrics`: figures by their names in the log.
    """

    remote: str
    parameters: dict[str, Any]
    is_sender: bool
    duration: float = 0.0
    payload: int = 0
    packets: Packets = field(default_factory=Packets)
    again: Packets = field(default_factory=Packets)
    lost: Packets = field(default_factory=Packets)
    early: Packets = field(default_factory=Packets)
    acknowledged: Series = field(default_factory=Series)
    metrics: dict[str, Series] = field(default_factory=dict)
    states: list[tuple[float, str]] = field(default_factory=list)


def read_flow(events: Iterable[QlogEvent]) -> Flow:
    """Return the direction of a connection that carried more payload.

    Raises ProtocolError if the log has no packet with payload, or an event that is not as it should be.
    """
    events = list(events)
    try:
        return _Reader(events).flow
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ProtocolError(f"the log has an event that pknet does not write ({error!r})") from None


class _Reader:
    def __init__(self, events: list[QlogEvent]) -> None:
        sent, received = (_payload(events, f"utp:packet_{verb}") for verb in ("sent", "received"))
        if not sent and not received:
            raise ProtocolError("the log has no packet with payload, so there is nothing to draw")
        self.flow = Flow("", {}, sent >= received)
        self.ours, self.theirs = "utp:packet_sent", "utp:packet_received"
        if not self.flow.is_sender:
            self.ours, self.theirs = self.theirs, self.ours
        first = next(event for event in events if event.name == self.ours and _is_payload(event.data))
        self.base = int(first.data["seq_nr"])
        self.newest = 0
        # What came early, the ranges of the last selective ACK, and the number of the first packet that has
        # not come.
        self.arrived: set[int] = set()
        self.told: dict[int, int] = {}
        self.expected = 0
        # One-way delays in microseconds: the clocks differ, so only differences between them mean anything.
        self.delays = Series()
        for event in events:
            self.take(event.time / 1e3, event.name, event.data)
        if self.delays.values:
            least = min(self.delays.values)
            self.flow.metrics["relative_delay"] = Series(
                self.delays.times, [(delay - least) / 1e3 for delay in self.delays.values]
            )
        self.flow.remote = _text(self.flow.parameters.get("remote"))

    def take(self, time: float, name: str, data: dict[str, Any]) -> None:
        """Enter one event."""
        flow = self.flow
        if name == self.ours and _is_payload(data):
            flow.payload += 0 if data.get("retransmission") else int(data["size"])
            self.take_payload(time, data)
        elif name == self.theirs:
            self.take_acknowledgement(time, data)
        elif name == "utp:packet_lost" and flow.is_sender:
            flow.lost.add(time, self.number(data["seq_nr"]), int(data["count"]))
        elif name == "utp:parameters_set":
            flow.parameters |= data
        elif name == "utp:congestion_state_updated":
            flow.states.append((time, str(data["new"])))
        elif name == "utp:metrics_updated":
            for key, value in data.items():
                flow.metrics.setdefault(key, Series()).add(time, float(value))
        if name.startswith("utp:packet_"):
            flow.duration = max(flow.duration, time)

    def take_payload(self, time: float, data: dict[str, Any]) -> None:
        """Enter packets of the direction that is shown."""
        first, count = self.number(data["seq_nr"]), int(data["count"])
        flow = self.flow
        if flow.is_sender:
            (flow.again if data.get("retransmission") else flow.packets).add(time, first, count)
            return
        if first < self.expected or first in self.arrived:
            flow.payload -= int(data["size"])
            flow.again.add(time, first, count)
        elif first > self.expected:
            flow.early.add(time, first, count)
        else:
            flow.packets.add(time, first, count)
        self.arrived.update(range(max(first, self.expected), first + count))
        while self.expected in self.arrived:
            self.arrived.remove(self.expected)
            self.expected += 1

    def take_acknowledgement(self, time: float, data: dict[str, Any]) -> None:
        """Enter what a packet of the other direction says."""
        flow = self.flow
        if data["packet_type"] not in _ACKNOWLEDGES_NOTHING:
            number = self.number(data["ack_nr"]) + 1
            if not flow.acknowledged.values or number >= flow.acknowledged.values[-1]:
                flow.acknowledged.add(time, number)
        if flow.is_sender:
            self.take_selective_ack(time, data.get("selective_ack", ()))
        else:
            delay = int(data["timestamp_difference"])
            if delay:
                first_delay = self.delays.values[0] if self.delays.values else delay
                self.delays.add(time, first_delay + _signed32(delay - first_delay))
            flow.metrics.setdefault("receive_window", Series()).add(time, float(data["wnd_size"]))

    def take_selective_ack(self, time: float, ranges: Iterable[tuple[int, int]]) -> None:
        """Enter what a selective ACK says that those before it did not."""
        told: dict[int, int] = {}
        for seq_nr, last in ranges:
            first = self.number(seq_nr)
            end = told[first] = first + ((last - seq_nr) & 0xFFFF) + 1
            # Mostly a range that has grown.
            for number in range(self.told.get(first, first), end):
                if number not in self.arrived:
                    self.arrived.add(number)
                    self.flow.early.add(time, number, 1)
        self.told = told

    def number(self, seq_nr: int) -> int:
        """Return which packet of the connection has a sequence number: the nearest to those seen last."""
        distance = (seq_nr - self.base - self.newest) & 0xFFFF
        number = self.newest + (distance - 0x10000 if distance & 0x8000 else distance)
        self.newest = max(self.newest, number)
        return number


def _is_payload(data: dict[str, Any]) -> bool:
    return data["packet_type"] == "fin" or bool(data["packet_type"] == "data" and data["size"])


def _payload(events: list[QlogEvent], name: str) -> int:
    return sum(int(event.data["size"]) for event in events if event.name == name)


def _signed32(value: float) -> int:
    value = int(value) & 0xFFFFFFFF
    return value - (1 << 32) if value & (1 << 31) else value


def _text(remote: object) -> str:
    if isinstance(remote, list) and len(remote) == 2:
        return f"[{remote[0]}]:{remote[1]}" if ":" in str(remote[0]) else f"{remote[0]}:{remote[1]}"
    return str(remote)
