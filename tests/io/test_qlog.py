"""Logs in files: what is written can be read, and a stranger can't fill the disk."""

from __future__ import annotations

import gc
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pknet.errors import ProtocolError
from pknet.testing import Link
from pknet.utp import UtpConfig
from pknet_io import QlogDirectory, QlogEvent, QlogWriter, read_qlog
from pknet_io.qlog import MAX_FLUSHES
from tests.utp.flow import Flow, Program

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERS = {"remote": ("192.0.2.1", 1), "is_initiator": True}


def connection_with(remote: Any) -> Any:
    return SimpleNamespace(remote=remote)


def written(path: Path) -> QlogWriter:
    """Return a log that has been begun."""
    writer = QlogWriter(path)
    writer(100.0, "utp:parameters_set", PARAMETERS)
    writer(100.25, "utp:timer_fired", {"timer": "tail"})
    return writer


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    writer = written(tmp_path / "log")
    writer(100.5, "utp:log_ended", {})
    assert read_qlog(tmp_path / "log") == [
        QlogEvent(0.0, "utp:parameters_set", {"remote": ["192.0.2.1", 1], "is_initiator": True}),
        QlogEvent(250.0, "utp:timer_fired", {"timer": "tail"}),
        QlogEvent(500.0, "utp:log_ended", {}),
    ]


@pytest.mark.parametrize(("is_initiator", "role"), [(True, "client"), (False, "server")])
def test_the_header_is_that_of_a_sequential_qlog(tmp_path: Path, is_initiator: bool, role: str) -> None:
    writer = QlogWriter(tmp_path / "log")
    writer(1.0, "utp:parameters_set", {"is_initiator": is_initiator})
    writer.close()
    text = (tmp_path / "log").read_text()
    assert text.startswith("\x1e{")
    header = json.loads(text.split("\n")[0].removeprefix("\x1e"))
    assert header["file_schema"] == "urn:ietf:params:qlog:file:sequential"
    assert header["serialization_format"] == "application/qlog+json-seq"
    assert header["trace"]["vantage_point"]["type"] == role
    assert header["trace"]["common_fields"]["reference_time"]["epoch"] == "unknown"
    assert header["trace"]["event_schemas"] == ["urn:x-pknet:qlog:events:utp"]


def test_a_remote_of_any_kind_is_written(tmp_path: Path) -> None:
    writer = QlogWriter(tmp_path / "log")
    writer(1.0, "utp:parameters_set", {"remote": 1 + 2j})
    writer.close()
    assert read_qlog(tmp_path / "log")[0].data == {"remote": "(1+2j)"}


def test_the_end_of_the_log_closes_the_file_and_what_follows_is_dropped(tmp_path: Path) -> None:
    writer = written(tmp_path / "log")
    writer(101.0, "utp:log_ended", {})
    size = (tmp_path / "log").stat().st_size
    assert size > 0
    writer(102.0, "utp:timer_fired", {})
    writer.close()
    assert (tmp_path / "log").stat().st_size == size


def test_a_log_that_nobody_closes_is_whole_all_the_same(tmp_path: Path) -> None:
    writer = written(tmp_path / "log")
    del writer
    gc.collect()
    assert len(read_qlog(tmp_path / "log")) == 2


def test_the_log_of_a_quiet_connection_is_in_the_file_while_it_lives(tmp_path: Path) -> None:
    writer = QlogWriter(tmp_path / "log")
    for number, time in enumerate([0.0, 0.0, 0.1, 0.1, 0.1, 30.0, 60.0], 1):
        writer(time, "utp:timer_fired", {"timer": "tail"})
        assert len(read_qlog(tmp_path / "log")) == number


def test_the_log_of_a_busy_connection_is_written_in_large_pieces_and_not_late(tmp_path: Path) -> None:
    writer = QlogWriter(tmp_path / "log")
    sizes = set()
    for number in range(1, 5001):
        writer(number * 1e-3, "utp:timer_fired", {"timer": "tail"})
        sizes.add((tmp_path / "log").stat().st_size)
        if not number % 500:
            assert read_qlog(tmp_path / "log")[-1].time > number - 20
    # Of five seconds, and of the rush that is allowed, beside full buffers.
    assert len(sizes) < 6.5 * MAX_FLUSHES


