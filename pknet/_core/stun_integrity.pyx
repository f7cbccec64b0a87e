"""What proves a STUN message whole: HMAC-SHA1, HMAC-SHA256 and CRC-32 (RFC 8489 sections 14.5 to 14.7).

An IntegrityKey keeps the hash states that come after the padded key, so that a message costs two compressions
less, and no object has to be made for it. The hashes are FIPS 180-4, written here because Python's `hmac`
costs four times the hashing itself for messages as short as these; nothing in them depends on a secret's
value, neither a branch nor a table index.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    BLOCK_SIZE = 64
    FINGERPRINT_XOR = 0x5354554E  # RFC 8489 section 14.7

ctypedef void (*Compress)(uint32_t* state, const uint8_t* block) noexcept nogil

cdef uint32_t[5] SHA1_START = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0]
cdef uint32_t[8] SHA256_START = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]
cdef uint32_t[64] SHA256_CONSTANTS = [
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
]

# CRC32_TABLES[n][byte]: what a byte does to the CRC when n more bytes follow it in the word taken at once.
cdef uint32_t[4][256] CRC32_TABLES


cdef class IntegrityKey:
    """A key for MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256, prepared once for many messages.

    Wherever an integrity key is asked for its plain bytes do too, at half a microsecond's cost for each
    message. Raises ValueError for an empty key, which would prove nothing.
    """

    def __cinit__(self, bytes key not None):
        if not key:
            raise ValueError("an integrity key must not be empty")
        cdef const uint8_t* data = <const uint8_t*> PyBytes_AS_STRING(key)
        cdef size_t size = <size_t> PyBytes_GET_SIZE(key)
        prepare_key(sha1_compress, SHA1_START, 5, data, size, self.sha1_inner, self.sha1_outer)
        prepare_key(sha256_compress, SHA256_START, 8, data, size, self.sha256_inner, self.sha256_outer)

    def __reduce__(self):
        raise TypeError("an integrity key is not to be pickled")

    cdef void sha1(self, const uint8_t* message, size_t size, uint16_t length, uint8_t* out) noexcept:
        hmac(sha1_compress, self.sha1_inner, self.sha1_outer, 5, message, size, length, out)

    cdef void sha256(self, const uint8_t* message, size_t size, uint16_t length, uint8_t* out) noexcept:
        hmac(sha256_compress, self.sha256_inner, self.sha256_outer, 8, message, size, length, out)


cdef IntegrityKey integrity_key_of(object key):
    """Return `key`, an IntegrityKey or bytes, as an IntegrityKey."""
    return <IntegrityKey> key if isinstance(key, IntegrityKey) else IntegrityKey(key)


cdef bint equal_in_constant_time(const uint8_t* one, const uint8_t* other, size_t size) noexcept nogil:
    cdef uint8_t difference = 0
    cdef size_t index
    for index in range(size):
        difference |= one[index] ^ other[index]
    return difference == 0


cdef uint32_t fingerprint_of(const uint8_t* message, size_t size) noexcept nogil:
    cdef uint32_t crc = 0xFFFFFFFF
    cdef size_t at = 0
    while at < size:
        crc ^= (
            message[at]
            | (<uint32_t> message[at + 1] << 8)
            | (<uint32_t> message[at + 2] << 16)
            | (<uint32_t> message[at + 3] << 24)
        )
        crc = (
            CRC32_TABLES[3][crc & 0xFF]
            ^ CRC32_TABLES[2][(crc >> 8) & 0xFF]
            ^ CRC32_TABLES[1][(crc >> 16) & 0xFF]
            ^ CRC32_TABLES[0][crc >> 24]
        )
        at += 4
    return ~crc ^ <uint32_t> FINGERPRINT_XOR


cdef void fill_crc32_tables() noexcept nogil:
    cdef uint32_t crc
    cdef size_t byte, table
    cdef int _
    for byte in range(256):
        crc = <uint32_t> byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320U if crc & 1 else 0)
        CRC32_TABLES[0][byte] = crc
    for table in range(1, 4):
        for byte in range(256):
            crc = CRC32_TABLES[table - 1][byte]
            CRC32_TABLES[table][byte] = (crc >> 8) ^ CRC32_TABLES[0][crc & 0xFF]

fill_crc32_tables()


cdef void prepare_key(
    Compress compress,
    const uint32_t* start,
    size_t words,
    const uint8_t* key,
    size_t size,
    uint32_t* inner,
    uint32_t* outer,
) noexcept nogil:
    """Put the states after the padded key into `inner` and `outer` (RFC 2104)."""
    cdef uint8_t block[BLOCK_SIZE]
    cdef size_t index
    memset(block, 0, BLOCK_SIZE)
    memcpy(inner, start, words * sizeof(uint32_t))
    memcpy(outer, start, words * sizeof(uint32_t))
    if size > BLOCK_SIZE:
        finish(compress, inner, words, key, size, 0, block)
        memcpy(inner, start, words * sizeof(uint32_t))
    else:
        memcpy(block, key, size)
    for index in range(<size_t> BLOCK_SIZE):
        block[index] ^= 0x36
    compress(inner, block)
    for index in range(<size_t> BLOCK_SIZE):
        block[index] ^= 0x36 ^ 0x5C
    compress(outer, block)


cdef void hmac(
    Compress compress,
    const uint32_t* inner,
    const uint32_t* outer,
    size_t words,
    const uint8_t* message,
    size_t size,
    uint16_t length,
    uint8_t* out,
) noexcept nogil:
    cdef uint32_t state[8]
    cdef uint8_t head[BLOCK_SIZE]
    cdef uint8_t digest[SHA256_SIZE]
    memcpy(state, inner, words * sizeof(uint32_t))
    # The length field counts up to the end of the integrity attribute, whatever follows it in the message.
    memcpy(head, message, size if size < BLOCK_SIZE else BLOCK_SIZE)
    head[2] = length >> 8
    head[3] = length & 0xFF
    if size < BLOCK_SIZE:
        finish(compress, state, words, head, size, BLOCK_SIZE, digest)
    else:
        compress(state, head)
        finish(compress, state, words, message + BLOCK_SIZE, size - BLOCK_SIZE, 2 * BLOCK_SIZE, digest)
    memcpy(state, outer, words * sizeof(uint32_t))
    finish(compress, state, words, digest, words * sizeof(uint32_t), BLOCK_SIZE, out)


cdef void finish(
    Compress compress,
    uint32_t* state,
    size_t words,
    const uint8_t* data,
    size_t size,
    size_t hashed,
    uint8_t* out,
) noexcept nogil:
    """Hash the last `size` bytes after `hashed` earlier ones, and write the digest (FIPS 180-4)."""
    cdef uint8_t tail[2 * BLOCK_SIZE]
    cdef uint64_t bits = <uint64_t> (hashed + size) * 8
    cdef size_t tail_size, index
    while size >= BLOCK_SIZE:
        compress(state, data)
        data += BLOCK_SIZE
        size -= BLOCK_SIZE
    tail_size = BLOCK_SIZE if size < BLOCK_SIZE - 8 else 2 * BLOCK_SIZE
    memcpy(tail, data, size)
    tail[size] = 0x80
    memset(tail + size + 1, 0, tail_size - size - 1)
    for index in range(8):
        tail[tail_size - 1 - index] = (bits >> (8 * index)) & 0xFF
    compress(state, tail)
    if tail_size > BLOCK_SIZE:
        compress(state, tail + BLOCK_SIZE)
    for index in range(words):
        write_u32(out + 4 * index, state[index])


cdef inline uint32_t read_u32(const uint8_t* data) noexcept nogil:
    return (<uint32_t> data[0] << 24) | (<uint32_t> data[1] << 16) | (<uint32_t> data[2] << 8) | data[3]


cdef inline void write_u32(uint8_t* out, uint32_t value) noexcept nogil:
    out[0] = value >> 24
    out[1] = (value >> 16) & 0xFF
    out[2] = (value >> 8) & 0xFF
    out[3] = value & 0xFF


cdef inline uint32_t rotate_left(uint32_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (32 - bits))


cdef inline uint32_t rotate_right(uint32_t value, int bits) noexcept nogil:
    return (value >> bits) | (value << (32 - bits))


cdef inline uint32_t choose(uint32_t x, uint32_t y, uint32_t z) noexcept nogil:
    return z ^ (x & (y ^ z))


cdef inline uint32_t majority(uint32_t x, uint32_t y, uint32_t z) noexcept nogil:
    return (x & y) | (z & (x | y))


# Word t of the message schedule, of which only the last 16 are ever needed: made when its round comes, for
# compilers turn a loop that makes them all beforehand into vector code three times as slow.
cdef inline uint32_t sha1_word(uint32_t* w, int t) noexcept nogil:
    if t >= 16:
        w[t & 15] = rotate_left(w[(t + 13) & 15] ^ w[(t + 8) & 15] ^ w[(t + 2) & 15] ^ w[t & 15], 1)
    return w[t & 15]


cdef inline uint32_t sha256_word(uint32_t* w, int t) noexcept nogil:
    cdef uint32_t w2 = w[(t + 14) & 15]
    cdef uint32_t w15 = w[(t + 1) & 15]
    if t >= 16:
        w[t & 15] += (
            (rotate_right(w2, 17) ^ rotate_right(w2, 19) ^ (w2 >> 10))
            + w[(t + 9) & 15]
            + (rotate_right(w15, 7) ^ rotate_right(w15, 18) ^ (w15 >> 3))
        )
    return w[t & 15]


# A round turns the working variables by one place. Naming them in turned order instead leaves two to be
# written, and after five rounds of SHA-1 (eight of SHA-256) each name stands for its own variable again.
cdef inline void sha1_round(uint32_t a, uint32_t* b, uint32_t f, uint32_t* e, uint32_t term) noexcept nogil:
    e[0] += rotate_left(a, 5) + f + term
    b[0] = rotate_left(b[0], 30)


cdef void sha1_compress(uint32_t* state, const uint8_t* block) noexcept nogil:
    """FIPS 180-4 section 6.1.2."""
    cdef uint32_t w[16]
    cdef uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4]
    cdef int t
    for t in range(16):
        w[t] = read_u32(block + 4 * t)
    for t in range(0, 20, 5):
        sha1_round(a, &b, choose(b, c, d), &e, sha1_word(w, t) + 0x5A827999U)
        sha1_round(e, &a, choose(a, b, c), &d, sha1_word(w, t + 1) + 0x5A827999U)
        sha1_round(d, &e, choose(e, a, b), &c, sha1_word(w, t + 2) + 0x5A827999U)
        sha1_round(c, &d, choose(d, e, a), &b, sha1_word(w, t + 3) + 0x5A827999U)
        sha1_round(b, &c, choose(c, d, e), &a, sha1_word(w, t + 4) + 0x5A827999U)
    for t in range(20, 40, 5):
        sha1_round(a, &b, b ^ c ^ d, &e, sha1_word(w, t) + 0x6ED9EBA1U)
        sha1_round(e, &a, a ^ b ^ c, &d, sha1_word(w, t + 1) + 0x6ED9EBA1U)
        sha1_round(d, &e, e ^ a ^ b, &c, sha1_word(w, t + 2) + 0x6ED9EBA1U)
        sha1_round(c, &d, d ^ e ^ a, &b, sha1_word(w, t + 3) + 0x6ED9EBA1U)
        sha1_round(b, &c, c ^ d ^ e, &a, sha1_word(w, t + 4) + 0x6ED9EBA1U)
    for t in range(40, 60, 5):
        sha1_round(a, &b, majority(b, c, d), &e, sha1_word(w, t) + 0x8F1BBCDCU)
        sha1_round(e, &a, majority(a, b, c), &d, sha1_word(w, t + 1) + 0x8F1BBCDCU)
        sha1_round(d, &e, majority(e, a, b), &c, sha1_word(w, t + 2) + 0x8F1BBCDCU)
        sha1_round(c, &d, majority(d, e, a), &b, sha1_word(w, t + 3) + 0x8F1BBCDCU)
        sha1_round(b, &c, majority(c, d, e), &a, sha1_word(w, t + 4) + 0x8F1BBCDCU)
    for t in range(60, 80, 5):
        sha1_round(a, &b, b ^ c ^ d, &e, sha1_word(w, t) + 0xCA62C1D6U)
        sha1_round(e, &a, a ^ b ^ c, &d, sha1_word(w, t + 1) + 0xCA62C1D6U)
        sha1_round(d, &e, e ^ a ^ b, &c, sha1_word(w, t + 2) + 0xCA62C1D6U)
        sha1_round(c, &d, d ^ e ^ a, &b, sha1_word(w, t + 3) + 0xCA62C1D6U)
        sha1_round(b, &c, c ^ d ^ e, &a, sha1_word(w, t + 4) + 0xCA62C1D6U)
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e


cdef inline void sha256_round(
    uint32_t a,
    uint32_t b,
    uint32_t c,
    uint32_t* d,
    uint32_t e,
    uint32_t f,
    uint32_t g,
    uint32_t* h,
    uint32_t term,
) noexcept nogil:
    h[0] += (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) + choose(e, f, g) + term
    d[0] += h[0]
    h[0] += (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + majority(a, b, c)


cdef void sha256_compress(uint32_t* state, const uint8_t* block) noexcept nogil:
    """FIPS 180-4 section 6.2.2."""
    cdef uint32_t w[16]
    cdef uint32_t a = state[0], b = state[1], c = state[2], d = state[3]
    cdef uint32_t e = state[4], f = state[5], g = state[6], h = state[7]
    cdef const uint32_t* k = SHA256_CONSTANTS
    cdef int t
    for t in range(16):
        w[t] = read_u32(block + 4 * t)
    for t in range(0, 64, 8):
        sha256_round(a, b, c, &d, e, f, g, &h, k[t] + sha256_word(w, t))
        sha256_round(h, a, b, &c, d, e, f, &g, k[t + 1] + sha256_word(w, t + 1))
        sha256_round(g, h, a, &b, c, d, e, &f, k[t + 2] + sha256_word(w, t + 2))
        sha256_round(f, g, h, &a, b, c, d, &e, k[t + 3] + sha256_word(w, t + 3))
        sha256_round(e, f, g, &h, a, b, c, &d, k[t + 4] + sha256_word(w, t + 4))
        sha256_round(d, e, f, &g, h, a, b, &c, k[t + 5] + sha256_word(w, t + 5))
        sha256_round(c, d, e, &f, g, h, a, &b, k[t + 6] + sha256_word(w, t + 6))
        sha256_round(b, c, d, &e, f, g, h, &a, k[t + 7] + sha256_word(w, t + 7))
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
    state[5] += f
    state[6] += g
    state[7] += h
