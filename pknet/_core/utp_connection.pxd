from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pknet._core.timers cimport TimerEntry, TimerQueue
from pknet._core.utp_config cimport UtpConfig
from pknet._core.utp_congestion cimport CongestionController
from pknet._core.utp_packet cimport PacketHeader
from pknet._core.utp_receiving cimport ReceiveBuffer
from pknet._core.utp_sending cimport HeaderFields, SendBuffer

cdef enum State:
    SYN_SENT
    SYN_RECEIVED
    CONNECTED
    CLOSED

cdef enum:
    RETRANSMIT
    PROBE
    KEEPALIVE
    GIVE_UP
    LINGER
    TIMER_COUNT


# What the connections of an endpoint share; the endpoint owns it.
cdef class Shared:
    cdef UtpConfig config
    cdef TimerQueue timers
    cdef double now
    cdef list events
    cdef list transmits
    # Connections that may have something to send, each once.
    cdef list unsettled
    # Connections that are over and leave the tables.
    cdef list finished
    cdef Py_ssize_t half_open
    cdef readonly object counters


cdef class UtpConnection(TimerEntry):
    cdef readonly object remote
    cdef readonly object local
    cdef public object context
    cdef Shared shared
    cdef SendBuffer sending
    cdef ReceiveBuffer receiving
    cdef CongestionController congestion
    cdef State state
    cdef readonly object close_reason
    cdef readonly bint is_initiator
    cdef uint16_t receive_id
    cdef uint16_t send_id
    cdef uint16_t syn_seq_nr
    cdef int syn_transmissions
    cdef double syn_sent_at
    cdef Py_ssize_t segment
    cdef uint32_t timestamp_difference
    cdef double srtt
    cdef double rttvar
    cdef double min_rtt
    cdef double timeout
    cdef int backoff
    cdef uint32_t peer_window
    cdef uint32_t peer_window_most
    cdef uint32_t advertised
    cdef uint16_t recovery_end
    cdef bint recovering
    cdef int duplicate_acks
    cdef bint is_unsettled
    cdef bint ack_needed
    cdef bint syn_needed
    cdef bint probe_needed
    cdef bint fin_wanted
    cdef bint fin_sent
    cdef bint fin_acknowledged
    cdef bint eof_told
    cdef bint reader_gone
    cdef bint data_told
    cdef bint send_refused
    cdef double timers[TIMER_COUNT]
    cdef double last_sent
    cdef readonly unsigned long long bytes_sent
    cdef readonly unsigned long long bytes_received
    cdef readonly unsigned long long packets_sent
    cdef readonly unsigned long long packets_received
    cdef readonly unsigned long long packets_retransmitted
    cdef readonly unsigned long long packets_duplicated

    cdef void advance(self, double now) noexcept
    cdef bint after_read(self) except False
    cdef uint32_t wire_time(self) noexcept
    cdef bint start_connecting(self, uint16_t receive_id, uint16_t seq_nr) except False
    cdef bint start_accepting(self, const PacketHeader* syn, uint16_t seq_nr) except False
    cdef bint repeat_syn_ack(self, const PacketHeader* syn) except False
    cdef bint receive(self, const PacketHeader* packet, Py_ssize_t hint) except False
    cdef bint receive_syn_ack(self, const PacketHeader* packet) except False
    cdef bint prove(self, const PacketHeader* packet) except -1
    cdef bint receive_reset(self, const PacketHeader* packet) except False
    cdef bint plausible(self, const PacketHeader* packet) noexcept
    cdef bint receive_acknowledgement(self, const PacketHeader* packet) except False
    cdef void react_to_loss(self, Py_ssize_t lost) noexcept
    cdef bint receive_payload(self, const PacketHeader* packet, Py_ssize_t hint) except False
    cdef void update_rtt(self, double rtt) noexcept
    cdef double retransmission_timeout(self) noexcept
    cdef bint unsettle(self) except False
    cdef bint settle(self) except False
    cdef bint send_packets(self) except False
    cdef Py_ssize_t send_lost(self, HeaderFields* header) except -1
    cdef Py_ssize_t send_new(self, HeaderFields* header) except -1
    cdef void header_fields(self, HeaderFields* header) noexcept
    cdef bint emit(self, bytes run, Py_ssize_t segment) except False
    cdef bint emit_bare(self, uint8_t type, uint16_t connection_id, uint16_t seq_nr) except False
    cdef bint emit_state(self, uint16_t ack_nr) except False
    cdef bint arrange_timers(self) except False
    cdef bint fire_timers(self) except False
    cdef bint fire_retransmit(self) except False
    cdef bint tell(self, event) except False
    cdef bint maybe_finish(self) except False
    cdef bint end(self, reason) except False
    cdef bint leave(self) except False
