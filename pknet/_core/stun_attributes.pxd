from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    # The attributes that the codec itself treats apart (RFC 8489 sections 14.5 to 14.7).
    MESSAGE_INTEGRITY = 0x0008
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    FINGERPRINT = 0x8028

    ATTRIBUTE_HEADER_SIZE = 4


# A message in the making, in a buffer that starts on the caller's stack. `heap` is for PyMem_Free, or NULL.
cdef struct Writer:
    uint8_t* data
    size_t size
    size_t capacity
    uint8_t* heap


# Every value passes here once, read or written; what the table doesn't know is valid.
cdef bint is_valid_value(uint16_t type, const uint8_t* value, size_t size) noexcept
# `xor_with`: the 16 bytes of the cookie and the transaction id.
cdef object read_value(uint16_t type, const uint8_t* value, size_t size, const uint8_t* xor_with)
cdef int write_attribute(Writer* writer, uint16_t type, object value, const uint8_t* xor_with) except -1
# Makes room for `size` more bytes and returns where they go. The message may move, so earlier pointers die.
cdef uint8_t* reserve(Writer* writer, size_t size) except NULL
cdef object attribute_of(uint16_t type)
