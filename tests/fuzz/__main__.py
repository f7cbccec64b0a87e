"""Fuzz the machines: `python -m tests.fuzz [TARGET …] [--seconds N] [--keep]`; `make fuzz` runs it.

atheris drives libFuzzer with the coverage of the compiled modules, which are built for it by clang with
AddressSanitizer and UndefinedBehaviorSanitizer, and with that of the Python ones. What was found stays in
`build/fuzz-corpus/`, and comes into the corpus of the tests with --keep: only what adds coverage. Nothing is
taken out of that corpus, for what once broke a target stays worth a replay.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests import instrumented
from tests.fuzz.targets import CORPUS, TARGETS

FOUND = instrumented.ROOT / "build" / "fuzz-corpus"
CRASHES = instrumented.ROOT / "build" / "fuzz-crashes"
# What Cython makes adds nothing to a null pointer at times, which clang objects to and C2y allows.
FLAGS = ("-fsanitize=address,undefined,fuzzer-no-link", "-fno-sanitize=pointer-overflow")
# One input may take so many seconds, and the process so many MiB, of which the sanitizers have most. Inputs
# may be long from the start, for a short play comes to nothing.
LIMITS = ("-timeout=60", "-rss_limit_mb=4096", "-max_len=1024", "-len_control=0")


def main() -> None:
    """Fuzz each target that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all, or of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--keep", action="store_true", help="bring what adds coverage into the tests' corpus")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    if shutil.which("clang") is None:
        sys.exit("fuzzing needs clang (Debian: apt install clang)")
    library = instrumented.build("fuzz", "clang", FLAGS, link_with_flags=False)
    runtime = Path(sysconfig.get_path("platlib"), "asan_with_fuzzer.so")
    environment = instrumented.environment(library, [runtime])
    environment["PYTHONPATH"] += f":{instrumented.ROOT}"
    for target in options.targets or TARGETS:
        found, crashes = FOUND / target, CRASHES / target
        found.mkdir(parents=True, exist_ok=True)
        crashes.mkdir(parents=True, exist_ok=True)
        engine = [sys.executable, "-m", "tests.fuzz.engine", target, *LIMITS]
        print(f"\n{target}: {options.seconds} s", flush=True)
        limit = f"-max_total_time={options.seconds}"
        command = [*engine, limit, f"-artifact_prefix={crashes}/", str(found), str(CORPUS / target)]
        if subprocess.run(command, env=environment, check=False).returncode:
            sys.exit(f"{target} broke: the input is in {crashes}, and belongs into {CORPUS / target}")
        if options.keep:
            # How often a place is passed makes no input worth keeping, or there would be ten times as many.
            merge = [*engine, "-set_cover_merge=1", "-use_counters=0", str(CORPUS / target), str(found)]
            subprocess.run(merge, env=environment, check=True)


if __name__ == "__main__":
    main()
