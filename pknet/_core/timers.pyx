"""The deadlines of many connections in one structure, so that idle ones cost nothing.

A binary heap whose entries know where they stand in it: moving or cancelling a deadline is O(log n).
"""


cdef class TimerEntry:
    """What can stand in a TimerQueue: at most one deadline at a time."""

    def __cinit__(self):
        self.heap_index = -1


cdef class TimerQueue:
    """Entries by deadline, soonest first."""

    def __cinit__(self):
        self.heap = []

    def __len__(self):
        return len(self.heap)

    cdef bint schedule(self, TimerEntry entry, double deadline) except False:
        """Set or move the deadline of `entry`."""
        cdef double before = entry.deadline
        entry.deadline = deadline
        if entry.heap_index < 0:
            self.heap.append(entry)
            entry.heap_index = len(self.heap) - 1
            self.sift_up(entry.heap_index)
        elif deadline < before:
            self.sift_up(entry.heap_index)
        elif deadline > before:
            self.sift_down(entry.heap_index)
        return True

    cdef bint cancel(self, TimerEntry entry) except False:
        """Take `entry` out; harmless if it isn't there."""
        cdef Py_ssize_t index = entry.heap_index
        cdef TimerEntry last
        if index < 0:
            return True
        last = <TimerEntry> self.heap.pop()
        entry.heap_index = -1
        if last is not entry:
            self.heap[index] = last
            last.heap_index = index
            self.sift_up(index)
            self.sift_down(last.heap_index)
        return True

    cdef TimerEntry first(self):
        """Return the entry whose deadline is soonest, or None."""
        return <TimerEntry> self.heap[0] if self.heap else None

    # The heap holds TimerEntry objects only, and every index is within it: nothing below can raise.

    cdef void sift_up(self, Py_ssize_t index) noexcept:
        cdef TimerEntry entry = <TimerEntry> self.heap[index]
        cdef TimerEntry parent
        cdef Py_ssize_t above
        while index > 0:
            above = (index - 1) >> 1
            parent = <TimerEntry> self.heap[above]
            if parent.deadline <= entry.deadline:
                break
            self.heap[index] = parent
            parent.heap_index = index
            index = above
        self.heap[index] = entry
        entry.heap_index = index

    cdef void sift_down(self, Py_ssize_t index) noexcept:
        cdef Py_ssize_t count = len(self.heap)
        cdef TimerEntry entry = <TimerEntry> self.heap[index]
        cdef TimerEntry child
        cdef TimerEntry right
        cdef Py_ssize_t below
        while True:
            below = 2 * index + 1
            if below >= count:
                break
            child = <TimerEntry> self.heap[below]
            if below + 1 < count:
                right = <TimerEntry> self.heap[below + 1]
                if right.deadline < child.deadline:
                    child = right
                    below += 1
            if child.deadline >= entry.deadline:
                break
            self.heap[index] = child
            child.heap_index = index
            index = below
        self.heap[index] = entry
        entry.heap_index = index
