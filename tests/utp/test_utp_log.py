"""The log of a connection: what is told of it, and that telling harms nothing."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from pknet.testing import Link
from pknet.utp import UtpConfig, UtpConnection, UtpEndpoint
from tests.utp.flow import Flow, Program
from tests.utp.peer import SEGMENT, Peer, mask_of


class Log:
    """What was told, by what it is called."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str, dict[str, Any]]] = []

    def __call__(self, time: float, name: str, data: dict[str, Any]) -> None:
        self.events.append((time, name.removeprefix("utp:"), data))

    def of(self, name: str, **values: object) -> list[dict[str, Any]]:
        """Return the data of events, of those only that have these values."""
        return [
            data
            for _, called, data in self.events
            if called == name and all(data.get(key) == value for key, value in values.items())
        ]


class Logs:
    """Opens a log for each connection, and keeps them."""

    def __init__(self) -> None:
        self.opened: list[tuple[UtpConnection, Log]] = []

    def __call__(self, connection: UtpConnection) -> Log:
        log = Log()
        self.opened.append((connection, log))
        return log


def open_and_log(config: UtpConfig | None = None) -> tuple[Peer, UtpConnection, Log]:
    """Return a connection that the endpoint has accepted, with a log from then on."""
    peer = Peer(config)
    connection = peer.dial_and_prove()
    log = Log()
    connection.log = log
    return peer, connection, log


def lossy_flow(size: int = 600_000, seed: int = 1) -> tuple[Flow, UtpConnection, Log, Log]:
    """Move some bytes over a path that loses and reorders; return both sides' logs."""
    logs, far_logs = Logs(), Logs()
    flow = Flow(
        Program(bytes(size)),
        Program(),
        Link(latency=0.02, rate=1e6, queue=50_000, loss=0.02, reorder=0.01),
        Link(latency=0.02, loss=0.02),
        config=UtpConfig(open_log=logs),
        far_config=UtpConfig(open_log=far_logs),
        seed=seed,
        start=5.0,
    )
    assert flow.run_to_the_end(60)
    flow.run(10)
    ((connection, log),) = logs.opened
    ((_, far_log),) = far_logs.opened
    return flow, connection, log, far_log


def numbers(data: dict[str, Any]) -> list[int]:
    return [(data["seq_nr"] + shift) & 0xFFFF for shift in range(data["count"])]


# A whole transfer.


def test_what_was_sent_first_adds_up_to_the_bytes_of_the_transfer() -> None:
    _, connection, log, far_log = lossy_flow()
    first = [data for data in log.of("packet_sent") if "retransmission" not in data]
    assert sum(data["size"] for data in first) == connection.bytes_sent == 600_000
    assert sum(data["count"] for data in log.of("packet_sent")) == connection.packets_sent
    assert sum(data["count"] for data in log.of("packet_received")) == connection.packets_received
    again = log.of("packet_sent", retransmission=True)
    assert sum(data["count"] for data in again) == connection.packets_retransmitted > 0
    # Of what the receiver's log has, some may have come twice.
    sizes = {n: data["size"] for data in far_log.of("packet_received") for n in numbers(data)}
    assert sum(sizes.values()) == 600_000


@pytest.mark.parametrize("seed", range(5))
def test_what_is_lost_was_sent_before_and_is_sent_again_after(seed: int) -> None:
    _, connection, log, _ = lossy_flow(seed=seed)
    under_way: set[int] = set()
    waiting: set[int] = set()
    lost = 0
    for _, name, data in log.events:
        if name == "packet_lost":
            assert under_way.issuperset(numbers(data))
            waiting.update(numbers(data))
            lost += data["count"]
        elif name == "packet_sent" and data.get("retransmission"):
            assert waiting.issuperset(numbers(data))
            waiting.difference_update(numbers(data))
        elif name == "packet_sent" and data["packet_type"] in ("data", "fin"):
            under_way.update(numbers(data))
    stats = connection.stats()
    # A tail probe is the last packet again, or new payload.
    told = stats.lost_by_reordering + stats.lost_by_time + stats.lost_by_timeout
    assert 0 < told <= lost <= told + stats.tail_probes


