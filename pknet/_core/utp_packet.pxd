from libc.stdint cimport uint8_t, uint16_t, uint32_t, int16_t

cdef enum:
    HEADER_SIZE = 20

    ST_DATA = 0
    ST_FIN = 1
    ST_STATE = 2
    ST_RESET = 3
    ST_SYN = 4

    VERSION = 1

    EXTENSION_NONE = 0
    EXTENSION_SELECTIVE_ACK = 1
    EXTENSION_CLOSE_REASON = 3

    # The next extension, and the length of this one.
    EXTENSION_HEADER_SIZE = 2
    # One length byte: a selective ACK reaches 255 * 8 packets past ack_nr + 2.
    MAX_SELECTIVE_ACK = 255


cdef struct PacketHeader:
    uint8_t type
    uint16_t connection_id
    uint32_t timestamp
    uint32_t timestamp_difference
    uint32_t wnd_size
    uint16_t seq_nr
    uint16_t ack_nr
    # Found by walking the extension chain; NULL or offset 0 where the packet has none.
    const uint8_t* selective_ack
    Py_ssize_t selective_ack_size
    const uint8_t* payload
    Py_ssize_t payload_size


# The fields that every packet of a connection carries at one moment.
cdef struct HeaderFields:
    uint16_t connection_id
    uint16_t ack_nr
    uint32_t timestamp
    uint32_t timestamp_difference
    uint32_t wnd_size


cdef bint read_packet(const uint8_t* data, Py_ssize_t size, PacketHeader* packet) noexcept nogil
cdef void write_header(
    uint8_t* out, uint8_t type, uint8_t extension, const HeaderFields* header, uint16_t seq_nr
) noexcept nogil
cdef bytes bare_packet(uint8_t type, const HeaderFields* header, uint16_t seq_nr)
cdef bytes state_packet(
    const HeaderFields* header, uint16_t seq_nr, const uint8_t* mask, Py_ssize_t mask_size
)


# Sequence numbers live on a circle of 2**16: a is before b when the way from a to b is the shorter one.
cdef inline bint seq_before(uint16_t a, uint16_t b) noexcept nogil:
    return <int16_t> <uint16_t> (a - b) < 0


cdef inline uint16_t seq_distance(uint16_t start, uint16_t end) noexcept nogil:
    return <uint16_t> (end - start)
