from hypothesis import given
from hypothesis import strategies as st

from pknet.network.printable import MAX_LENGTH, printable


def test_plain_words_stay_as_they_are() -> None:
    assert printable("le nœud a refusé: 拒否") == "le nœud a refusé: 拒否"


def test_what_could_take_over_a_terminal_is_escaped() -> None:
    assert printable("a\x1b[2J\nb\u202ec\x9b\x00") == "a\\x1b[2J\\nb\\u202ec\\x9b\\x00"


def test_a_long_text_is_cut() -> None:
    assert printable("x" * 1000) == "x" * MAX_LENGTH
    cut = printable("\x1b" * 1000)
    assert len(cut) == MAX_LENGTH
    assert cut.endswith("…")


@given(st.text())
def test_any_text_becomes_printable_and_bounded(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable()
    assert len(safe) <= MAX_LENGTH
