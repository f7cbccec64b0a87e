"""Every Python block of the papers is a whole program: each is run, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Block, programs

PATIENCE = 60.0


@pytest.mark.parametrize(
    ("block", "output"), [pytest.param(*found, id=found[0].name) for found in programs()]
)
def test_a_program_runs_without_a_warning_and_prints_what_the_page_says(
    block: Block, output: str | None, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    # As many lines before it as on the page, so that a traceback tells where to look.
    program.write_text("\n" * block.line + block.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if output is not None:
        assert done.stdout == output
