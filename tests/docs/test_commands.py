"""The commands that the papers name: the harmless ones are run, of the others each part must exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pknet_cli.main import main
from tests.docs.pages import PAGES, ROOT, Block, blocks, spans

if TYPE_CHECKING:
    import click

HARMLESS = ("--help", "--version")


def commands_in(block: Block) -> list[tuple[str, str]]:
    """Return each command of a block, and what stands below it in one of the kind that has prompts."""
    if block.language == "sh":
        return [(line, "") for line in block.text.splitlines()]
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and not line.startswith("#"):
            command, output = found[-1]
            found[-1] = command, output + line + "\n"
    return found


CONSOLE = [
    pytest.param(command, output, id=f"{block.name} {command}")
    for page in PAGES
    for block in blocks(page)
    if block.language in {"console", "sh"}
    for command, output in commands_in(block)
]
NAMED = sorted({span for page in PAGES for span in spans(page) if span.split()[0] in {"pknet", "make"}})


@pytest.mark.parametrize(("command", "output"), CONSOLE)
def test_a_command_in_a_console_block_exists_and_prints_what_the_page_says(command: str, output: str) -> None:
    words = shlex.split(command)
    if words[-1] not in HARMLESS:
        check(words)
        return
    program = shutil.which(words[0], path=str(Path(sys.executable).parent))
    assert program is not None, words[0]
    done = subprocess.run(
        [program, *words[1:]],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not output or done.stdout == output


@pytest.mark.parametrize("command", NAMED)
def test_a_command_named_in_prose_exists(command: str) -> None:
    check(shlex.split(command))


def check(words: list[str]) -> None:
    """Fail unless a command line is one that the project has."""
    match words[0]:
        case "pknet":
            check_pknet(words[1:])
        case "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            for word in words[1:]:
                assert "=" in word or word in targets, word
        case ".venv/bin/python" | "python" | "python3":
            check_python(words[1:])
        case (
            "."
            | "apt"
            | "curl"
            | "git"
            | "pip"
            | ".venv/bin/pip"
            | ".venv/bin/pytest"
            | ".venv/bin/pre-commit"
        ):
            pass
        case unknown:
            pytest.fail(f"{unknown} is not a command that the papers may name")


def check_pknet(words: list[str]) -> None:
    """Fail unless the subcommand and each option exist."""
    command: click.Command = main
    if words and words[0] in main.commands:
        command, words = main.commands[words[0]], words[1:]
    elif words and not words[0].startswith("-"):
        pytest.fail(f"pknet has no subcommand {words[0]}")
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
    for word in words:
        assert not word.startswith("-") or word in known, word


def check_python(words: list[str]) -> None:
    """Fail unless the module or file to run is in the repository."""
    place = words[1].replace(".", "/") if words[0] == "-m" else words[0]
    assert place in {"venv", "pytest"} or any(
        (ROOT / form).exists() for form in (place, f"{place}.py", f"{place}/__main__.py")
    ), place
