from pknet.utp import CloseReason, ConnectionClosed, ConnectionOpened, DataReceived, UtpEvent
from tests.utp.peer import Peer


def test_events_can_be_matched() -> None:
    connection = Peer().dial_and_prove()
    found = []
    for event in (DataReceived(connection), ConnectionClosed(connection, CloseReason.RESET, 7)):
        match event:
            case ConnectionClosed(where, reason, undelivered):
                found.append((where, reason, undelivered))
            case DataReceived(where):
                found.append((where,))
    assert found == [(connection,), (connection, CloseReason.RESET, 7)]


def test_events_say_what_they_are() -> None:
    assert repr(ConnectionOpened("c")) == "ConnectionOpened('c')"
    assert (
        repr(ConnectionClosed("c", CloseReason.TIMED_OUT, 3))
        == "ConnectionClosed('c', TIMED_OUT, undelivered=3)"
    )
    assert isinstance(ConnectionOpened("c"), UtpEvent)
