"""The demo, as `make demo` runs it."""

import os
import signal
import subprocess
import sys
from subprocess import PIPE

import pytest

from tests.cli.programs import ROOT
from tests.natlab import missing_requirements

needs_lab = pytest.mark.skipif(
    bool(missing_requirements(0.01)), reason="the NAT lab needs root on Linux and nftables"
)


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.parametrize(
    "arguments", [[], pytest.param(["--nat", "cone,cone"], marks=[pytest.mark.root, needs_lab])]
)
def test_the_demo_ends_quietly_when_it_is_interrupted(arguments: list[str]) -> None:
    # In a process group of its own, all of which Ctrl-C reaches, as it does on a terminal.
    command = [sys.executable, "-m", "examples.demo", *arguments]
    with subprocess.Popen(
        command, stdout=PIPE, stderr=PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        assert any("a rendezvous node" in line for line in demo.stdout)
        os.killpg(demo.pid, signal.SIGINT)
        output, error = demo.communicate(timeout=60)
    assert (demo.returncode, error) == (130, "")
    assert output.endswith("Interrupted.\n")


def test_the_demo_fetches_the_file_both_ways() -> None:
    demo = run_demo()
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.count("The checksum matches.") == 2
    assert demo.stderr == ""


@pytest.mark.root
@needs_lab
def test_the_demo_passes_two_nats() -> None:
    demo = run_demo("--nat", "cone,cone")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "The checksum matches." in demo.stdout
    assert "through the hole that both sides punched" in demo.stdout


@pytest.mark.root
@needs_lab
def test_the_demo_uses_the_port_that_a_nat_forwards() -> None:
    demo = run_demo("--nat", "dmz,symmetric")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "The checksum matches." in demo.stdout


@pytest.mark.root
@needs_lab
def test_the_demo_says_why_two_nats_can_not_be_passed() -> None:
    demo = run_demo("--nat", "symmetric,symmetric")
    assert demo.returncode == 1
    assert "no direct path, because" in demo.stdout
