cdef class Transmit:
    cdef readonly bytes data
    cdef readonly object remote
    cdef readonly object local
    cdef readonly object segment_size
    cdef readonly object ttl
    cdef readonly object dont_fragment
    cdef readonly int ecn


cdef list join_runs(list transmits)
