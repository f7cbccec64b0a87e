"""`pknet plot` draws a log, and says what is wrong with what is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from pknet.errors import ProtocolError
from pknet.testing import Link
from pknet.utp import UtpConfig
from pknet_cli.flow import Flow, read_flow
from pknet_io import QlogDirectory, QlogEvent, read_qlog
from tests.cli.programs import run
from tests.utp.flow import Flow as Transfer
from tests.utp.flow import Program

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE = 300_000


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """The logs of both ends of a transfer that lost some packets."""
    folder = tmp_path_factory.mktemp("logs")
    transfer = Transfer(
        Program(bytes(SIZE)),
        Program(),
        Link(latency=0.02, rate=1e6, queue=50_000, loss=0.02),
        Link(latency=0.02),
        config=UtpConfig(open_log=QlogDirectory(folder), path_mtu_discovery=False),
    )
    assert transfer.run_to_the_end(60)
    transfer.run(10)
    return sorted(folder.iterdir())


def test_a_drawing_is_made_beside_the_log(logs: Sequence[Path]) -> None:
    for log in logs:
        done = run("plot", str(log))
        assert (done.returncode, done.stderr) == (0, "")
        drawing = log.with_suffix(".svg")
        assert done.stdout == f"{drawing}\n"
        assert ElementTree.parse(drawing).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_drawing_is_of_the_kind_that_its_name_says(logs: Sequence[Path], tmp_path: Path) -> None:
    for name, start in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        assert run("plot", str(logs[0]), "--output", str(tmp_path / name)).returncode == 0
        assert (tmp_path / name).read_bytes().startswith(start)


def test_another_kind_of_drawing_is_refused(logs: Sequence[Path], tmp_path: Path) -> None:
    refused = run("plot", str(logs[0]), "--output", str(tmp_path / "a.txt"))
    assert refused.returncode == 2
    assert "a drawing is .svg, .png, .pdf, not a.txt" in " ".join(refused.stderr.split())


def test_what_is_no_log_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("hello\n")
    refused = run("plot", str(tmp_path / "log"))
    assert refused.returncode == 1
    assert refused.stderr == f"Error: {tmp_path}/log is no qlog: it does not begin with the header of one\n"
    assert not (tmp_path / "log.svg").exists()


def test_a_log_that_has_nothing_yet_is_told_from_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    refused = run("plot", str(tmp_path / "log"))
    assert refused.returncode == 1
    assert refused.stderr == f"Error: {tmp_path}/log is empty: nothing has been written to this log yet\n"


def test_a_folder_that_is_not_there_is_told_in_plain_words(logs: Sequence[Path], tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "a.png"
    refused = run("plot", str(logs[0]), "--output", str(target))
    assert refused.returncode == 1
    assert refused.stderr == f"Error: can't draw into {target}: No such file or directory\n"


def test_without_matplotlib_it_says_what_to_install(logs: Sequence[Path]) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; from pknet_cli.main import main; "
        f"main(['plot', {str(logs[0])!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: drawing needs matplotlib, which is not installed: pip install 'pknet[plot]'\n"
    )


# What is drawn.


def flow_of(log: Path) -> Flow:
    return read_flow(read_qlog(log))


def test_both_ends_draw_the_direction_that_carried_more(logs: Sequence[Path]) -> None:
    sender, receiver = map(flow_of, logs)
    assert (sender.is_sender, receiver.is_sender) == (True, False)
    assert sender.payload == receiver.payload == SIZE
    assert (sender.remote, receiver.remote) == ("192.0.2.2:1315", "192.0.2.1:1315")


def test_every_packet_is_drawn_once_and_again_if_it_was_lost(logs: Sequence[Path]) -> None:
    sender, receiver = map(flow_of, logs)
    # With the FIN.
    count = -(-SIZE // 1382) + 1
    assert sender.packets.count == count
    assert sender.packets.firsts[0] == 0
    assert sender.packets.ends[-1] == sender.acknowledged.values[-1] == count
    assert sender.again.count == sender.lost.count > 0
    assert receiver.packets.count + receiver.early.count == count
    assert receiver.acknowledged.values[-1] == count
    # What came early was acknowledged so, unless the acknowledgement was overtaken by that of all.
    assert 0 < sender.early.count <= receiver.early.count


def test_delay_and_window_are_there_to_draw(logs: Sequence[Path]) -> None:
    sender, receiver = map(flow_of, logs)
    assert {"smoothed_rtt", "min_rtt", "queueing_delay", "congestion_window", "bytes_in_flight"} < set(
        sender.metrics
    )
    assert min(receiver.metrics["relative_delay"].values) == 0
    assert max(receiver.metrics["receive_window"].values) == 1 << 20
    assert [state for _, state in sender.states][:2] == ["slow_start", "recovery"]


def packet(name: str, seq_nr: int, count: int = 1, **more: object) -> QlogEvent:
    data = {"packet_type": "data", "seq_nr": seq_nr, "ack_nr": 7, "size": count * 10, "count": count}
    return QlogEvent(0.0, name, data | more)


def test_sequence_numbers_that_wrap_go_on() -> None:
    events = [packet("utp:packet_sent", start & 0xFFFF, 30_000) for start in range(60_000, 300_000, 30_000)]
    flow = read_flow(events)
    assert flow.packets.firsts == list(range(0, 240_000, 30_000))


@pytest.mark.parametrize("seq_nr", [5, 30_000, 40_000, 65_530])
def test_what_a_receiver_acknowledged_begins_with_its_first_packet_whoever_dialled(seq_nr: int) -> None:
    def state(time: float, ack_nr: int) -> QlogEvent:
        data = {"packet_type": "state", "wnd_size": 9, "size": 0, "timestamp_difference": 0}
        return QlogEvent(time, "utp:packet_sent", data | {"seq_nr": 2, "ack_nr": ack_nr & 0xFFFF, "count": 1})

    syn = QlogEvent(0.0, "utp:packet_sent", state(0.0, 0).data | {"packet_type": "syn"})
    payload = [packet("utp:packet_received", (seq_nr + number) & 0xFFFF) for number in range(20)]
    flow = read_flow([syn, state(100.0, seq_nr - 1), *payload, state(200.0, seq_nr + 19)])
    assert (flow.acknowledged.times, flow.acknowledged.values) == ([0.1, 0.2], [0, 20])
    assert flow.packets.firsts == list(range(20))


def test_a_reset_acknowledges_nothing() -> None:
    # It names the packet that it was sent for, however much of what came before that is missing.
    reset = packet("utp:packet_received", 1, ack_nr=104, size=0, packet_type="reset")
    flow = read_flow([packet("utp:packet_sent", 100, 5), reset])
    assert flow.acknowledged.values == []


@pytest.mark.parametrize(
    "events",
    [
        [],
        [QlogEvent(0.0, "utp:timer_fired", {"timer": "tail"})],
        [packet("utp:packet_sent", 1), QlogEvent(0.0, "utp:packet_lost", {"seq_nr": "x"})],
        [packet("utp:packet_sent", 1), QlogEvent(0.0, "utp:packet_sent", {})],
        [packet("utp:packet_sent", 1), QlogEvent(0.0, "utp:metrics_updated", {"min_rtt": "soon"})],
        [packet("utp:packet_sent", 1), packet("utp:packet_received", 1, selective_ack=[1, 2])],
    ],
)
def test_a_log_that_makes_no_sense_is_refused(events: list[QlogEvent]) -> None:
    with pytest.raises(ProtocolError, match="the log has"):
        read_flow(events)
