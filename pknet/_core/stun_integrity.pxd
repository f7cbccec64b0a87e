from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    SHA1_SIZE = 20
    SHA256_SIZE = 32


cdef class IntegrityKey:
    # The states of the two hashes after the inner and the outer padded key (RFC 2104 section 4).
    cdef uint32_t sha1_inner[5]
    cdef uint32_t sha1_outer[5]
    cdef uint32_t sha256_inner[8]
    cdef uint32_t sha256_outer[8]

    # The HMAC of the first `size` bytes of a message (20 at least) as if its length field said `length`.
    cdef void sha1(self, const uint8_t* message, size_t size, uint16_t length, uint8_t* out) noexcept
    cdef void sha256(self, const uint8_t* message, size_t size, uint16_t length, uint8_t* out) noexcept


cdef IntegrityKey integrity_key_of(object key)
# The value of FINGERPRINT for the `size` bytes before it, a multiple of 4 as everything in STUN is.
cdef uint32_t fingerprint_of(const uint8_t* message, size_t size) noexcept nogil
cdef bint equal_in_constant_time(const uint8_t* one, const uint8_t* other, size_t size) noexcept nogil
