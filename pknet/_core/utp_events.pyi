from enum import Enum
from typing import Any

class CloseReason(Enum):
    FINISHED = "both sides finished"
    ABORTED = "aborted by this side"
    RESET = "reset by the peer"
    REFUSED = "refused by the peer"
    TIMED_OUT = "the peer does not answer"

class UtpEvent:
    __match_args__: tuple[str, ...]
    # A UtpConnection, or what stands for one above it: a pknet.machine.ByteStream.
    connection: Any
    def __init__(self, connection: Any) -> None: ...

class ConnectionOpened(UtpEvent): ...
class ConnectionAccepted(UtpEvent): ...
class DataReceived(UtpEvent): ...
class SendBufferDrained(UtpEvent): ...
class EofReceived(UtpEvent): ...

class ConnectionClosed(UtpEvent):
    reason: CloseReason
    undelivered: int
    def __init__(self, connection: Any, reason: CloseReason, undelivered: int) -> None: ...
