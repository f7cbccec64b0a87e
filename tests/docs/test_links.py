"""Whatever the papers point to in this repository is there."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, spans

_FILE = re.compile(r"(?:[\w.-]+/)+(?:[\w.-]+\.(?:py|pyx|pyi|md|toml|txt|yaml)|)")

LINKS = [
    pytest.param(page, link, id=f"{page.relative_to(ROOT).as_posix()} {link}")
    for page in PAGES
    for link in links(page)
]
FILES = sorted({span for page in PAGES for span in spans(page) if _FILE.fullmatch(span)})


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    if link.startswith("https://"):
        return
    place, _, anchor = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    assert target.exists()
    assert target.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(target)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_named_exists(file: str) -> None:
    assert (ROOT / file).exists() or (ROOT / "adapters" / file).exists()


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target in PAGES and target not in reached:
                waiting.append(target)
    assert set(PAGES) == reached
