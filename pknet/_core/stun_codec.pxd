from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    HEADER_SIZE = 20  # RFC 8489 section 5
    TRANSACTION_ID_SIZE = 12
    MAGIC_COOKIE_VALUE = 0x2112A442


# The cheap test for a socket that carries other protocols too (RFC 8489 sections 5 and 7): two zero bits, the
# cookie, and a length that is that of the datagram and a multiple of 4.
cdef inline bint is_stun_message(const uint8_t* data, size_t size) noexcept nogil:
    return (
        size >= HEADER_SIZE
        and (data[0] & 0xC0) == 0
        and data[4] == 0x21
        and data[5] == 0x12
        and data[6] == 0xA4
        and data[7] == 0x42
        and (data[3] & 0x03) == 0
        and ((<size_t> data[2] << 8) | data[3]) + HEADER_SIZE == size
    )


cdef class Message:
    cdef readonly bytes data
    cdef const uint8_t* start
    cdef size_t size
    # Where these attributes stand, the first that counts of each; 0 where there is none.
    cdef size_t integrity_at
    cdef size_t integrity_sha256_at
    cdef size_t fingerprint_at

    cdef object get_value(self, uint16_t type)


# None if `data` is not a well-formed message.
cdef Message read_message(bytes data)
