"""Which protocol a datagram on a shared socket belongs to, by its form.

STUN begins with two zero bits and has a cookie and a length that fits (RFC 8489 section 5); uTP begins with a
type of 0 to 4 and version 1 (BEP 29). A Binding success (0x0101) and a uTP ST_DATA (0x01) begin alike, so
STUN is looked for first: a uTP packet passes for STUN only if its timestamp is the cookie and its connection
id the length. Where the message then turns out malformed, it may still be uTP.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t

from pknet._core.stun_codec cimport is_stun_message
from pknet._core.utp_packet cimport HEADER_SIZE, ST_SYN, VERSION

from enum import IntEnum

cdef enum:
    UNKNOWN = 0
    STUN = 1
    UTP = 2


class DatagramKind(IntEnum):
    """What a datagram looks like."""

    UNKNOWN = 0
    STUN = 1
    UTP = 2


cdef inline int kind_of(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    if is_stun_message(data, <size_t> size):
        return STUN
    if looks_like_utp(data, size):
        return UTP
    return UNKNOWN


cdef inline bint looks_like_utp(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    return size >= HEADER_SIZE and (data[0] & 0x0f) == VERSION and (data[0] >> 4) <= ST_SYN


def classify(data):
    """Return the DatagramKind of a datagram as an int."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return kind_of(<const uint8_t*> view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


def is_utp(data):
    """Return whether a datagram has the form of a uTP packet, whatever else it may be."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return looks_like_utp(<const uint8_t*> view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


def classify_segments(data, Py_ssize_t segment_size):
    """Return [(kind, start, stop), …] for a run of datagrams: one entry for each stretch of the same kind.

    Receive offload merges by flow, not by protocol, so a run may hold several. A stretch of STUN is one
    datagram. Raises ValueError if `segment_size` is not positive.
    """
    cdef Py_buffer view
    cdef const uint8_t* start
    cdef Py_ssize_t offset, size, begin
    cdef int kind, before
    cdef list stretches = []
    if segment_size <= 0:
        raise ValueError(f"segment_size must be positive, not {segment_size}")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        start = <const uint8_t*> view.buf
        offset = begin = 0
        before = -1
        while offset < view.len:
            size = min(segment_size, view.len - offset)
            kind = kind_of(start + offset, size)
            if before >= 0 and (kind != before or kind == STUN):
                stretches.append((before, begin, offset))
                begin = offset
            before = kind
            offset += size
        if before >= 0:
            stretches.append((before, begin, view.len))
        return stretches
    finally:
        PyBuffer_Release(&view)