def test_time_does_not_go_back_in_a_log() -> None:
    _, _, log, far_log = lossy_flow()
    for events in (log.events, far_log.events):
        times = [time for time, _, _ in events]
        assert times == sorted(times)
        assert times[0] >= 5.0


def test_a_log_begins_with_the_parameters_and_ends_when_the_connection_is_forgotten() -> None:
    flow, connection, log, far_log = lossy_flow()
    (_, first, parameters), *_, (_, last, nothing) = log.events
    assert first == "parameters_set"
    assert parameters == {
        "remote": flow.wired.b.address,
        "connection_id": parameters["connection_id"],
        "is_initiator": True,
        "congestion_control": "ledbat",
        "max_datagram": 1200,
    }
    assert (last, nothing) == ("log_ended", {})
    assert connection.log is None
    (far_parameters,) = far_log.of("parameters_set")
    assert far_parameters["connection_id"] == parameters["connection_id"]
    assert not far_parameters["is_initiator"]


def test_the_states_follow_each_other() -> None:
    _, _, log, far_log = lossy_flow()
    assert log.of("connection_state_updated") == [
        {"new": "SYN_SENT"},
        {"old": "SYN_SENT", "new": "CONNECTED"},
        {"old": "CONNECTED", "new": "CLOSED", "reason": "FINISHED"},
    ]
    # An incoming connection has a log when it is proven, so that no stranger has one made.
    assert far_log.of("connection_state_updated")[:2] == [
        {"new": "SYN_RECEIVED"},
        {"old": "SYN_RECEIVED", "new": "CONNECTED"},
    ]
    changes = log.of("congestion_state_updated")
    assert changes[0] == {"new": "slow_start"}
    assert {change["new"] for change in changes} == {"slow_start", "congestion_avoidance", "recovery"}
    assert all(after["old"] == before["new"] for before, after in pairwise(changes))


def test_the_figures_are_told_when_they_change_and_end_as_the_statistics_have_them() -> None:
    _, connection, log, _ = lossy_flow()
    known: dict[str, Any] = {}
    for data in log.of("metrics_updated"):
        assert all(known.get(name) != value for name, value in data.items())
        known |= data
    stats = connection.stats()
    assert stats.rtt is not None
    assert stats.delivery_rate is not None
    assert known["congestion_window"] == stats.window
    assert known["ssthresh"] == stats.slow_start_threshold
    assert known["bytes_in_flight"] == known["unacknowledged"] == 0
    assert known["smoothed_rtt"] == pytest.approx(stats.rtt * 1e3, abs=1e-3)
    assert known["delivery_rate"] == pytest.approx(stats.delivery_rate * 8, abs=1)
    assert {"rtt_variance", "min_rtt", "queueing_delay", "peer_window", "pacing_rate"} < known.keys()


# Packets.


def test_packets_of_one_run_are_one_event() -> None:
    peer, connection, log = open_and_log()
    connection.send(bytes(3 * SEGMENT + 10), peer.now)
    sent = peer.take()
    (data,) = log.of("packet_sent")
    assert data == {
        "packet_type": "data",
        "seq_nr": sent[0].seq_nr,
        "ack_nr": sent[0].ack_nr,
        "wnd_size": 1 << 20,
        "timestamp_difference": sent[0].timestamp_difference,
        "size": 3 * SEGMENT + 10,
        "count": 4,
    }


def test_packets_that_came_together_are_one_event() -> None:
    peer, _, log = open_and_log()
    packets = [peer.packet(0, seq_nr=peer.seq_nr + n, payload=bytes(100)) for n in range(5)]
    peer.give_together(packets, 120)
    peer.take()
    assert [(data["seq_nr"], data["size"], data["count"]) for data in log.of("packet_received")] == [
        (peer.seq_nr, 500, 5)
    ]


