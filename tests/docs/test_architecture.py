"""The layers: who imports whom, compared with the table in ARCHITECTURE.md, and no I/O in what is compiled.

ruff keeps I/O out of the Python modules of the core, but does not read Cython.
"""

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, rows, spans

_CODE = re.compile(r"`([\w.]+)`")
_IMPORT = re.compile(r"^\s*(?:from (?P<source>[\w.]+) c?import|c?import (?P<module>[\w.]+))", re.MULTILINE)

MODULES = sorted(
    path
    for folder in ("pknet", "adapters")
    for pattern in ("*.py", "*.pyx", "*.pxd", "*.pyi")
    for path in (ROOT / folder).rglob(pattern)
)
COMPILED = [path for path in MODULES if path.suffix in {".pyx", ".pxd"}]


def table() -> dict[str, list[str]]:
    """Return each package, and what it may import beside itself."""
    found: dict[str, list[str]] = {}
    for cells in rows(ROOT / "ARCHITECTURE.md"):
        names = [_CODE.findall(cell) for cell in cells]
        if (
            len(cells) == 2
            and len(names[0]) == 1
            and names[0][0].startswith("pknet")
            and (names[1] or cells[1] == "nothing")
        ):
            found[names[0][0]] = names[1]
    return found


LAYERS = table()


def name_of(path: Path) -> str:
    """Return a module's dotted name."""
    place = path.relative_to(ROOT)
    parts = place.parts[1:] if place.parts[0] == "adapters" else place.parts
    return ".".join(parts).removesuffix(path.suffix).removesuffix(".__init__")


def layer_of(module: str) -> str | None:
    """Return the layer in the table that a module belongs to, the narrowest of several."""
    layers = [layer for layer in LAYERS if module == layer or module.startswith(f"{layer}.")]
    return max(layers, key=len, default=None)


def imports_of(path: Path) -> set[str]:
    """Return the dotted names that a module imports from, whatever it does with them."""
    text = path.read_text(encoding="utf-8")
    return {match["source"] or match["module"] for match in _IMPORT.finditer(text)}


def identity(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_module_has_its_place_in_the_table() -> None:
    assert {module for path in MODULES if layer_of(module := name_of(path)) is None} == {"pknet"}


@pytest.mark.parametrize("path", MODULES, ids=identity)
def test_a_module_imports_what_its_layer_may(path: Path) -> None:
    layer = layer_of(name_of(path))
    if layer is None:
        return
    allowed = [layer, *LAYERS[layer]]
    wrong = [
        name
        for name in imports_of(path)
        if name.split(".")[0].startswith("pknet")
        and not any(name == root or name.startswith(f"{root}.") for root in allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", COMPILED, ids=identity)
def test_a_compiled_module_does_no_io(path: Path) -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    banned = config["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"].keys()
    text = path.read_text(encoding="utf-8")
    assert {
        name for name in imports_of(path) for root in banned if name == root or name.startswith(f"{root}.")
    } == set()
    if path.is_relative_to(ROOT / "pknet"):
        # What C has for the same: no libc of files, sockets, clocks or chance.
        assert not re.search(r"libc\.(stdio|time|stdlib)|posix\.|cdef extern from \"(?!Python\.h)", text)


@pytest.mark.parametrize("folder", ["pknet/_core", "pknet/network"])
def test_every_module_of_a_large_package_is_named(folder: str) -> None:
    modules = {path.stem for path in MODULES if path.parent == ROOT / folder} - {"__init__"}
    assert modules - set(spans(ROOT / "ARCHITECTURE.md")) == set()
