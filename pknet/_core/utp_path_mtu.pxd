cdef class PathMtu:
    # Bounds of `size`: below the floor it never goes, and what is no longer than that may be fragmented.
    cdef Py_ssize_t ceiling
    cdef Py_ssize_t floor
    # The longest datagram that new packets make (RFC 8899: PLPMTU).
    cdef Py_ssize_t size
    # The search: the largest size that is worth a probe, the smallest that probes were lost at (`top` + 1 if
    # none was), and how many were lost in a row (PROBE_COUNT).
    cdef Py_ssize_t top
    cdef Py_ssize_t failed
    cdef int probes_lost
    # The size of the probe that is on its way, 0 if none is.
    cdef Py_ssize_t probe
    # When a search that is over begins again (PMTU_RAISE_TIMER), infinite while that isn't arranged; whether
    # this one is such.
    cdef double search_at
    cdef bint again
    # What was sent before that says nothing of what passes now.
    cdef double shrunk_at
    # Packets lost though nothing of their size that was sent later has arrived, and the shortest datagram
    # whose arrival clears them; when the newest such datagram was sent.
    cdef int suspects
    cdef Py_ssize_t proof
    cdef double proven_at

    cdef bint is_at_floor(self) noexcept
    cdef bint is_proven(self) noexcept
    cdef Py_ssize_t wanted_probe(self, double now) noexcept
    cdef void on_arrival(self, Py_ssize_t size, double sent_at) noexcept
    cdef void on_loss(self, Py_ssize_t size, double sent_at) noexcept
    cdef void on_probe_gone(self, Py_ssize_t size, bint is_lost) noexcept
    cdef void absolve(self) noexcept
    cdef bint judge(self, double now) noexcept
    cdef void limit(self, Py_ssize_t size, Py_ssize_t refused, double now) noexcept
    cdef bint is_over(self) noexcept
    cdef void search(self) noexcept
    cdef void shrink(self, Py_ssize_t size, double now) noexcept
