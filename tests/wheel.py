"""Build a source distribution, a wheel from it, and run the tests against that wheel: `make wheel`.

The tests run in a folder of their own with nothing of the repository but the tests, so that what is imported
is what the wheel installed. The NAT lab, the real peers, the papers and the demo have their turn in `make
test`.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("tests/natlab", "tests/interop", "tests/docs", "tests/cli/test_demo.py")


def main() -> None:
    """Build, install and test."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", work, ROOT)
        (sdist,) = work.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(work / "source", filter="data")
        (source,) = (work / "source").iterdir()
        run(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            work,
            source,
        )
        (wheel,) = work.glob("*.whl")
        venv.create(work / "venv", with_pip=True)
        python = work / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        run(python, "-m", "pip", "install", "--quiet", "--upgrade", "pip")
        run(python, "-m", "pip", "install", "--quiet", wheel, "--group", f"{ROOT / 'pyproject.toml'}:test")
        place = work / "tests-only"
        shutil.copytree(source / "tests", place / "tests")
        shutil.copyfile(ROOT / "pyproject.toml", place / "pyproject.toml")
        ignored = [f"--ignore={name}" for name in LEFT_OUT]
        run(python, "-m", "pytest", "-q", *ignored, cwd=place)


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command; end with its status if it fails."""
    result = subprocess.run([str(part) for part in command], cwd=cwd, check=False)
    if result.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
