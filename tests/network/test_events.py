"""What a node tells its adapter beside the events of streams: values, whose names the adapters match on."""

import dataclasses

import pytest

from pknet.network import events

KINDS = [getattr(events, name) for name in events.__all__]


@pytest.mark.parametrize("kind", KINDS, ids=events.__all__)
def test_an_event_is_a_frozen_value_that_can_be_matched_by_position(kind: type) -> None:
    fields = [field.name for field in dataclasses.fields(kind)]
    event = kind(*range(len(fields)))
    assert event == kind(*range(len(fields)))
    assert hash(event) == hash(kind(*range(len(fields))))
    assert kind.__match_args__ == tuple(fields)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, fields[0], "changed")


def test_every_event_is_public() -> None:
    import pknet.network

    assert set(events.__all__) <= set(pknet.network.__all__)
