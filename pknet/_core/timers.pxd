cdef class TimerEntry:
    cdef double deadline
    cdef Py_ssize_t heap_index


cdef class TimerQueue:
    cdef list heap

    cdef bint schedule(self, TimerEntry entry, double deadline) except False
    cdef bint cancel(self, TimerEntry entry) except False
    cdef TimerEntry first(self)
    cdef void sift_up(self, Py_ssize_t index) noexcept
    cdef void sift_down(self, Py_ssize_t index) noexcept
