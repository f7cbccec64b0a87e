from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pknet._core.timers cimport TimerEntry
from pknet._core.utp_ages cimport PacketAges
from pknet._core.utp_handshake cimport Handshake
from pknet._core.utp_outlet cimport Outlet
from pknet._core.utp_packet cimport PacketHeader
from pknet._core.utp_receive_buffer cimport Arrival, ReceiveBuffer
from pknet._core.utp_sender cimport Sender
from pknet._core.utp_shared cimport Shared
from pknet._core.utp_timers cimport TimerTable
from pknet._core.utp_window cimport WindowTuner

cdef enum State:
    SYN_SENT
    SYN_RECEIVED
    CONNECTED
    CLOSED


cdef class UtpConnection(TimerEntry):
    # Where it came in from, None for one that was dialled.
    cdef object source
    cdef public object context
    cdef readonly object close_reason
    cdef readonly bint is_initiator
    cdef Shared shared
    cdef TimerTable timers
    cdef Sender sender
    cdef ReceiveBuffer receiving
    cdef Outlet outlet
    cdef WindowTuner tuner
    # None once the connection is open.
    cdef Handshake handshake
    # None while the connection is young.
    cdef PacketAges ages
    # What follows is as small as it can be, and in an order that leaves no gaps: there may be many
    # connections.
    # A State.
    cdef uint8_t state
    # How often the SYN-ACK has been acknowledged without being asked.
    cdef uint8_t proofs
    cdef uint16_t receive_id
    # When the newest payload left the peer, by its clock.
    cdef uint32_t payload_sent_at
    # The longest that the peer waited before it sent payload again, in seconds.
    cdef float longest_wait
    # Bytes that came after `close` when the peer knew of it.
    cdef uint16_t last_words
    # How many packets of payload came since the last acknowledgement.
    cdef uint8_t ack_owed
    cdef uint8_t is_unsettled
    cdef uint8_t ack_needed
    # What came since the last acknowledgement: payload for the first time, and the last packet sent again.
    cdef uint8_t came_anew
    cdef uint8_t came_again
    cdef uint8_t reader_gone
    cdef uint8_t data_told
    cdef uint8_t eof_told
    cdef uint8_t send_refused
    cdef double last_heard
    cdef readonly unsigned long long bytes_received
    cdef readonly unsigned long long packets_received
    cdef readonly unsigned long long packets_duplicated

    cdef bint note_arrival(self, const PacketHeader* packet) except False
    cdef bint start_connecting(self, uint16_t receive_id, uint16_t seq_nr) except False
    cdef bint start_accepting(self, const PacketHeader* syn, uint16_t seq_nr) except False
    cdef bint repeat_syn_ack(self, const PacketHeader* syn) except False
    cdef bint receive_syn_ack(self, const PacketHeader* packet) except False
    cdef bint prove(self, const PacketHeader* packet) except -1
    cdef bint accept(self) except False
    cdef void open(self) noexcept
    cdef bint receive(self, const PacketHeader* packet, Py_ssize_t hint) except False
    cdef bint plausible(self, const PacketHeader* packet) noexcept
    cdef bint is_of_now(self, const PacketHeader* packet) except -1
    cdef bint receive_reset(self, const PacketHeader* packet) except False
    cdef void owe_acknowledgement(self, uint16_t seq_nr, Arrival arrival) noexcept
    cdef bint receive_payload(self, const PacketHeader* packet, Py_ssize_t hint) except False
    cdef bint after_read(self, Py_ssize_t count) except False
    cdef bint unsettle(self) except False
    cdef bint settle(self) except False
    cdef bint send_packets(self) except False
    cdef bint arrange_timers(self) except False
    cdef bint fire_timers(self) except False
    cdef bint give_up(self) except False
    cdef bint maybe_finish(self) except False
    cdef void note_wait(self, const PacketHeader* packet) noexcept
    cdef void linger(self) noexcept
    cdef bint tell_end(self, reason) except False
    cdef bint end(self, reason) except False
    cdef bint leave(self) except False
