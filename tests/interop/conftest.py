import pytest

from tests.interop.adapters import ADAPTERS, Adapter
from tests.interop.peers.require import require_peer


@pytest.fixture
def utp_native() -> None:
    """Do nothing without libutp."""
    require_peer("utp-native")


@pytest.fixture
def libtorrent() -> None:
    """Do nothing without libtorrent."""
    require_peer("libtorrent")


@pytest.fixture(params=list(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    """Either adapter of pknet."""
    made: Adapter = ADAPTERS[request.param]()
    return made
