"""What has to hold of a connection at any time, whatever its peer does: for tests, which ask after each step.

What the buffers count as they go along is counted anew here, by a walk over all that is outstanding, and over
all that came early.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport uint16_t

from pknet._core.utp_connection cimport UtpConnection
from pknet._core.utp_packet cimport seq_before
from pknet._core.utp_receive_buffer cimport ReceiveBuffer
from pknet._core.utp_send_buffer cimport IS_OUT_OF_SIGHT, LOST, SACKED, SendBuffer, SentPacket


def check_connection(UtpConnection connection not None):
    """Raise AssertionError if the figures of a connection's buffers contradict each other."""
    check_sent(connection.sender.buffer)
    check_early(connection.receiving)
    assert 0 < connection.sender.congestion.window < INFINITY
    assert connection.receiving.limit >= connection.shared.config.first_receive_buffer


cdef bint check_sent(SendBuffer buffer) except False:
    cdef uint16_t seq_nr = buffer.first
    cdef Py_ssize_t outstanding = 0, in_flight = 0, lost = 0, sacked = 0, sacked_bytes = 0
    cdef SentPacket* packet
    assert buffer.outstanding() <= buffer.slots
    while seq_nr != buffer.next:
        packet = buffer.packet(seq_nr)
        outstanding += packet.size
        assert packet.transmissions > 0
        if packet.flags & SACKED:
            sacked += 1
            sacked_bytes += packet.size
            assert not packet.flags & (LOST | IS_OUT_OF_SIGHT)
        elif packet.flags & LOST:
            lost += 1
            assert not packet.flags & IS_OUT_OF_SIGHT
            assert not seq_before(seq_nr, buffer.lost_from)
        elif packet.flags & IS_OUT_OF_SIGHT:
            assert packet.sent_at < buffer.newest_sent_at
        else:
            in_flight += packet.size
        seq_nr += 1
    assert buffer.outstanding_bytes == outstanding
    assert buffer.in_flight_bytes == in_flight
    assert buffer.lost_count == lost
    assert buffer.sacked_count == sacked
    assert buffer.sacked_bytes == sacked_bytes
    return True


cdef bint check_early(ReceiveBuffer buffer) except False:
    cdef Py_ssize_t count = 0, size = 0
    cdef Py_ssize_t slot
    for slot in range(buffer.early_slots):
        if buffer.early[slot] != NULL:
            count += 1
            size += PyBytes_GET_SIZE(<bytes> <object> buffer.early[slot])
    assert buffer.early_count == count
    assert buffer.early_bytes == size
    return True
