"""The reference pages name all that is public, and nothing that is not there.

A page with a line "Package: `name`" is held to that package: what it exports stands on the page, and below a
heading that is a class, each row of a table begins with one of its members, called as it is called.
"""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, prose, spans

_PACKAGE = re.compile(r"^Packages?: (.+)$", re.MULTILINE)
_SECTION = re.compile(r"^##+ `(\w+)`$(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r"^\| `(\w+)(?:\(([^)]*)\))?`", re.MULTILINE)


def packages_of(page: Path) -> list[Any]:
    """Return the packages that a reference page is about."""
    match = _PACKAGE.search(prose(page))
    return (
        []
        if match is None
        else [importlib.import_module(name) for name in re.findall(r"`([\w.]+)`", match[1])]
    )


REFERENCE = [page for page in PAGES if packages_of(page)]
EXPORTS = [
    pytest.param(page, name, id=f"{package.__name__}.{name}")
    for page in REFERENCE
    for package in packages_of(page)
    for name in package.__all__
]
MEMBERS = [
    pytest.param(page, section, name, arguments, id=f"{page.stem} {section}.{name}")
    for page in REFERENCE
    for section, text in _SECTION.findall(prose(page))
    for name, arguments in _MEMBER.findall(text)
]


@pytest.mark.parametrize(("page", "name"), EXPORTS)
def test_what_a_package_exports_is_on_its_page(page: Path, name: str) -> None:
    assert any(re.match(rf"{name}\b", span) for span in spans(page)), page.relative_to(ROOT)


@pytest.mark.parametrize(("page", "section", "name", "arguments"), MEMBERS)
def test_a_member_on_a_page_exists_and_is_called_so(
    page: Path, section: str, name: str, arguments: str
) -> None:
    for package in packages_of(page):
        if (owner := getattr(package, section, None)) is not None:
            check_member(owner, name, arguments)


def test_every_reference_page_has_a_package() -> None:
    assert {page.name for page in (ROOT / "docs" / "reference").glob("*.md")} - {"command.md"} == {
        page.name for page in REFERENCE
    }


def check_member(owner: Any, name: str, arguments: str) -> None:
    """Fail unless a class has the member and it takes these arguments; "**" stands for keywords left out."""
    member = getattr(owner, name, None)
    if member is None:
        bodies = [
            inspect.getsource(part)
            for part in owner.__mro__
            if part is not object and part.__module__ != "typing"
        ]
        assert any(f"self.{name}" in body or f"{name}:" in body for body in bodies), (
            f"{owner.__name__} has no {name}"
        )
    if not arguments:
        return
    known = list(inspect.signature(member).parameters)  # type: ignore[arg-type]
    given = [word.split("=")[0].strip(" *") for word in arguments.split(",")]
    assert [word for word in given if word and word not in known] == []
