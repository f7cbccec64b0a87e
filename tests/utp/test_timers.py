"""The deadlines of many connections fire in their order, wherever they were set and moved from."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pknet.utp import CloseReason, ConnectionClosed, UtpConfig, UtpEndpoint


@given(st.lists(st.tuples(st.sampled_from(["dial", "abort", "move"]), st.integers(0, 50)), max_size=120))
def test_connections_time_out_in_the_order_of_their_deadlines(steps: list[tuple[str, int]]) -> None:
    # With a single SYN each, so that the only deadline is that of the dial.
    endpoint = UtpEndpoint(
        Random(1).randbytes, UtpConfig(connect_timeout=30, initial_timeout=60, max_timeout=60)
    )
    now = 0.0
    dials = []
    expected = []
    for step, number in steps:
        now += number / 1000
        if step == "dial" or not dials:
            dials.append(endpoint.connect(("192.0.2.1", number), now))
            expected.append(now + 30)
        elif step == "abort":
            dials.pop(number % len(dials)).abort(now)
            del expected[number % len(expected)]
        else:
            endpoint.rebind(dials[number % len(dials)], ("192.0.2.2", number, now), now)
        endpoint.transmits()
    endpoint.events()
    ended = []
    while (due := endpoint.next_timeout()) is not None:
        now = max(now, due)
        endpoint.handle_timeout(now)
        ended += [now for event in endpoint.events() if type(event) is ConnectionClosed]
        endpoint.transmits()
    assert ended == sorted(expected)
    assert len(endpoint) == 0


def test_thousands_of_idle_connections_need_no_attention() -> None:
    endpoint = UtpEndpoint(Random(1).randbytes, UtpConfig(connect_timeout=1000, initial_timeout=60))
    for number in range(3000):
        endpoint.connect(("192.0.2.1", number), number / 1000)
        endpoint.transmits()
    assert endpoint.next_timeout() == 60.0
    endpoint.handle_timeout(60.4995)
    assert len(endpoint.transmits()) == 500
    assert endpoint.next_timeout() == 60.5


def test_what_ends_by_a_timeout_leaves_the_rest_alone() -> None:
    endpoint = UtpEndpoint(Random(1).randbytes, UtpConfig(connect_timeout=10))
    early = [endpoint.connect(("192.0.2.1", number), 1.0) for number in range(50)]
    late = [endpoint.connect(("192.0.2.2", number), 2.0) for number in range(50)]
    endpoint.transmits()
    endpoint.handle_timeout(11.5)
    assert {connection.close_reason for connection in early} == {CloseReason.TIMED_OUT}
    assert {connection.state for connection in late} == {"SYN_SENT"}
    assert set(endpoint.connections) == set(late)
