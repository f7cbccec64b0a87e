from pknet.utp import UtpCounters
from tests.utp.peer import Peer


def test_counters_start_at_nothing_and_say_so() -> None:
    counters = UtpCounters()
    assert set(counters.as_dict().values()) == {0}
    assert repr(counters) == "UtpCounters()"


def test_counters_say_what_was_dropped() -> None:
    peer = Peer()
    peer.give_bytes(b"d1:ad2:id20:")
    peer.state(connection_id=1)
    counters = peer.endpoint.counters
    assert counters.as_dict() | {"malformed": 0, "unknown_connection": 0, "resets_sent": 0} == dict.fromkeys(
        counters.as_dict(), 0
    )
    assert repr(counters) == "UtpCounters(malformed=1, unknown_connection=1, resets_sent=1)"
