cdef class TimerEntry:
    cdef double deadline
    cdef Py_ssize_t heap_index


cdef class TimerQueue:
    cdef list heap

    cdef void schedule(self, TimerEntry entry, double deadline)
    cdef void cancel(self, TimerEntry entry)
    cdef TimerEntry first(self)
    cdef void sift_up(self, Py_ssize_t index)
    cdef void sift_down(self, Py_ssize_t index)
