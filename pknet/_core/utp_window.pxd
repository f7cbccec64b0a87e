from libc.stdint cimport uint32_t

from pknet._core.utp_receive_buffer cimport ReceiveBuffer
from pknet._core.utp_shared cimport Shared


cdef class WindowTuner:
    cdef Shared shared
    cdef ReceiveBuffer receiving
    # The shortest round trips of this span of time and of the one before.
    cdef double least
    cdef double least_before
    cdef double span_ends
    # What was read since `since`.
    cdef Py_ssize_t taken
    cdef double since
    # The largest window that was wanted since the last review of what it has grown by.
    cdef double most_wanted

    cdef void take_path(self) noexcept
    cdef double measure(self, uint32_t there, uint32_t back) noexcept
    cdef void read(self, Py_ssize_t count, double least_rtt) noexcept
    cdef void grow(self, double wanted) noexcept
    cdef double next_review(self) noexcept
    cdef bint review(self) noexcept
    cdef void give_back(self) noexcept
