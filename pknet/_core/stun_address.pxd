from libc.stdint cimport uint8_t

cdef enum:
    IPV4_SIZE = 4
    IPV6_SIZE = 16
    # Eight groups of four digits and seven colons; a mapped address ("::ffff:255.255.255.255") is shorter.
    MAX_ADDRESS_TEXT = 39


# The address goes to `out`, room for 16 bytes; returns its size, 4 or 16, or 0 if `text` is no IP address.
cdef size_t read_address(const char* text, size_t size, uint8_t* out) noexcept nogil
# The text goes to `out` (room for MAX_ADDRESS_TEXT), without a closing zero; returns its size.
cdef size_t write_ipv4(const uint8_t* address, char* out) noexcept nogil
cdef size_t write_ipv6(const uint8_t* address, char* out) noexcept nogil
