"""The table of flows: what belongs to which flow, and for how long it is remembered."""

import pytest

from pknet.testing.behaviours import NatBehaviour
from pknet.testing.conntrack import Conntrack, Flow

INSIDE = ("10.1.0.2", 1000)
OUTSIDE = ("203.0.113.11", 2000)
REMOTE = ("192.0.2.1", 80)


def flow_to(remote: tuple[str, int] = REMOTE, outside: tuple[str, int] = OUTSIDE, now: float = 0.0) -> Flow:
    return Flow((INSIDE, remote), (remote, outside), now, now + 30)


def test_a_flow_is_found_from_both_sides_and_translates_each_way() -> None:
    table = Conntrack(NatBehaviour())
    flow = flow_to()
    assert table.add(flow, INSIDE, 0.0)
    assert table.find((INSIDE, REMOTE), 0.0) is flow
    assert table.find((REMOTE, OUTSIDE), 0.0) is flow
    assert table.find((REMOTE, INSIDE), 0.0) is None
    assert flow.translated((INSIDE, REMOTE)) == (OUTSIDE, REMOTE)
    assert flow.translated((REMOTE, OUTSIDE)) == (REMOTE, INSIDE)


@pytest.mark.parametrize(
    ("packets", "expires"),
    [
        # (time, is it a reply): each packet of a flow that began at 0
        ([(0.0, False)], 30.0),
        ([(0.0, False), (20.0, False)], 50.0),
        ([(0.0, False), (20.0, True)], 50.0),
        ([(0.0, False), (1.0, True), (2.0, False)], 32.0),
        ([(0.0, False), (1.0, True), (2.1, False)], 122.1),
        ([(0.0, False), (1.0, True), (2.1, True)], 122.1),
        ([(0.0, False), (20.0, True), (21.0, True)], 141.0),
    ],
)
def test_a_flow_lives_30_s_until_replies_have_flowed_for_2_s_and_then_120_s(
    packets: list[tuple[float, bool]], expires: float
) -> None:
    table = Conntrack(NatBehaviour())
    flow = flow_to()
    table.add(flow, INSIDE, 0.0)
    for now, is_reply in packets:
        table.refresh(flow, flow.reply if is_reply else flow.original, now)
    assert flow.expires == pytest.approx(expires)


def test_what_has_expired_is_not_found_and_frees_its_pairs() -> None:
    table = Conntrack(NatBehaviour())
    table.add(flow_to(), INSIDE, 0.0)
    assert table.find((REMOTE, OUTSIDE), 29.9) is not None
    assert table.newest(INSIDE, 29.9) is not None
    assert table.newest(INSIDE, 30.0) is None
    assert list(table.flows(30.0)) == []
    assert table.find((REMOTE, OUTSIDE), 30.0) is None
    assert table.find((INSIDE, REMOTE), 30.0) is None


def test_the_newest_living_flow_of_a_host_is_the_one_that_later_flows_follow() -> None:
    table = Conntrack(NatBehaviour())
    old, new = flow_to(), flow_to(("192.0.2.2", 80), ("203.0.113.11", 3000))
    table.add(old, INSIDE, 0.0)
    table.add(new, INSIDE, 0.0)
    assert table.newest(INSIDE, 1.0) is new
    table.refresh(old, old.original, 25.0)
    assert table.newest(INSIDE, 31.0) is old


def test_an_outside_address_is_in_use_while_any_flow_has_it() -> None:
    table = Conntrack(NatBehaviour())
    table.add(flow_to(), INSIDE, 0.0)
    assert table.in_use(OUTSIDE, 29.0)
    assert not table.in_use(OUTSIDE, 30.0)
    assert not table.in_use(("203.0.113.11", 2001), 0.0)


def test_a_full_table_takes_new_flows_when_old_ones_have_expired() -> None:
    table = Conntrack(NatBehaviour(max_flows=3))
    flows = [flow_to(("192.0.2.1", port), now=10.0 * port) for port in (1, 2, 3, 4)]
    assert [table.add(flow, None, 35.0) for flow in flows] == [True, True, True, False]
    assert table.add(flows[3], None, 40.0)
    assert list(table.flows(41.0)) == flows[1:]


def test_a_table_does_not_grow_with_flows_that_are_over() -> None:
    table = Conntrack(NatBehaviour())
    for number in range(20_000):
        table.add(flow_to(("192.0.2.1", 1 + number), now=float(number)), INSIDE, float(number))
    assert len(table) < 3000


def test_a_cleared_table_knows_nothing() -> None:
    table = Conntrack(NatBehaviour())
    table.add(flow_to(), INSIDE, 0.0)
    table.clear()
    assert table.find((INSIDE, REMOTE), 0.0) is None
    assert table.newest(INSIDE, 0.0) is None
    assert not table.in_use(OUTSIDE, 0.0)
