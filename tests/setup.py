"""Install, once, what the NAT lab and the real peers need: `make test` runs this before the tests.

As root on Linux, Debian packages come by apt and the peers by npm, so that nothing is skipped. Elsewhere
nothing is installed, and what is missing is said.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.interop.peers import install

# Command -> the Debian package that brings it.
PACKAGES = {"ip": "iproute2", "nft": "nftables", "node": "nodejs", "npm": "npm"}


def main() -> None:
    """Install what is missing, or say what is."""
    missing = [command for command in PACKAGES if shutil.which(command, path=search_path()) is None]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if missing and is_root and shutil.which("apt-get"):
        packages = [PACKAGES[command] for command in missing]
        print("Installing", *packages)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        missing = []
    if missing:
        print("Not there:", ", ".join(missing), "- the tests that need them are skipped")
    if not is_root:
        print("Not root: the tests in network namespaces are skipped")
    if sys.platform == "linux" and not {"node", "npm"} & set(missing) and install.main() != 0 and is_root:
        sys.exit("the peers could not be installed")


def search_path() -> str:
    """Return PATH with the system's own folders, which a root shell may lack."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


if __name__ == "__main__":
    # node_modules and the like go beside the tests, wherever this is run from.
    os.chdir(Path(__file__).parents[1])
    main()
