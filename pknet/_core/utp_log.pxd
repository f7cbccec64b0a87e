from libc.stdint cimport uint16_t

from pknet._core.utp_packet cimport PacketHeader
from pknet._core.utp_shared cimport Shared
from pknet._core.utp_timers cimport TimerTable

# Why a packet is taken for lost, and after LAST_OF_LOSSES, why it is only sent again; named in TRIGGERS.
cdef enum LossCause:
    # Others that were sent after it have arrived (RFC 6675).
    BY_REORDERING
    # One that was sent after it has arrived, and it is late (RFC 8985).
    BY_TIME
    BY_TIMEOUT
    LAST_OF_LOSSES = BY_TIMEOUT
    # Not for lost: it is sent again to be told what is (RFC 8985 section 7.3).
    BY_TAIL_PROBE
    # The peer had no room for it, and has now.
    BY_WINDOW
    # The connection goes by another path.
    BY_PATH
    # The system or a router says that it was too long for the path.
    BY_SIZE
    LOSS_CAUSES


cdef class EventLog:
    cdef Shared shared
    cdef readonly object connection
    # Gives `sink`, when there is something to tell; None once it has.
    cdef object open_log
    # Takes the events; None for nobody.
    cdef readonly object sink
    # The newest record, while it is not handed out and the next packet may join it: by what it must be like,
    # its number, and the most payload it may have.
    cdef dict run
    cdef tuple run_kind
    cdef uint16_t run_next
    cdef Py_ssize_t run_size
    cdef double run_time
    # The number of the first packet that has not been sent yet.
    cdef uint16_t next_seq_nr
    # What was told last.
    cdef dict parameters
    cdef dict metrics
    cdef str state
    cdef str congestion_state

    cdef void packets_sent(self, bytes run, Py_ssize_t segment_size) noexcept
    cdef void packet_received(self, const PacketHeader* packet) noexcept
    cdef void packet_lost(self, uint16_t seq_nr, Py_ssize_t size, LossCause cause) noexcept
    cdef void timers_fired(self, TimerTable timers) noexcept
    cdef bint is_wanted(self) noexcept
    cdef void add(self, str name, dict data) noexcept
    cdef bint tell_packet(self, str name, const PacketHeader* packet, bint again) except False
    cdef bint join(self, tuple kind, uint16_t seq_nr, Py_ssize_t size) except -1
    cdef bint begin_run(self, dict data, tuple kind, uint16_t seq_nr, Py_ssize_t size) except False
    cdef void write(self, time, name, data) noexcept


cdef bint hand_out(Shared shared) except False
