"""uTP packets on the wire (BEP 29, "Header Format" and "Extensions").

The header is 20 bytes, big endian:

    0       4       8               16              24              32
    +-------+-------+---------------+---------------+---------------+
    | type  | ver   | extension     | connection_id                 |
    +-------+-------+---------------+---------------+---------------+
    | timestamp_microseconds                                        |
    +---------------+---------------+---------------+---------------+
    | timestamp_difference_microseconds                             |
    +---------------+---------------+---------------+---------------+
    | wnd_size                                                      |
    +---------------+---------------+---------------+---------------+
    | seq_nr                        | ack_nr                        |
    +---------------+---------------+---------------+---------------+
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

from enum import IntEnum

from pknet.errors import ProtocolError


class PacketType(IntEnum):
    """The packet types of BEP 29."""

    DATA = ST_DATA
    FIN = ST_FIN
    STATE = ST_STATE
    RESET = ST_RESET
    SYN = ST_SYN


cdef inline uint16_t read_u16(const uint8_t* data) noexcept nogil:
    return <uint16_t> ((data[0] << 8) | data[1])


cdef inline uint32_t read_u32(const uint8_t* data) noexcept nogil:
    return (<uint32_t> data[0] << 24) | (<uint32_t> data[1] << 16) | (<uint32_t> data[2] << 8) | data[3]


cdef inline void write_u16(uint8_t* out, uint16_t value) noexcept nogil:
    out[0] = value >> 8
    out[1] = value & 0xff


cdef inline void write_u32(uint8_t* out, uint32_t value) noexcept nogil:
    out[0] = value >> 24
    out[1] = (value >> 16) & 0xff
    out[2] = (value >> 8) & 0xff
    out[3] = value & 0xff


cdef bint read_packet(const uint8_t* data, Py_ssize_t size, PacketHeader* packet) noexcept nogil:
    """Read a datagram into `packet`; return False if it is not a uTP packet. Pointers go into `data`."""
    cdef uint8_t extension
    cdef Py_ssize_t offset = HEADER_SIZE
    cdef Py_ssize_t length
    if size < HEADER_SIZE or (data[0] & 0x0f) != VERSION or (data[0] >> 4) > ST_SYN:
        return False
    packet.type = data[0] >> 4
    packet.connection_id = read_u16(data + 2)
    packet.timestamp = read_u32(data + 4)
    packet.timestamp_difference = read_u32(data + 8)
    packet.wnd_size = read_u32(data + 12)
    packet.seq_nr = read_u16(data + 16)
    packet.ack_nr = read_u16(data + 18)
    packet.selective_ack = NULL
    packet.selective_ack_size = 0
    extension = data[1]
    # A linked list: each extension names the type of the next, then its own length.
    while extension != EXTENSION_NONE:
        if size - offset < 2:
            return False
        length = data[offset + 1]
        if size - offset - 2 < length:
            return False
        if extension == EXTENSION_SELECTIVE_ACK and packet.selective_ack == NULL:
            # BEP 29 asks for a multiple of 4; libtorrent sends any length from 1 byte up, so any is taken.
            packet.selective_ack = data + offset + 2
            packet.selective_ack_size = length
        extension = data[offset]
        offset += 2 + length
    packet.payload = data + offset
    packet.payload_size = size - offset
    return True


cdef void write_header(
    uint8_t* out, uint8_t type, uint8_t extension, const HeaderFields* header, uint16_t seq_nr
) noexcept nogil:
    """Write the 20 bytes of a header."""
    out[0] = <uint8_t> ((type << 4) | VERSION)
    out[1] = extension
    write_u16(out + 2, header.connection_id)
    write_u32(out + 4, header.timestamp)
    write_u32(out + 8, header.timestamp_difference)
    write_u32(out + 12, header.wnd_size)
    write_u16(out + 16, seq_nr)
    write_u16(out + 18, header.ack_nr)


cdef bytes bare_packet(uint8_t type, const HeaderFields* header, uint16_t seq_nr):
    """Return a packet that is only a header."""
    cdef bytes packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE)
    write_header(<uint8_t*> PyBytes_AS_STRING(packet), type, EXTENSION_NONE, header, seq_nr)
    return packet


cdef bytes state_packet(
    const HeaderFields* header, uint16_t seq_nr, const uint8_t* mask, Py_ssize_t mask_size
):
    """Return an ST_STATE with a selective ACK of at most 255 bytes, or without one if that has no bytes."""
    cdef bytes packet
    cdef uint8_t* out
    if mask_size == 0:
        return bare_packet(ST_STATE, header, seq_nr)
    packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + EXTENSION_HEADER_SIZE + mask_size)
    out = <uint8_t*> PyBytes_AS_STRING(packet)
    write_header(out, ST_STATE, EXTENSION_SELECTIVE_ACK, header, seq_nr)
    out[HEADER_SIZE] = EXTENSION_NONE
    out[HEADER_SIZE + 1] = <uint8_t> mask_size
    memcpy(out + HEADER_SIZE + EXTENSION_HEADER_SIZE, mask, mask_size)
    return packet


cdef class Packet:
    """A uTP packet as an object, for tools and tests; connections read and write the bytes themselves.

    Times are microseconds modulo 2**32, `wnd_size` is bytes, `selective_ack` is the bit mask as it stands on
    the wire (bit 0 of its first byte is ack_nr + 2), or None.
    """

    cdef readonly object type
    cdef readonly int connection_id
    cdef readonly object timestamp
    cdef readonly object timestamp_difference
    cdef readonly object wnd_size
    cdef readonly int seq_nr
    cdef readonly int ack_nr
    cdef readonly bytes selective_ack
    cdef readonly bytes payload

    def __init__(
        self,
        type,
        *,
        uint16_t connection_id,
        uint16_t seq_nr=0,
        uint16_t ack_nr=0,
        uint32_t timestamp=0,
        uint32_t timestamp_difference=0,
        uint32_t wnd_size=0,
        selective_ack=None,
        bytes payload not None=b"",
    ):
        if selective_ack is not None:
            selective_ack = bytes(selective_ack)
            if not 0 < len(selective_ack) <= MAX_SELECTIVE_ACK:
                raise ValueError(
                    f"a selective ACK has 1 to {MAX_SELECTIVE_ACK} bytes, not {len(selective_ack)}"
                )
        self.type = PacketType(type)
        self.connection_id = connection_id
        self.seq_nr = seq_nr
        self.ack_nr = ack_nr
        self.timestamp = timestamp
        self.timestamp_difference = timestamp_difference
        self.wnd_size = wnd_size
        self.selective_ack = selective_ack
        self.payload = payload

    def __bytes__(self):
        cdef HeaderFields header
        cdef bytes mask = self.selective_ack
        cdef Py_ssize_t extension_size = 0 if mask is None else 2 + len(mask)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + extension_size + len(self.payload))
        cdef uint8_t* data = <uint8_t*> PyBytes_AS_STRING(out)
        header.connection_id = self.connection_id
        header.ack_nr = self.ack_nr
        header.timestamp = self.timestamp
        header.timestamp_difference = self.timestamp_difference
        header.wnd_size = self.wnd_size
        write_header(
            data, self.type, EXTENSION_NONE if mask is None else EXTENSION_SELECTIVE_ACK, &header, self.seq_nr
        )
        data += HEADER_SIZE
        if mask is not None:
            data[0] = EXTENSION_NONE
            data[1] = <uint8_t> len(mask)
            memcpy(data + 2, PyBytes_AS_STRING(mask), len(mask))
            data += extension_size
        memcpy(data, PyBytes_AS_STRING(self.payload), len(self.payload))
        return out

    def __eq__(self, other):
        if not isinstance(other, Packet):
            return NotImplemented
        return bytes(self) == bytes(other)

    def __hash__(self):
        return hash(bytes(self))

    def __repr__(self):
        mask = "" if self.selective_ack is None else f", selective_ack={self.selective_ack.hex()}"
        return (
            f"Packet({self.type.name}, connection_id={self.connection_id}, seq_nr={self.seq_nr}, "
            f"ack_nr={self.ack_nr}, wnd_size={self.wnd_size}, timestamp={self.timestamp}, "
            f"timestamp_difference={self.timestamp_difference}{mask}, payload={len(self.payload)} bytes)"
        )


def parse_packet(data):
    """Read a datagram as a uTP packet.

    Raises ProtocolError if it is not one: too short, another version or type, or a broken extension chain.
    """
    cdef Py_buffer view
    cdef PacketHeader header
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if not read_packet(<const uint8_t*> view.buf, view.len, &header):
            raise ProtocolError(f"not a uTP packet: {bytes(data)[:24].hex()}")
        return Packet(
            header.type,
            connection_id=header.connection_id,
            seq_nr=header.seq_nr,
            ack_nr=header.ack_nr,
            timestamp=header.timestamp,
            timestamp_difference=header.timestamp_difference,
            wnd_size=header.wnd_size,
            # An extension of no bytes says nothing.
            selective_ack=(
                header.selective_ack[:header.selective_ack_size] if header.selective_ack_size else None
            ),
            payload=header.payload[:header.payload_size],
        )
    finally:
        PyBuffer_Release(&view)
