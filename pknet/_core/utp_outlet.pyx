"""How the packets of a connection leave: with headers that say how things stand now."""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from pknet._core.transmit cimport Transmit
from pknet._core.utp_packet cimport (
    EXTENSION_HEADER_SIZE, HEADER_SIZE, MAX_SELECTIVE_ACK, ST_RESET, ST_SYN, bare_packet, state_packet,
)


cdef class Outlet:
    """Hands packets of a connection to the adapter, as Transmits among those of the endpoint."""

    def __cinit__(
        self, Shared shared not None, Sender sender not None, ReceiveBuffer receiving not None, remote, local
    ):
        self.shared = shared
        self.sender = sender
        self.receiving = receiving
        self.remote = remote
        self.local = local
        self.last_sent = shared.now

    cdef void take_timestamp(self, uint32_t timestamp) noexcept:
        """Note how long the newest packet was on its way, by the two clocks; 0 is no timestamp."""
        if timestamp:
            self.timestamp_difference = self.shared.wire_time() - timestamp

    cdef void fill_header(self, HeaderFields* header) noexcept:
        """Set what every packet says."""
        header.connection_id = self.send_id
        header.ack_nr = self.receiving.ack_nr
        header.timestamp = self.shared.wire_time()
        header.timestamp_difference = self.timestamp_difference
        header.wnd_size = <uint32_t> self.receiving.window()

    cdef bint send_run(self, bytes run, Py_ssize_t segment, bint may_fragment) except False:
        """Send packets that stand back to back, with `segment` bytes after the header in all but the last.

        `may_fragment`: whether they leave without DF.
        """
        cdef Transmit transmit = Transmit.__new__(Transmit)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(run)
        cdef Py_ssize_t window
        transmit.data = run
        transmit.remote = self.remote
        transmit.local = self.local
        transmit.dont_fragment = not may_fragment
        segment += HEADER_SIZE
        if size > segment:
            transmit.segment_size = segment
            self.packets_sent += (size + segment - 1) // segment
        else:
            self.packets_sent += 1
        self.last_sent = self.shared.now
        window = self.receiving.window()
        if window == 0 and self.advertised:
            self.closures += 1
        self.advertised = window
        self.shared.transmits.append(transmit)
        if self.log is not None:
            self.log.packets_sent(run, segment)
        return True

    cdef bint send_bare(self, bytes packet) except False:
        """Send a packet without payload; DF as on most of the others, since to change it costs a call."""
        return self.send_run(packet, PyBytes_GET_SIZE(packet) - HEADER_SIZE, self.sender.path.is_at_floor())

    cdef bint send_syn(self, uint16_t seq_nr) except False:
        """Dial: the SYN carries the id under which its sender receives, all else goes by that plus one."""
        cdef HeaderFields header
        self.fill_header(&header)
        header.connection_id = self.send_id - 1
        return self.send_bare(bare_packet(ST_SYN, &header, seq_nr))

    cdef bint send_state(self) except False:
        """Send an acknowledgement, with a selective ACK if packets came early."""
        cdef uint8_t mask[MAX_SELECTIVE_ACK]
        cdef Py_ssize_t size = self.receiving.selective_ack(
            mask, self.sender.path.size - HEADER_SIZE - EXTENSION_HEADER_SIZE
        )
        cdef HeaderFields header
        self.fill_header(&header)
        # seq_nr is the next to send: with an older one libutp would not take the acknowledgement.
        return self.send_bare(state_packet(&header, self.sender.buffer.next, mask, size))

    cdef bint send_reset(self) except False:
        """Tell the peer that the connection is over."""
        cdef HeaderFields header
        self.fill_header(&header)
        return self.send_bare(bare_packet(ST_RESET, &header, self.sender.buffer.next))
