from libc.stdint cimport uint32_t

from pknet._core.timers cimport TimerQueue
from pknet._core.utp_config cimport UtpConfig
from pknet._core.utp_counters cimport UtpCounters


cdef class Shared:
    cdef UtpConfig config
    cdef UtpCounters counters
    cdef TimerQueue timers
    cdef double now
    # By how much receive buffers have grown.
    cdef Py_ssize_t growth
    cdef list events
    cdef list transmits
    # Connections that may have something to send, each once.
    cdef list unsettled
    # Connections that are over and leave the tables.
    cdef list finished
    # Incoming connections that are not proven, the oldest first (keys; the values are None).
    cdef dict half_open
    # How many connections may yet come in, -1 for any number.
    cdef Py_ssize_t places
    # What logs of connections are to be told: (EventLog, time, name, data).
    cdef list records
    # What opens the log of a new connection, or None.
    cdef object open_log

    cdef bint advance(self, double now) except False
    cdef bint tell(self, event) except False
    cdef uint32_t wire_time(self) noexcept
