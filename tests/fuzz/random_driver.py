"""Changes of known inputs by a generator that has a seed: no coverage, no compiler, no dependency.

`python -m tests.fuzz.random_driver TARGET [SEED]` goes on until something breaks, on any system.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random

from tests.fuzz.targets import TARGETS, corpus_of

MOST_CHANGES = 6


def inputs_like(name: str, seed: object) -> Iterator[bytes]:
    """Yield without end inputs that differ a little from those of a target's corpus."""
    known = [path.read_bytes() for path in corpus_of(name)]
    random = Random(f"{name} {seed}")
    while True:
        data = bytearray(random.choice(known))
        for _ in range(random.randint(1, MOST_CHANGES)):
            change(data, known, random)
        yield bytes(data)


def change(data: bytearray, known: list[bytes], random: Random) -> None:
    """Change something in `data`."""
    start, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    match random.randrange(6):
        case 0 if start < len(data):
            data[start] ^= 1 << random.randrange(8)
        case 1 if start < len(data):
            data[start] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        case 2:
            data[start:start] = random.randbytes(random.randint(1, 4))
        case 3:
            del data[start : start + random.randint(1, 8)]
        case 4:
            data[end:end] = data[start:end]
        case _:
            other = random.choice(known)
            place = random.randrange(len(other) + 1)
            data[start:] = other[place:]


def main() -> None:
    """Try inputs until one breaks the target, and print that one."""
    name, seed = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "1"
    for number, data in enumerate(inputs_like(name, seed), 1):
        try:
            TARGETS[name](data)
        except BaseException:
            print(f"after {number} inputs: {data.hex()}")
            raise


if __name__ == "__main__":
    main()
