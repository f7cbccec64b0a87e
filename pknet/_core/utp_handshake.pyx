"""How a connection opens (BEP 29): a SYN and its answer, each sent again until it is known to have arrived.

Where BEP 29 and the programs in use differ, this follows the programs: a SYN-ACK takes no sequence number
(the first DATA has the SYN-ACK's own), the first sequence number is random, and the acceptor sends no payload
before the initiator has shown that it received the SYN-ACK.
"""

from libc.math cimport INFINITY

from pknet._core.utp_packet cimport ST_STATE
from pknet._core.utp_sender cimport Sender
from pknet._core.utp_timers cimport GIVE_UP, RETRANSMIT


cdef Handshake dial(Outlet outlet, uint16_t seq_nr):
    """Begin as the initiator, whose SYN has this seq_nr."""
    cdef Handshake handshake = Handshake(outlet, True, seq_nr)
    outlet.sender.start(seq_nr + 1, 0)
    outlet.sender.timers.at[GIVE_UP] = outlet.shared.now + outlet.shared.config.connect_timeout
    return handshake


cdef Handshake answer(Outlet outlet, const PacketHeader* syn, uint16_t seq_nr):
    """Begin as the acceptor, whose first DATA will have this seq_nr."""
    cdef Handshake handshake = Handshake(outlet, False, syn.seq_nr)
    outlet.receiving.start(syn.seq_nr)
    outlet.sender.start(seq_nr, syn.wnd_size)
    outlet.take_timestamp(syn.timestamp)
    outlet.sender.timers.at[GIVE_UP] = outlet.shared.now + outlet.shared.config.half_open_timeout
    return handshake


cdef class Handshake:
    """One side's part in it; a connection has one until it is open."""

    def __cinit__(self, Outlet outlet not None, bint is_initiator, uint16_t syn_seq_nr):
        self.outlet = outlet
        self.is_initiator = is_initiator
        self.syn_seq_nr = syn_seq_nr
        self.is_due = True

    cdef bint take_syn_ack(self, const PacketHeader* packet) noexcept:
        """Take what has come to an initiator; return whether it is the answer to its SYN."""
        cdef Outlet outlet = self.outlet
        if packet.type != ST_STATE or packet.ack_nr != self.syn_seq_nr:
            outlet.shared.counters.unexpected += 1
            return False
        # The SYN-ACK took no sequence number: the first DATA will have this one.
        outlet.receiving.start(packet.seq_nr - 1)
        outlet.sender.start(outlet.sender.buffer.next, packet.wnd_size)
        outlet.sender.rtt.backoff = 0
        if self.transmissions == 1:
            outlet.sender.rtt.sample(outlet.shared.now - self.sent_at)
        return True

    cdef bint take_syn_again(self, const PacketHeader* syn) noexcept:
        """Take another SYN; return whether it is the same one, so that the SYN-ACK must have been lost."""
        if self.is_initiator or syn.seq_nr != self.syn_seq_nr:
            return False
        self.is_due = True
        return True

    cdef bint take_proof(self, const PacketHeader* packet) noexcept:
        """Take what has come to an acceptor; return whether the initiator has the SYN-ACK and may come in.

        For whom there is no place yet, that is known when there is.
        """
        cdef Outlet outlet = self.outlet
        cdef uint16_t behind = outlet.sender.buffer.first - 1 - packet.ack_nr
        # One behind is libutp's keepalive, the first thing that an initiator of its may send.
        if behind > (1 if packet.type == ST_STATE else 0):
            outlet.shared.counters.unexpected += 1
            return False
        self.is_proven = True
        if outlet.shared.places == 0:
            # What it carries is as if it had been lost: the initiator sends it again.
            outlet.shared.counters.deferred += 1
            return False
        return True

    cdef bint takes_reset(self, const PacketHeader* packet) noexcept:
        """Return whether a RESET is that of the peer: it names the SYN, or where the next packet would be."""
        if self.is_initiator:
            return packet.ack_nr == self.syn_seq_nr
        # Who gives up a dial has nothing to acknowledge.
        return packet.seq_nr == <uint16_t> (self.syn_seq_nr + 1)

    cdef bint send(self) except False:
        """Send the SYN or the SYN-ACK, if it is due."""
        cdef Sender sender = self.outlet.sender
        if not self.is_due:
            return True
        if self.is_initiator:
            self.transmissions += 1
            self.sent_at = self.outlet.shared.now
            sender.timers.at[RETRANSMIT] = self.sent_at + sender.rtt.retransmission_timeout()
            self.outlet.send_syn(self.syn_seq_nr)
        else:
            self.outlet.send_state()
        self.is_due = False
        return True

    cdef void fire_timers(self, double now) noexcept:
        """Have the SYN sent again if its answer is overdue."""
        if self.outlet.sender.timers.at[RETRANSMIT] <= now:
            self.outlet.sender.timers.at[RETRANSMIT] = INFINITY
            self.outlet.sender.rtt.backoff += 1
            self.is_due = True
