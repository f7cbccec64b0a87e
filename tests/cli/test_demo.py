"""The demo, as `make demo` runs it."""

import subprocess
import sys

import pytest

from tests.cli.programs import ROOT
from tests.natlab import missing_requirements


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


def test_the_demo_fetches_the_file_both_ways() -> None:
    demo = run_demo()
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.count("The checksum matches.") == 2
    assert demo.stderr == ""


@pytest.mark.root
@pytest.mark.skipif(bool(missing_requirements(0.01)), reason="the NAT lab needs root on Linux and nftables")
def test_the_demo_passes_two_nats() -> None:
    demo = run_demo("--nat", "cone,cone")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "The checksum matches." in demo.stdout
    assert "through the hole that both sides punched" in demo.stdout


@pytest.mark.root
@pytest.mark.skipif(bool(missing_requirements(0.01)), reason="the NAT lab needs root on Linux and nftables")
def test_the_demo_says_why_two_nats_can_not_be_passed() -> None:
    demo = run_demo("--nat", "symmetric,symmetric")
    assert demo.returncode == 1
    assert "no direct path, because" in demo.stdout
