"""What fuzzing found: replayed, and varied a little each way."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.fuzz.random_driver import inputs_like
from tests.fuzz.targets import CORPUS, TARGETS, corpus_of

VARIATIONS = 150


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_on_an_input_that_fuzzing_found(name: str) -> None:
    for path in corpus_of(name):
        try:
            TARGETS[name](path.read_bytes())
        except BaseException as error:
            error.add_note(f"input: {path}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_on_an_input_like_those(name: str) -> None:
    for data in islice(inputs_like(name, seed=1), VARIATIONS):
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(f"input: {data.hex()}")
            raise


def test_each_target_has_a_corpus_and_all_of_them_are_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert sum(path.stat().st_size for path in files) < 300_000
