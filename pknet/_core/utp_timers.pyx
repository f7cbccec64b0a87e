"""What a connection waits for, by name."""

from libc.math cimport INFINITY

NAMES = (
    "retransmit",  # an acknowledgement is overdue (RFC 6298)
    "reordering",  # a packet that others overtook is lost if it hasn't arrived by then (RFC 8985 section 6.2)
    "tail",  # the last packets may be lost, and nothing follows that could show it (RFC 8985 section 7)
    "probe",  # the peer's window is shut: ask whether it is still
    "pace",  # the next packets may leave
    "acknowledge",  # what came has waited long enough for an answer to ride on
    "prove",  # the acceptor may not know yet that its SYN-ACK arrived
    "keepalive",  # the path would be forgotten by a NAT
    "idle",  # nothing is owed, and the peer has not answered the question whether it is there
    "window",  # what the receive window has grown by may be of no use any more
    "give up",  # the peer is taken for gone
    "linger",  # the connection is over, and its id may be forgotten
)


cdef class TimerTable:
    """One deadline for each purpose."""

    def __cinit__(self):
        self.stop_all()

    cdef void stop_all(self) noexcept:
        cdef int timer
        for timer in range(TIMER_COUNT):
            self.at[timer] = INFINITY

    cdef double first(self) noexcept:
        """Return the soonest deadline, infinite if none is set."""
        cdef double soonest = INFINITY
        cdef int timer
        for timer in range(TIMER_COUNT):
            soonest = min(soonest, self.at[timer])
        return soonest

    cdef object first_name(self):
        """Return the name of the timer that is due first, or None."""
        cdef double soonest = self.first()
        cdef int timer
        if soonest < INFINITY:
            for timer in range(TIMER_COUNT):
                if self.at[timer] == soonest:
                    return NAMES[timer]
        return None
