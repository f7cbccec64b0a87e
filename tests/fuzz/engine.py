"""Run libFuzzer over a target: `python -m tests.fuzz.engine TARGET [libFuzzer's arguments]`.

`tests.fuzz` starts this with the modules that were built for it.
"""

import sys

import atheris

with atheris.instrument_imports(include=["pknet"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    _, name, *arguments = sys.argv
    # libFuzzer has a shell run the first word, with other arguments behind it, when it merges corpora.
    again = f"{sys.executable} -m tests.fuzz.engine {name}"
    atheris.Setup([again, *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
