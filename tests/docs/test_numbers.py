"""Every default that a page states in a table is the one in the code.

Such a row has three cells: what, the default, and where it is set: a dotted name of Python, or of a Cython
module whose constants only its source tells.
"""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, rows

UNITS = {"": 1, "s": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "ms": 1e-3, "a second": 1}

_NUMBER = re.compile(r"(\d[\d ]*(?:\.\d+)?)\s*([A-Za-z][A-Za-z ]*)?")
_WHERE = re.compile(r"`(pknet[\w.]*)`")

ROWS = [
    pytest.param(default, match[1], id=match[1])
    for page in PAGES
    for cells in rows(page)
    if len(cells) == 3 and (match := _WHERE.fullmatch(cells[2]))
    for default in [cells[1]]
]


@pytest.mark.parametrize(("default", "where"), ROWS)
def test_a_default_that_is_stated_is_the_one_in_the_code(default: str, where: str) -> None:
    assert read(default) == value_of(where)


def test_there_are_numbers_to_compare() -> None:
    assert len(ROWS) > 30


def read(text: str) -> Any:
    """Return the number, the tuple of numbers, or the None that a cell states."""
    if text == "none":
        return None
    numbers = []
    for part in text.split(", "):
        match = _NUMBER.fullmatch(part)
        assert match is not None, part
        numbers.append(float(match[1].replace(" ", "")) * UNITS[match[2] or ""])
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def value_of(where: str) -> Any:
    """Return what a dotted name stands for: a constant, or the default of a field or parameter."""
    names = where.split(".")
    for length in range(len(names) - 1, 0, -1):
        place = ROOT.joinpath(*names[:length]).with_suffix(".pyx")
        if place.exists() and length == len(names) - 1:
            return constant_of(place, names[-1])
        try:
            found: Any = importlib.import_module(".".join(names[:length]))
        except ModuleNotFoundError:
            continue
        for name in names[length:-1]:
            found = getattr(found, name)
        return default_of(found, names[-1])
    raise AssertionError(f"nothing is called {where}")


def default_of(place: Any, name: str) -> Any:
    """Return a constant, a parameter's default, or a field of what a class makes without arguments."""
    if inspect.ismodule(place):
        return getattr(place, name)
    try:
        return inspect.signature(place).parameters[name].default
    except (ValueError, KeyError):
        return getattr(place(), name)


def constant_of(source: Path, name: str) -> float:
    """Return a constant of a Cython module, from its source."""
    match = re.search(rf"^(?: +|cdef double ){name} = ([\d.]+)$", source.read_text(), re.MULTILINE)
    assert match is not None, f"{source.name} has no constant {name}"
    return float(match[1])
