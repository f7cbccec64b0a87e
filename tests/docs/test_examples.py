"""The programs in examples/ do what they say; the demo has its test with the command."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

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


def test_a_transfer_that_is_cut_off_is_no_success(tmp_path: Path) -> None:
    # So large that nobody has fetched it when the first of it has come; it takes no room.
    with (tmp_path / "source").open("wb") as source:
        source.truncate(1 << 40)
    offer = example("send_file", "--host", "127.0.0.1", "offer", str(tmp_path / "source"))
    with subprocess.Popen(offer, stdout=PIPE, stderr=PIPE, text=True, cwd=ROOT) as offering:
        assert offering.stdout is not None
        assert offering.stderr is not None
        ticket = offering.stdout.readline().strip()
        fetch = example("send_file", "--host", "127.0.0.1", "fetch", ticket, "/dev/stdout")
        with subprocess.Popen(fetch, stdout=PIPE, stderr=PIPE, cwd=ROOT) as fetching:
            assert fetching.stdout is not None
            assert fetching.stdout.read(1 << 20) == bytes(1 << 20)
            offering.send_signal(signal.SIGINT)
            _, error = fetching.communicate(timeout=PATIENCE)
        assert fetching.returncode == 1
        assert error.startswith(b"Error: ")
        assert (offering.wait(PATIENCE), offering.stderr.read()) == (130, "Interrupted.\n")


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["offer", "/nonexistent"], 1, "No such file or directory: '/nonexistent'"),
        (["offer", "/dev/null", "--rendezvous", "foo"], 2, "'foo' is not NODE_ID@HOST:PORT"),
        (["fetch", "pknet1foo", "/dev/null"], 1, "the ticket is damaged or incomplete"),
    ],
)
def test_what_a_file_can_not_be_sent_by_is_told_at_once(arguments: list[str], status: int, why: str) -> None:
    command = example("send_file", "--host", "127.0.0.1", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert why in done.stderr.splitlines()[-1]


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
