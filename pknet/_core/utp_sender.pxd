from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pknet._core.utp_config cimport UtpConfig
from pknet._core.utp_congestion cimport CongestionController
from pknet._core.utp_pacer cimport Pacer
from pknet._core.utp_packet cimport HeaderFields, PacketHeader
from pknet._core.utp_path_mtu cimport PathMtu
from pknet._core.utp_rtt cimport RttEstimator
from pknet._core.utp_send_buffer cimport Acknowledged, SendBuffer
from pknet._core.utp_timers cimport TimerTable

cdef class Sender:
    cdef UtpConfig config
    cdef TimerTable timers
    cdef SendBuffer buffer
    cdef CongestionController congestion
    cdef object congestion_name
    # A round trip has passed when what leaves now has arrived: when `delivered` was so much.
    cdef double round_end
    cdef RttEstimator rtt
    cdef Pacer pacer
    # The round trip that the newest acknowledgement since the last timeout took, by the delays that it tells
    # of; 0 if it tells of none.
    cdef double newest_rtt
    # How long packets may be, and the payload of a full one.
    cdef PathMtu path
    cdef Py_ssize_t segment
    cdef uint32_t peer_window
    cdef uint32_t peer_window_most
    # What the peer's clock showed when it told of its window.
    cdef uint32_t window_told_at
    # Until `recovery_end` is acknowledged, packets that were sent again may be on their way.
    cdef uint16_t recovery_end
    # Flags are a byte each: there may be many connections.
    cdef uint8_t recovering
    # Whether the first lost packet may leave though the window is full.
    cdef uint8_t resend_now
    # When the peer shut its window.
    cdef double window_shut_at
    # When loss was last reacted to: what was sent before is part of it (RFC 9002 section 7.3.2).
    cdef double reacted_at
    # How many quarters of the shortest round trip a packet may be late, when that was last raised, and for
    # how many more recoveries it stays so (RACK.reo_wnd_mult, RACK.reo_wnd_persist).
    cdef double reordering_raised_at
    cdef int reordering_steps
    cdef int duplicate_acks
    cdef bint fin_wanted
    cdef uint8_t reordering_persists
    # Whether the next packet may leave though the peer's window is full.
    cdef uint8_t probing
    # Whether an acknowledgement of what precedes `tail_end` will answer a tail probe, and whether that was a
    # packet sent again (RFC 8985: TLP.end_seq, TLP.is_retrans).
    cdef uint16_t tail_end
    cdef uint8_t tail_probed
    cdef uint8_t tail_resent
    # Whether a tail probe is to leave with new payload.
    cdef uint8_t tail_due
    # When last asked for packets: growth is of use then.
    cdef uint8_t window_was_full
    # Whether packets wait only for their time to leave.
    cdef uint8_t paced
    # Whether a peer whose window is shut may take its time.
    cdef uint8_t patient
    cdef uint8_t fin_sent
    cdef uint8_t fin_acknowledged
    cdef unsigned long long bytes_sent
    cdef unsigned long long packets_retransmitted
    cdef unsigned long long tail_probes
    cdef unsigned long long timeouts
    cdef unsigned long long peer_window_closures
    # Bytes a second at which the path delivered last; 0 before that is known.
    cdef double delivery_rate

    cdef bint start(self, uint16_t seq_nr, uint32_t peer_window) except False
    cdef bint take_path(self, PathMtu path) except False
    cdef bint use_fresh_controller(self) except False
    cdef bint use_controller(self, name) except False
    cdef Py_ssize_t unacknowledged(self) noexcept
    cdef Py_ssize_t limit(self) noexcept
    cdef Py_ssize_t room(self) noexcept
    cdef bint acknowledge(
        self, const PacketHeader* packet, bint is_complete, double round_trip, double now
    ) noexcept
    cdef void measure(self, Acknowledged* result, double round_trip) noexcept
    cdef bint window_is_full(self) noexcept
    cdef bint is_overtaken(self, uint32_t timestamp) noexcept
    cdef void take_window(self, const PacketHeader* packet, double now) noexcept
    cdef bint is_duplicate(self, const PacketHeader* packet) noexcept
    cdef void answer_tail_probe(self, const PacketHeader* packet, bint advanced, double now) noexcept
    cdef void detect_loss(self, double now) noexcept
    cdef double reordering_time(self, double now) noexcept
    cdef void react_to_loss(self, double now) noexcept
    cdef bint refuse(self, uint16_t seq_nr, Py_ssize_t max_datagram, double now) noexcept
    cdef void fire_timers(self, double now) noexcept
    cdef void on_retransmission_timeout(self, double now) noexcept
    cdef void on_tail_timeout(self) noexcept
    cdef void on_probe_timeout(self) noexcept
    cdef double pacing_rate(self) noexcept
    cdef bint begin(self, double now) except False
    cdef void resize(self) noexcept
    cdef bytes next_run(
        self, const HeaderFields* header, double now, Py_ssize_t* segment, bint* may_fragment
    )
    cdef bytes lost_run(self, const HeaderFields* header, double now, Py_ssize_t* segment)
    cdef bytes new_run(
        self, const HeaderFields* header, double now, Py_ssize_t* segment, bint* may_fragment
    )
    cdef bytes tail_run(
        self, const HeaderFields* header, double now, Py_ssize_t* segment, bint* may_fragment
    )
    cdef Py_ssize_t tail_payload(self) noexcept
    cdef Py_ssize_t probe_payload(self, double now) noexcept
    cdef Py_ssize_t most_outstanding(self) noexcept
    cdef double timeout(self) noexcept
    cdef bint may_probe_tail(self) noexcept
    cdef void arrange_timers(self, double now) noexcept
