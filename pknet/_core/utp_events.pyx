"""What happened to a uTP connection."""

from enum import Enum


class CloseReason(Enum):
    """Why a connection ended."""

    FINISHED = "both sides finished"
    ABORTED = "aborted by this side"
    RESET = "reset by the peer"
    REFUSED = "refused by the peer"
    TIMED_OUT = "the peer does not answer"


cdef class UtpEvent:
    """The base of all events; `connection` is the one that it happened to."""

    __match_args__ = ("connection",)

    def __init__(self, connection):
        self.connection = connection

    def __repr__(self):
        return f"{type(self).__name__}({self.connection!r})"


cdef class ConnectionOpened(UtpEvent):
    """A connection that this side dialled was accepted."""


cdef class ConnectionAccepted(UtpEvent):
    """A peer dialled and has proved that it receives what is sent to its address."""


cdef class DataReceived(UtpEvent):
    """There is payload to read; not repeated until all of it has been read."""


cdef class SendBufferDrained(UtpEvent):
    """`send` takes payload again, after it took less than it was given."""


cdef class EofReceived(UtpEvent):
    """The peer finished: when what is readable has been read, there is no more."""


cdef class ConnectionClosed(UtpEvent):
    """The connection ended, as `reason` says; what has come can still be read.

    `undelivered`: bytes given to `send` that the peer has not acknowledged.
    """

    __match_args__ = ("connection", "reason", "undelivered")

    def __init__(self, connection, reason, Py_ssize_t undelivered):
        self.connection = connection
        self.reason = reason
        self.undelivered = undelivered

    def __repr__(self):
        return f"ConnectionClosed({self.connection!r}, {self.reason.name}, undelivered={self.undelivered})"
