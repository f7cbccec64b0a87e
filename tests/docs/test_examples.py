"""The programs in examples/ do what they say; the demo has its test with the command."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from pknet_io import read_qlog
from tests.docs.pages import ROOT

PATIENCE = 60.0


def example(name: str, *arguments: str) -> list[str]:
    """Return the command line of an example."""
    return [sys.executable, "-W", "error", "-m", f"examples.{name}", *arguments]


def run(command: list[str]) -> str:
    """Run an example to its end and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_file_is_sent_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "source").write_bytes(data)
    offer = example("send_file", "--host", "127.0.0.1", "offer", str(tmp_path / "source"))
    with subprocess.Popen(offer, stdout=subprocess.PIPE, text=True, cwd=ROOT) as offering:
        try:
            assert offering.stdout is not None
            ticket = offering.stdout.readline().strip()
            fetch = example("send_file", "--host", "127.0.0.1", "fetch", ticket, str(tmp_path / "target"))
            assert run(fetch) == f"{len(data)} {hashlib.sha256(data).hexdigest()}\n"
        finally:
            offering.kill()
    assert (tmp_path / "target").read_bytes() == data


@pytest.mark.parametrize(
    ("nats", "outcome"),
    [
        ("cone cone", "It answers b'hello'"),
        ("dmz symmetric", "It answers b'hello'"),
        (
            "symmetric cone",
            "no direct path, because this side's NAT gives each destination a port of its own",
        ),
    ],
)
def test_two_nodes_meet_in_virtual_time_or_say_why_not(nats: str, outcome: str) -> None:
    assert outcome in run(example("virtual_time", *nats.split()))


def test_a_flow_leaves_a_log_that_can_be_read(tmp_path: Path) -> None:
    for controller in ("cubic", "ledbat"):
        printed = run(example("log_flow", str(tmp_path / "log"), controller))
        assert printed.startswith("1500000 bytes in ")
        events = read_qlog(tmp_path / "log")
        assert events[0].data["congestion_control"] == controller
        assert events[-1].name == "utp:log_ended"
