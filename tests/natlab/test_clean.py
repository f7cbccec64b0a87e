"""Labs whose process is dead leave nothing, or what they leave is swept."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.natlab import missing_requirements
from tests.natlab.clean import leftovers

MISSING = missing_requirements(latency=0.01)
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason="the lab needs " + ", ".join(MISSING)),
]

ROOT = Path(__file__).parents[2]

KEEP_A_LAB = """
import sys
from tests.natlab import NatLab

with NatLab("cone", "cone", latency=0.01) as lab:
    lab.agent1.popen(["sleep", "600"])
    print("it stands", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", [subprocess.Popen.kill, subprocess.Popen.terminate])
def test_a_lab_goes_with_its_process_however_that_ends(end: Callable[[subprocess.Popen[str]], None]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KEEP_A_LAB],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "it stands\n"
    assert list(Path("/run/netns").glob(f"pknat-{process.pid}-*"))
    end(process)
    # All that the lab started, `sleep` too, holds the other end of the pipe: it ends with the last of them.
    process.communicate(timeout=30)
    assert not list(Path("/run/netns").glob(f"pknat-{process.pid}-*"))


def test_the_sweep_removes_what_a_dead_process_left_and_ends_what_runs_there() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    name = f"pknat-{dead.pid}-0-agent1"
    subprocess.run(["ip", "netns", "add", name], check=True)
    with subprocess.Popen(["ip", "netns", "exec", name, "cat"], stdin=subprocess.PIPE) as sleeper:
        assert name in leftovers()
        swept = subprocess.run(
            [sys.executable, "-m", "tests.natlab.clean"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        assert name in swept.stdout.split()
        assert name not in leftovers()
        assert sleeper.wait(timeout=10) != 0


def test_the_sweep_leaves_namespaces_of_living_processes_alone() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as living:
        name = f"pknat-{living.pid}-0-agent1"
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            assert name not in leftovers()
        finally:
            subprocess.run(["ip", "netns", "delete", name], check=True)
