from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pknet.stun import SourceLimiter


def allowed(limiter: SourceLimiter, host: str, now: float, requests: int) -> int:
    return sum(limiter.allow(host, now) for _ in range(requests))


def test_a_source_gets_its_burst_and_then_its_rate() -> None:
    limiter = SourceLimiter(rate=10, burst=5, max_sources=100)
    assert allowed(limiter, "192.0.2.1", 0.0, 20) == 5
    assert allowed(limiter, "192.0.2.1", 0.05, 20) == 0
    assert allowed(limiter, "192.0.2.1", 0.125, 20) == 1
    assert allowed(limiter, "192.0.2.1", 0.5, 20) == 4
    assert allowed(limiter, "192.0.2.1", 1000.0, 20) == 5


def test_one_source_does_not_use_up_anothers() -> None:
    limiter = SourceLimiter(rate=1, burst=1, max_sources=100)
    assert limiter.allow("192.0.2.1", 0.0)
    assert limiter.allow("192.0.2.2", 0.0)
    assert not limiter.allow("192.0.2.1", 0.0)


@pytest.mark.parametrize(
    ("one", "other", "is_one_source"),
    [
        ("2001:db8:0:1200::1", "2001:db8:0:12ff:ffff::2", True),
        ("2001:db8:0:1200::1", "2001:db8:0:1300::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        # All of IPv4 lies in one /56 of IPv6.
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%2", "fe80::2%eth0", True),
    ],
)
def test_a_source_is_an_ipv4_address_or_a_56_of_ipv6(one: str, other: str, is_one_source: bool) -> None:
    limiter = SourceLimiter(rate=1, burst=1, max_sources=100)
    assert limiter.allow(one, 0.0)
    assert limiter.allow(other, 0.0) is not is_one_source


def test_the_table_does_not_grow_beyond_its_limit() -> None:
    limiter = SourceLimiter(rate=1, burst=1, max_sources=100)
    for number in range(10_000):
        assert limiter.allow(f"10.0.{number // 250}.{number % 250}", 0.0)
    assert len(limiter) == 100


def test_a_source_that_goes_on_asking_is_not_forgotten() -> None:
    limiter = SourceLimiter(rate=0.001, burst=1, max_sources=100)
    assert limiter.allow("192.0.2.1", 0.0)
    for number in range(1000):
        limiter.allow(f"10.0.{number // 250}.{number % 250}", 0.0)
        if number % 50 == 0:
            assert not limiter.allow("192.0.2.1", 0.0)


@given(st.lists(st.floats(0, 2), max_size=200))
def test_no_more_than_burst_and_rate_pass_in_any_time(waits: list[float]) -> None:
    limiter = SourceLimiter(rate=3, burst=4, max_sources=1)
    now = 0.0
    passed: list[float] = []
    for wait in waits:
        now += wait
        if limiter.allow("192.0.2.1", now):
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= 4 + 3 * (passed[last] - passed[first]) + 1e-5


@pytest.mark.parametrize("options", [(0, 1, 1), (-1, 1, 1), (1, 0.5, 1), (1, 1, 0)])
def test_a_limit_that_allows_nothing_is_refused(options: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        SourceLimiter(*options)
