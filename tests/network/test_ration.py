from hypothesis import given
from hypothesis import strategies as st

from pknet.network.ration import Ration


def test_a_burst_then_a_rate() -> None:
    ration = Ration(rate=2, burst=3)
    assert [ration.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [ration.take(10.5), ration.take(10.5)] == [True, False]
    assert [ration.take(100.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 1000), max_size=200))
def test_there_is_never_more_than_the_burst_and_the_rate_whatever_the_clock_does(times: list[float]) -> None:
    ration = Ration(rate=2, burst=3)
    taken = sum(ration.take(when) for when in times)
    assert taken <= 3 + 2 * (max(times, default=0) - min(times, default=0)) + 1e-6