def test_what_a_packet_says_is_told() -> None:
    peer, connection, log = open_and_log()
    connection.send(bytes(8 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.state(
        ack_nr=first,
        wnd_size=5000,
        timestamp_difference=7000,
        selective_ack=mask_of(first, first + 2, first + 3, first + 5),
    )
    peer.take()
    (data,) = log.of("packet_received")
    assert data == {
        "packet_type": "state",
        "seq_nr": peer.seq_nr,
        "ack_nr": first,
        "wnd_size": 5000,
        "timestamp_difference": 7000,
        "size": 0,
        "count": 1,
        "selective_ack": [[first + 2, first + 3], [first + 5, first + 5]],
    }


def test_a_packet_that_is_not_believed_is_not_told() -> None:
    peer, _, log = open_and_log()
    peer.state(ack_nr=peer.ack_nr + 20_000)
    peer.state(connection_id=1)
    peer.give_bytes(b"not uTP at all, not even nearly")
    peer.take()
    assert log.of("packet_received") == []


def test_a_question_whether_the_peer_is_there_is_no_retransmission() -> None:
    peer, _, log = open_and_log(UtpConfig(keepalive=None, idle_timeout=20))
    peer.pass_time(12)
    questions = log.of("packet_sent", packet_type="data", size=0)
    assert questions
    assert all("retransmission" not in data for data in questions)


# Why a packet is sent again.


def triggers(log: Log) -> Counter[str]:
    return Counter({data["trigger"]: data["count"] for data in log.of("packet_lost")})


def test_three_later_ones_that_arrived_are_a_trigger() -> None:
    peer, connection, log = open_and_log()
    connection.send(bytes(6 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(0.1)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1, first + 2, first + 3))
    assert [packet.seq_nr for packet in peer.take()] == [first]
    assert log.of("packet_lost") == [
        {"seq_nr": first, "size": SEGMENT, "count": 1, "trigger": "reordering_threshold"}
    ]
    assert connection.stats().lost_by_reordering == 1


def test_time_that_has_passed_since_a_later_one_arrived_is_a_trigger() -> None:
    peer, connection, log = open_and_log()
    connection.send(bytes(2 * SEGMENT), peer.now)
    first = peer.take()[0].seq_nr
    peer.pass_time(0.1)
    peer.state(ack_nr=first - 1, selective_ack=mask_of(first - 1, first + 1))
    peer.pass_time(0.04)
    assert triggers(log) == {"time_threshold": 1}
    assert log.of("timer_fired") == [{"timer": "reordering"}]
    assert connection.stats().lost_by_time == 1


def test_a_timeout_and_a_tail_probe_are_triggers() -> None:
    peer, connection, log = open_and_log()
    connection.send(bytes(SEGMENT), peer.now)
    seq_nr = peer.take()[0].seq_nr
    peer.pass_time(0.1)
    peer.state(ack_nr=seq_nr)
    connection.send(bytes(2 * SEGMENT), peer.now)
    peer.pass_time(1)
    assert [(data["trigger"], data["count"]) for data in log.of("packet_lost")] == [
        ("tail_probe", 1),
        ("timeout", 2),
    ]
    assert [data["timer"] for data in log.of("timer_fired")] == ["tail", "retransmit"]
    stats = connection.stats()
    assert (stats.tail_probes, stats.lost_by_timeout, stats.timeouts) == (1, 2, 1)


def test_a_window_that_opened_and_another_path_are_triggers() -> None:
    peer, connection, log = open_and_log()
    connection.send(bytes(100), peer.now)
    first = peer.take()[0].seq_nr
    peer.state(ack_nr=first - 1, wnd_size=0)
    peer.state(ack_nr=first - 1)
    peer.take()
    assert triggers(log) == {"window_opened": 1}
    peer.endpoint.rebind(connection, peer.remote, peer.now, max_datagram=500)
    peer.take()
    assert triggers(log) == {"window_opened": 1, "path_changed": 1}
    assert log.of("parameters_set")[-1] == {"max_datagram": 500}


def test_another_congestion_controller_is_told() -> None:
    peer, connection, log = open_and_log()
    connection.congestion_control = "bbr"
    connection.send(b"x", peer.now)
    peer.take()
    assert log.of("parameters_set")[-1] == {"congestion_control": "bbr"}


# Who is told.


def test_without_a_log_nothing_is_noted() -> None:
    peer = Peer()
    connection = peer.answer_dial()
    assert connection.log is None
    assert peer.endpoint.open_log is None
    log = Log()
    connection.log = log
    peer.take()
    before = len(log.events)
    connection.log = None
    peer.take()
    assert log.events[before:] == [(peer.now, "log_ended", {})]
    connection.send(b"x", peer.now)
    peer.take()
    assert len(log.events) == before + 1


def test_a_connection_that_is_not_proven_has_no_log() -> None:
    logs = Logs()
    peer = Peer(UtpConfig(open_log=logs))
    peer.dial()
    peer.pass_time(100)
    assert len(peer.endpoint) == 0
    assert logs.opened == []


def test_logs_can_be_wanted_from_now_on() -> None:
    logs = Logs()
    peer = Peer()
    peer.endpoint.open_log = logs
    connection = peer.dial_and_prove()
    assert [opened for opened, _ in logs.opened] == [connection]
    peer.endpoint.open_log = None
    assert Peer(remote=("192.0.2.8", 1)).endpoint.open_log is None


def test_who_opens_logs_may_want_none_of_a_connection() -> None:
    asked = []
    peer = Peer(UtpConfig(open_log=asked.append))
    connection = peer.dial_and_prove()
    connection.send(b"x", peer.now)
    assert peer.take_payload() == b"x"
    assert asked == [connection]
    assert connection.log is None


def test_a_log_that_raises_harms_nothing_and_is_not_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    peer, connection, _ = open_and_log()

    def fail(*event: object) -> None:
        raise OSError("no space left")

    connection.log = fail
    connection.send(b"still there", peer.now)
    assert peer.take_payload() == b"still there"
    peer.data(b"and back")
    peer.take()
    assert connection.read(100, peer.now) == b"and back"
    assert connection.log is None
    assert [(unraisable.exc_type, str(unraisable.exc_value)) for unraisable in raised] == [
        (OSError, "no space left")
    ]


def test_a_log_that_can_not_be_opened_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)

    def fail(connection: UtpConnection) -> Log:
        raise PermissionError("not yours")

    peer = Peer(UtpConfig(open_log=fail))
    connection = peer.dial_and_prove()
    connection.send(b"x", peer.now)
    assert peer.take_payload() == b"x"
    assert [unraisable.exc_type for unraisable in raised] == [PermissionError]


def test_a_log_may_call_verbs() -> None:
    peer, connection, _ = open_and_log()

    def end_it(time: float, name: str, data: dict[str, Any]) -> None:
        if name == "utp:packet_sent":
            connection.abort(peer.now)
            peer.endpoint.transmits()
            peer.endpoint.handle_timeout(peer.now + 100)

    connection.log = end_it
    connection.send(bytes(50 * SEGMENT), peer.now)
    peer.endpoint.transmits()
    assert connection.state == "CLOSED"
    assert len(peer.endpoint) == 0


@pytest.mark.parametrize("what", ["a path", 7])
def test_what_can_not_be_called_is_no_log(what: Any) -> None:
    with pytest.raises(TypeError, match="something to call"):
        UtpConfig(open_log=what)
    with pytest.raises(TypeError, match="something to call"):
        UtpEndpoint(bytes).open_log = what
    _, connection, log = open_and_log()
    with pytest.raises(TypeError, match="something to call"):
        connection.log = what
    assert connection.log is log


def test_what_the_system_refuses_and_the_size_that_follows_are_in_the_log() -> None:
    events: list[tuple[float, str, Any]] = []
    peer = Peer(UtpConfig())
    connection = peer.dial_and_prove()
    connection.log = lambda time, name, data: events.append((time, name, data))
    connection.send(bytes(50_000), peer.now)
    probe = peer.take()[0]
    peer.endpoint.receive_packet_too_big(bytes(probe), 1000, peer.remote, None, peer.now)
    peer.take()
    named = [(name, data) for _, name, data in events]
    lost = next(data for name, data in named if name == "utp:packet_lost")
    assert (lost["seq_nr"], lost["size"], lost["trigger"]) == (probe.seq_nr, 1382, "packet_too_big")
    assert [data["max_datagram"] for name, data in named if name == "utp:parameters_set"][-1] == 1000
