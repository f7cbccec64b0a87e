"""The papers of the project, taken apart: their code blocks, tables, links and headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Where the block stands, for a person."""
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in _FENCE.finditer(text)
    ]


def programs() -> Iterator[tuple[Block, str | None]]:
    """Give each Python program of the papers, and what it prints if an output block follows it."""
    for page in PAGES:
        found = blocks(page)
        for block, following in zip_longest(found, found[1:]):
            if block.language == "python":
                is_output = following is not None and following.language == "output"
                yield block, following.text if is_output else None


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Return the pieces of prose that are set as code."""
    return _SPAN.findall(prose(page))


def links(page: Path) -> list[str]:
    """Return where the links of a page lead."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings have where it is shown as HTML."""
    return {_anchor(heading) for heading in _HEADING.findall(prose(page))}


def rows(page: Path) -> Iterator[list[str]]:
    """Give the rows of a page's tables, their heads left out, as lists of cells."""
    table: list[list[str]] = []
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        else:
            yield from table[2:]
            table = []


def _anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return kept.strip().replace(" ", "-")
