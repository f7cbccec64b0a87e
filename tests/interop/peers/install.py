"""Put the peers that come by npm into `.peers/` at the root of the repository, once.

Run as `python tests/interop/peers/install.py`; needs node and npm (Debian: `apt-get install nodejs npm`).
The versions and their checksums stand in package.json and package-lock.json beside this file. libtorrent
comes by pip, with the dependency group `test`.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).resolve().parent
PEERS = PINS.parents[2] / ".peers"


def pinned_versions() -> dict[str, str]:
    """Return the npm packages that package.json asks for, and which version of each."""
    versions: dict[str, str] = json.loads((PINS / "package.json").read_text())["dependencies"]
    return versions


def pinned_version(package: str) -> str:
    """Return the version of an npm package that package.json asks for."""
    return pinned_versions()[package]


def missing(package: str) -> str | None:
    """Return why an npm package cannot be used here, or None if it can."""
    node = shutil.which("node")
    if node is None:
        return "there is no `node` on the path"
    manifest = PEERS / "node_modules" / package / "package.json"
    if not manifest.exists():
        return f"{package} is not installed: run `python tests/interop/peers/install.py`"
    found, wanted = json.loads(manifest.read_text())["version"], pinned_version(package)
    if found != wanted:
        return f"{package} is {found}, not {wanted}: run `python tests/interop/peers/install.py`"
    # The package carries binaries for some platforms only, so being installed does not mean that it loads.
    loaded = subprocess.run(
        [node, "-e", f"require({json.dumps(package)})"], cwd=PEERS, capture_output=True, text=True
    )
    return None if loaded.returncode == 0 else f"{package} does not load: {loaded.stderr.strip()}"


def reasons() -> list[str]:
    """Return why packages cannot be used here, none if all can."""
    return [reason for package in pinned_versions() if (reason := missing(package))]


def main() -> int:
    """Install what is missing; return the exit status."""
    if not reasons():
        return 0
    npm = shutil.which("npm")
    if npm is None:
        print("npm is needed to install " + " and ".join(pinned_versions()), file=sys.stderr)
        return 1
    PEERS.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PINS / name, PEERS / name)
    # The binaries inside the packages are used as they are: nothing is compiled, so no script needs to run.
    subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PEERS, check=True)
    for reason in reasons():
        print(reason, file=sys.stderr)
    return 1 if reasons() else 0


if __name__ == "__main__":
    sys.exit(main())
