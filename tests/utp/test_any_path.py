"""Whatever a path does, a stream arrives as it was sent, or both ends learn that it did not."""

from hypothesis import settings

from tests.utp.any_path import AnyPath, DamagedPath

# The same examples each time: a change is judged by what it changes.
AnyPath.TestCase.settings = settings(
    max_examples=150, stateful_step_count=80, deadline=None, derandomize=True
)
DamagedPath.TestCase.settings = settings(
    max_examples=100, stateful_step_count=80, deadline=None, derandomize=True
)

TestAnyPath = AnyPath.TestCase
TestDamagedPath = DamagedPath.TestCase
