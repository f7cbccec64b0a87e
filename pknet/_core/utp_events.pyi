from enum import Enum

from pknet._core.utp_connection import UtpConnection

class CloseReason(Enum):
    FINISHED = "both sides finished"
    ABORTED = "aborted by this side"
    RESET = "reset by the peer"
    REFUSED = "refused by the peer"
    TIMED_OUT = "the peer does not answer"

class UtpEvent:
    __match_args__: tuple[str, ...]
    connection: UtpConnection
    def __init__(self, connection: UtpConnection) -> None: ...

class ConnectionOpened(UtpEvent): ...
class ConnectionAccepted(UtpEvent): ...
class DataReceived(UtpEvent): ...
class SendBufferDrained(UtpEvent): ...
class EofReceived(UtpEvent): ...

class ConnectionClosed(UtpEvent):
    reason: CloseReason
    undelivered: int
    def __init__(self, connection: UtpConnection, reason: CloseReason, undelivered: int) -> None: ...
