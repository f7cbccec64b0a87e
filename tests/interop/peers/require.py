"""Say what to do about a peer that is not here."""

import importlib.util
import os
import shutil

import pytest

from tests.interop.peers import install


def missing(name: str) -> str | None:
    """Return why a peer cannot be used here, or None if it can.

    A peer is a package of package.json, `libtorrent`, or any program by its name.
    """
    if name in install.pinned_versions():
        return install.missing(name)
    if name == "libtorrent":
        return (
            None if importlib.util.find_spec(name) else "libtorrent is not installed: pip install libtorrent"
        )
    return None if shutil.which(name) else f"there is no `{name}` on the path"


def require_peer(name: str) -> None:
    """Skip the test if a peer is missing; fail it if we are root, for then nothing may be missing."""
    reason = missing(name)
    if reason is None:
        return
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        pytest.fail(f"{reason} (a peer may be missing only where the tests do not run as root)")
    pytest.skip(reason)