def test_a_log_stops_where_it_is_too_long(tmp_path: Path) -> None:
    writer = QlogWriter(tmp_path / "log", max_size=1000)
    for number in range(1000):
        writer(float(number), "utp:timer_fired", {"timer": "tail"})
    events = read_qlog(tmp_path / "log")
    assert events[-1].name == "utp:log_full"
    assert (tmp_path / "log").stat().st_size < 1200


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("precious")
    with pytest.raises(FileExistsError):
        QlogWriter(tmp_path / "log")


def test_each_connection_has_a_file_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "by it"
    flow = Flow(
        Program(bytes(50_000)),
        Program(),
        Link(latency=0.01),
        config=UtpConfig(open_log=QlogDirectory(folder)),
    )
    assert flow.run_to_the_end(20)
    flow.run(10)
    names = sorted(path.name for path in folder.iterdir())
    assert [name.split("-", 1)[1] for name in names] == [
        "0001-192.0.2.2-1315.sqlog",
        "0002-192.0.2.1-1315.sqlog",
    ]
    for name in names:
        events = read_qlog(folder / name)
        assert (events[0].name, events[-1].name) == ("utp:parameters_set", "utp:log_ended")


def test_two_runs_share_a_folder(tmp_path: Path) -> None:
    paths = set()
    for _ in range(3):
        writer = QlogDirectory(tmp_path)(connection_with(("192.0.2.1", 1)))
        assert writer is not None
        writer.close()
        paths.add(writer.path)
    assert len(paths) == 3


@pytest.mark.parametrize("remote", [("fe80::1%eth0", 1315), "../../etc/passwd", ("a" * 500, 1), object()])
def test_a_remote_of_any_kind_makes_a_name_of_a_file_in_the_folder(tmp_path: Path, remote: Any) -> None:
    writer = QlogDirectory(tmp_path)(connection_with(remote))
    assert writer is not None
    writer.close()
    assert writer.path.parent == tmp_path
    assert list(tmp_path.iterdir()) == [writer.path]


def test_there_are_no_more_files_than_allowed(tmp_path: Path) -> None:
    logs = QlogDirectory(tmp_path, max_files=3)
    writers = [logs(connection_with(("192.0.2.1", port))) for port in range(10)]
    for writer in writers[:3]:
        assert writer is not None
        writer.close()
    assert writers[3:] == [None] * 7
    assert len(list(tmp_path.iterdir())) == 3


def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    written(tmp_path / "log").close()
    data = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(data[:-5])
    assert [event.name for event in read_qlog(tmp_path / "log")] == ["utp:parameters_set"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: nothing has been written to this log yet"),
        (b"hello", "does not begin with the header"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\n", "does not begin with the header"),
        (b'{"qlog_format": "JSON"}\n', "does not begin with the header"),
        (b"[1, 2]\n", "does not begin with the header"),
    ],
)
def test_what_is_no_log_is_told_in_plain_words(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(ProtocolError, match=message):
        read_qlog(tmp_path / "log")


def test_the_log_of_another_protocol_is_told(tmp_path: Path) -> None:
    written(tmp_path / "log").close()
    text = (tmp_path / "log").read_text()
    (tmp_path / "log").write_text(text.replace("urn:x-pknet:", "urn:ietf:params:"))
    with pytest.raises(ProtocolError, match="none of a uTP connection"):
        read_qlog(tmp_path / "log")


def test_a_damaged_line_is_told_by_its_number(tmp_path: Path) -> None:
    written(tmp_path / "log").close()
    with (tmp_path / "log").open("a") as file:
        file.write('\x1e{"time": "soon", "name": "utp:timer_fired", "data": {}}\n')
    with pytest.raises(ProtocolError, match="line 4 is no event"):
        read_qlog(tmp_path / "log")
