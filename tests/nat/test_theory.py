from itertools import product

import pytest

from pknet.nat import Mapping, may_recover, why_no_path

DEPENDENT = (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


@pytest.mark.parametrize(("ours", "theirs"), list(product(Mapping, Mapping)))
def test_fresh_sockets_help_only_where_both_nats_keep_a_sockets_port(ours: Mapping, theirs: Mapping) -> None:
    assert may_recover(ours, theirs) is (ours not in DEPENDENT and theirs not in DEPENDENT)


@pytest.mark.parametrize("dependent", DEPENDENT)
def test_the_reason_names_the_side_whose_nat_is_symmetric(dependent: Mapping) -> None:
    other = Mapping.ENDPOINT_INDEPENDENT
    assert "this side's NAT gives each destination a port of its own (symmetric)" in why_no_path(
        dependent, other, 9
    )
    assert "the peer's NAT gives each destination a port of its own (symmetric)" in why_no_path(
        other, dependent, 9
    )
    assert "both NATs" in why_no_path(dependent, dependent, 9)


def test_where_no_nat_is_to_blame_the_reason_counts_what_was_tried() -> None:
    both = why_no_path(Mapping.ENDPOINT_INDEPENDENT, Mapping.NONE, 27)
    assert "none of 27 checks was answered, though neither NAT forbids it" in both
    assert "forbids" not in why_no_path(Mapping.ENDPOINT_INDEPENDENT, Mapping.UNKNOWN, 27)
    assert "named no address" in why_no_path(Mapping.NONE, Mapping.NONE, 0)
