cdef class UtpCounters:
    cdef readonly unsigned long long malformed
    cdef readonly unsigned long long unexpected
    cdef readonly unsigned long long implausible
    cdef readonly unsigned long long unknown_connection
    cdef readonly unsigned long long resets_sent
    cdef readonly unsigned long long refused
    cdef readonly unsigned long long deferred
    cdef readonly unsigned long long half_open_dropped
    cdef readonly unsigned long long beyond_window
    cdef readonly unsigned long long unread
