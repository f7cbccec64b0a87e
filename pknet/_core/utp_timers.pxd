cdef enum:
    RETRANSMIT
    REORDERING
    TAIL
    PROBE
    PACE
    ACKNOWLEDGE
    PROVE
    KEEPALIVE
    IDLE
    WINDOW
    GIVE_UP
    LINGER
    TIMER_COUNT


cdef class TimerTable:
    # When each is due; infinite if it isn't set.
    cdef double at[TIMER_COUNT]

    cdef void stop_all(self) noexcept
    cdef double first(self) noexcept
    cdef object first_name(self)
