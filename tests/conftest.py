"""What holds for all tests: no skip in silence, and hypothesis without deadlines."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import hypothesis
import pytest

# Examples take as long as the machine's other work lets them; what must not take long is a benchmark's
# matter.
hypothesis.settings.register_profile("pknet", deadline=None)
hypothesis.settings.load_profile("pknet")

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
IS_STRICT = os.environ.get("PKNET_STRICT_SKIPS") == "1"


def allowed_skips() -> list[str]:
    """Return the patterns of test ids that may be skipped where nothing else may."""
    lines = (line.partition("#")[0].strip() for line in ALLOWED_SKIPS.read_text().splitlines())
    return [line for line in lines if line]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip that nobody wrote down into a failure, where PKNET_STRICT_SKIPS is set."""
    report = yield
    is_allowed = any(fnmatch(item.nodeid, pattern) for pattern in allowed_skips())
    if IS_STRICT and report.skipped and not is_allowed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and is not in {ALLOWED_SKIPS.name}: {report.longrepr}"
    return report
