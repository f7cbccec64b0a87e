"""Run libFuzzer over a target: `python -m tests.fuzz.engine TARGET [libFuzzer's arguments]`.

`tests.fuzz` starts this with the modules that were built for it.
"""

import sys

import atheris

with atheris.instrument_imports(include=["pknet"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
