"""The attributes of a STUN message: one table says what each may hold (RFC 8489 section 14).

An attribute that is in the table has a Python value of its kind; any other is bytes. A value that breaks its
section's rules makes the whole message malformed, so whoever reads one never has to ask again.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Malloc, PyMem_Realloc
from cpython.number cimport PyNumber_Index
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset
from pknet._core.stun_address cimport (
    IPV4_SIZE, IPV6_SIZE, MAX_ADDRESS_TEXT, read_address, write_ipv4, write_ipv6,
)

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    FAMILY_IPV4 = 0x01  # RFC 8489 section 14.1
    FAMILY_IPV6 = 0x02
    ADDRESS_HEADER_SIZE = 4
    # Texts are fewer than 128 characters: 509 bytes at most when sent, 763 when received (section 14.9).
    MAX_TEXT_SENT = 509
    MAX_TEXT = 763
    # The header and as many bytes of attributes as its length field, a multiple of 4, can count.
    MAX_MESSAGE_SIZE = 20 + 0xFFFC


class Attribute(IntEnum):
    """The attribute types of RFC 8489 (section 18.3) and of ICE (RFC 8445 section 20.1).

    Beside each: its section and the Python value that `Message.get` returns and `build_message` takes.
    """

    MAPPED_ADDRESS = 0x0001  # 14.1: (host, port)
    USERNAME = 0x0006  # 14.3: str
    MESSAGE_INTEGRITY = 0x0008  # 14.5: bytes
    ERROR_CODE = 0x0009  # 14.8: ErrorCode
    UNKNOWN_ATTRIBUTES = 0x000A  # 14.13: list of int
    REALM = 0x0014  # 14.9: str
    NONCE = 0x0015  # 14.10: str
    MESSAGE_INTEGRITY_SHA256 = 0x001C  # 14.6: bytes
    PASSWORD_ALGORITHM = 0x001D  # 14.12: PasswordAlgorithm
    USERHASH = 0x001E  # 14.4: bytes
    XOR_MAPPED_ADDRESS = 0x0020  # 14.2: (host, port)
    PRIORITY = 0x0024  # RFC 8445 16.1: int
    USE_CANDIDATE = 0x0025  # RFC 8445 16.1: True
    PASSWORD_ALGORITHMS = 0x8002  # 14.11: list of PasswordAlgorithm
    ALTERNATE_DOMAIN = 0x8003  # 14.16: str
    SOFTWARE = 0x8022  # 14.14: str
    ALTERNATE_SERVER = 0x8023  # 14.15: (host, port)
    FINGERPRINT = 0x8028  # 14.7: int
    ICE_CONTROLLED = 0x8029  # RFC 8445 16.1: int
    ICE_CONTROLLING = 0x802A  # RFC 8445 16.1: int


class ErrorCode(NamedTuple):
    """The value of ERROR-CODE: 300 to 699, and a phrase for people (RFC 8489 section 14.8)."""

    code: int
    reason: str = ""


class PasswordAlgorithm(NamedTuple):
    """A way to make a key of a password: its number in the registry and its parameters (section 14.11)."""

    algorithm: int
    parameters: bytes = b""


AttributeValue = (
    bytes | str | int | tuple[str, int] | ErrorCode | PasswordAlgorithm
    | Iterable[int] | Iterable[PasswordAlgorithm]
)

cdef dict ATTRIBUTES = {int(member): member for member in Attribute}

cdef enum Kind:
    KIND_BYTES
    KIND_ADDRESS
    KIND_XOR_ADDRESS
    KIND_TEXT
    KIND_TEXT_FOR_PEOPLE
    KIND_DOMAIN
    KIND_UINT32
    KIND_UINT64
    KIND_FLAG
    KIND_ERROR_CODE
    KIND_TYPES
    KIND_PASSWORD_ALGORITHM
    KIND_PASSWORD_ALGORITHMS
    KIND_INTEGRITY_SHA256


cdef struct Rule:
    Kind kind
    # Sizes of the value in bytes, without padding.
    uint16_t minimum
    uint16_t maximum
    uint16_t maximum_sent


# All types of the registry that we may ever know are 0x00XX or 0x80XX. Rule 0, of a reserved type, is that of
# the unknown ones.
cdef Rule[512] RULES


cdef inline const Rule* rule_of(uint16_t type) noexcept:
    return &RULES[0] if type & 0x7F00 else &RULES[((type >> 7) & 0x100) | (type & 0xFF)]


cdef int fill_rules() except -1:
    cdef size_t index
    for index in range(512):
        RULES[index] = Rule(KIND_BYTES, 0, 0xFFFF, 0xFFFF)
    for type, kind, minimum, maximum, maximum_sent in (
        (Attribute.MAPPED_ADDRESS, KIND_ADDRESS, 4, 20, 20),
        # RFC 5389 allowed longer usernames, and those have to be readable (section 14.3).
        (Attribute.USERNAME, KIND_TEXT, 0, MAX_TEXT, 508),
        (Attribute.MESSAGE_INTEGRITY, KIND_BYTES, 20, 20, 20),
        (Attribute.ERROR_CODE, KIND_ERROR_CODE, 4, 4 + MAX_TEXT, 4 + MAX_TEXT_SENT),
        (Attribute.UNKNOWN_ATTRIBUTES, KIND_TYPES, 0, 0xFFFE, 0xFFFE),
        # A server's realm and nonce have to go back to it, even if they are longer than they should be.
        (Attribute.REALM, KIND_TEXT, 0, MAX_TEXT, MAX_TEXT),
        (Attribute.NONCE, KIND_TEXT, 0, MAX_TEXT, MAX_TEXT),
        (Attribute.MESSAGE_INTEGRITY_SHA256, KIND_INTEGRITY_SHA256, 16, 32, 32),
        (Attribute.PASSWORD_ALGORITHM, KIND_PASSWORD_ALGORITHM, 4, 0xFFFF, 0xFFFF),
        (Attribute.USERHASH, KIND_BYTES, 32, 32, 32),
        (Attribute.XOR_MAPPED_ADDRESS, KIND_XOR_ADDRESS, 4, 20, 20),
        (Attribute.PRIORITY, KIND_UINT32, 4, 4, 4),
        (Attribute.USE_CANDIDATE, KIND_FLAG, 0, 0, 0),
        (Attribute.PASSWORD_ALGORITHMS, KIND_PASSWORD_ALGORITHMS, 0, 0xFFFF, 0xFFFF),
        (Attribute.ALTERNATE_DOMAIN, KIND_DOMAIN, 0, 255, 255),
        (Attribute.SOFTWARE, KIND_TEXT_FOR_PEOPLE, 0, MAX_TEXT, MAX_TEXT_SENT),
        (Attribute.ALTERNATE_SERVER, KIND_ADDRESS, 4, 20, 20),
        (Attribute.FINGERPRINT, KIND_UINT32, 4, 4, 4),
        (Attribute.ICE_CONTROLLED, KIND_UINT64, 8, 8, 8),
        (Attribute.ICE_CONTROLLING, KIND_UINT64, 8, 8, 8),
    ):
        index = ((type >> 7) & 0x100) | (type & 0xFF)
        RULES[index] = Rule(<Kind> <int> kind, minimum, maximum, maximum_sent)
    return 0

fill_rules()


cdef object attribute_of(uint16_t type):
    """Return the Attribute of this number, or the number where the table has none."""
    cdef object number = type
    return ATTRIBUTES.get(number, number)


cdef inline uint16_t read_u16(const uint8_t* data) noexcept nogil:
    return <uint16_t> ((data[0] << 8) | data[1])


cdef inline uint32_t read_u32(const uint8_t* data) noexcept nogil:
    return (<uint32_t> data[0] << 24) | (<uint32_t> data[1] << 16) | (<uint32_t> data[2] << 8) | data[3]


cdef inline void write_u16(uint8_t* out, uint16_t value) noexcept nogil:
    out[0] = value >> 8
    out[1] = value & 0xFF


cdef inline size_t padded(size_t size) noexcept nogil:
    return (size + 3) & ~<size_t> 3


cdef bint is_valid_value(uint16_t type, const uint8_t* value, size_t size) noexcept:
    cdef const Rule* rule = rule_of(type)
    if not rule.minimum <= size <= rule.maximum:
        return False
    if rule.kind == KIND_ADDRESS or rule.kind == KIND_XOR_ADDRESS:
        if value[1] == FAMILY_IPV4:
            return size == ADDRESS_HEADER_SIZE + IPV4_SIZE
        if value[1] == FAMILY_IPV6:
            return size == ADDRESS_HEADER_SIZE + IPV6_SIZE
        # An address of another family is to be ignored (section 6.3.3): `read_value` has None for it.
        return True
    if rule.kind == KIND_TEXT:
        return is_utf8(value, size)
    if rule.kind == KIND_DOMAIN:
        return is_ascii(value, size)
    if rule.kind == KIND_ERROR_CODE:
        return 3 <= (value[2] & 0x07) <= 6 and value[3] <= 99
    if rule.kind == KIND_TYPES:
        return size % 2 == 0
    if rule.kind == KIND_INTEGRITY_SHA256:
        return size % 4 == 0
    if rule.kind == KIND_PASSWORD_ALGORITHM:
        return password_algorithm_size(value, size) >= size
    if rule.kind == KIND_PASSWORD_ALGORITHMS:
        return are_password_algorithms(value, size)
    return True


cdef bint is_ascii(const uint8_t* text, size_t size) noexcept nogil:
    cdef size_t index
    for index in range(size):
        if text[index] >= 0x80:
            return False
    return True


cdef bint is_utf8(const uint8_t* text, size_t size) noexcept:
    if is_ascii(text, size):
        return True
    try:
        PyUnicode_DecodeUTF8(<const char*> text, <Py_ssize_t> size, NULL)
    except (UnicodeDecodeError, MemoryError):
        return False
    return True


cdef size_t password_algorithm_size(const uint8_t* value, size_t size) noexcept nogil:
    """Return how many bytes the first algorithm of a list takes with its padding; 0 if they aren't there.

    At the end of the list the padding may be missing, for it can be taken for the attribute's own.
    """
    cdef size_t parameters_size
    if size < 4:
        return 0
    parameters_size = read_u16(value + 2)
    return 4 + padded(parameters_size) if parameters_size <= size - 4 else 0


cdef bint are_password_algorithms(const uint8_t* value, size_t size) noexcept nogil:
    cdef size_t taken
    while size > 0:
        taken = password_algorithm_size(value, size)
        if taken == 0:
            return False
        if taken >= size:
            return True
        value += taken
        size -= taken
    return True


cdef object read_value(uint16_t type, const uint8_t* value, size_t size, const uint8_t* xor_with):
    """Return the Python value of an attribute that `is_valid_value`."""
    cdef const Rule* rule = rule_of(type)
    cdef size_t index
    cdef list values
    if rule.kind == KIND_ADDRESS:
        return read_transport_address(value, NULL)
    if rule.kind == KIND_XOR_ADDRESS:
        return read_transport_address(value, xor_with)
    if rule.kind == KIND_TEXT or rule.kind == KIND_DOMAIN:
        return PyUnicode_DecodeUTF8(<const char*> value, <Py_ssize_t> size, NULL)
    if rule.kind == KIND_TEXT_FOR_PEOPLE:
        return PyUnicode_DecodeUTF8(<const char*> value, <Py_ssize_t> size, b"replace")
    if rule.kind == KIND_UINT32:
        return read_u32(value)
    if rule.kind == KIND_UINT64:
        return (<uint64_t> read_u32(value) << 32) | read_u32(value + 4)
    if rule.kind == KIND_FLAG:
        return True
    if rule.kind == KIND_ERROR_CODE:
        return ErrorCode(
            (value[2] & 0x07) * 100 + value[3],
            PyUnicode_DecodeUTF8(<const char*> value + 4, <Py_ssize_t> size - 4, b"replace"),
        )
    if rule.kind == KIND_TYPES:
        return [attribute_of(read_u16(value + index)) for index in range(0, size, 2)]
    if rule.kind == KIND_PASSWORD_ALGORITHM:
        return read_password_algorithm(value)
    if rule.kind == KIND_PASSWORD_ALGORITHMS:
        values = []
        index = 0
        while index < size:
            values.append(read_password_algorithm(value + index))
            index += password_algorithm_size(value + index, size - index)
        return values
    return PyBytes_FromStringAndSize(<const char*> value, <Py_ssize_t> size)


cdef object read_password_algorithm(const uint8_t* value):
    return PasswordAlgorithm(
        read_u16(value), PyBytes_FromStringAndSize(<const char*> value + 4, read_u16(value + 2))
    )


cdef object read_transport_address(const uint8_t* value, const uint8_t* xor_with):
    cdef char text[MAX_ADDRESS_TEXT]
    cdef uint8_t address[IPV6_SIZE]
    cdef size_t size, index
    cdef uint16_t port = read_u16(value + 2)
    if value[1] == FAMILY_IPV4:
        size = IPV4_SIZE
    elif value[1] == FAMILY_IPV6:
        size = IPV6_SIZE
    else:
        return None
    memcpy(address, value + ADDRESS_HEADER_SIZE, size)
    if xor_with != NULL:
        port ^= read_u16(xor_with)
        for index in range(size):
            address[index] ^= xor_with[index]
    size = write_ipv4(address, text) if size == IPV4_SIZE else write_ipv6(address, text)
    return PyUnicode_DecodeASCII(text, <Py_ssize_t> size, NULL), port


cdef uint8_t* reserve(Writer* writer, size_t size) except NULL:
    cdef size_t needed, capacity
    cdef uint8_t* grown
    # Everything written is under 2**31 bytes by itself, so the sum can't wrap.
    needed = writer.size + size
    if size > MAX_MESSAGE_SIZE or needed > MAX_MESSAGE_SIZE:
        raise ValueError(f"a STUN message has at most {MAX_MESSAGE_SIZE} bytes")
    if needed > writer.capacity:
        capacity = max(needed, 2 * writer.capacity)
        if writer.heap == NULL:
            grown = <uint8_t*> PyMem_Malloc(capacity)
        else:
            grown = <uint8_t*> PyMem_Realloc(writer.heap, capacity)
        if grown == NULL:
            raise MemoryError()
        if writer.heap == NULL:
            memcpy(grown, writer.data, writer.size)
        writer.heap = grown
        writer.data = grown
        writer.capacity = capacity
    grown = writer.data + writer.size
    writer.size = needed
    return grown


cdef int write_attribute(Writer* writer, uint16_t type, object value, const uint8_t* xor_with) except -1:
    """Append an attribute with its padding; raise ValueError or TypeError if `value` is not for it."""
    cdef const Rule* rule = rule_of(type)
    cdef size_t start = writer.size
    cdef size_t size
    cdef uint8_t* header
    reserve(writer, ATTRIBUTE_HEADER_SIZE)
    write_value(writer, rule.kind, type, value, xor_with)
    size = writer.size - start - ATTRIBUTE_HEADER_SIZE
    header = writer.data + start
    if (
        size > rule.maximum_sent
        or not is_valid_value(type, header + ATTRIBUTE_HEADER_SIZE, size)
    ):
        raise ValueError(f"not a value of {name_of(type)}: {value!r}")
    write_u16(header, type)
    write_u16(header + 2, <uint16_t> size)
    write_padding(writer, size)
    return 0


cdef str name_of(uint16_t type):
    attribute = attribute_of(type)
    return attribute.name.replace("_", "-") if isinstance(attribute, Attribute) else f"attribute {type:#06x}"


cdef int write_value(
    Writer* writer, Kind kind, uint16_t type, object value, const uint8_t* xor_with
) except -1:
    if isinstance(value, bytes):
        # The value as it stands on the wire, whatever the kind.
        write_bytes(writer, <const uint8_t*> PyBytes_AS_STRING(value), <size_t> PyBytes_GET_SIZE(value))
    elif kind == KIND_ADDRESS:
        host, port = value
        write_transport_address(writer, host, port, NULL)
    elif kind == KIND_XOR_ADDRESS:
        host, port = value
        write_transport_address(writer, host, port, xor_with)
    elif kind == KIND_TEXT or kind == KIND_TEXT_FOR_PEOPLE or kind == KIND_DOMAIN:
        write_text(writer, value)
    elif kind == KIND_UINT32:
        write_integer(writer, value, 4)
    elif kind == KIND_UINT64:
        write_integer(writer, value, 8)
    elif kind == KIND_FLAG and value is True:
        pass
    elif kind == KIND_ERROR_CODE:
        code, reason = value
        if not 300 <= code <= 699:
            raise ValueError(f"an error code is 300 to 699, not {code}")
        write_integer(writer, code // 100 << 8 | code % 100, 4)
        write_text(writer, reason)
    elif kind == KIND_TYPES:
        for number in value:
            write_integer(writer, number, 2)
    elif kind == KIND_PASSWORD_ALGORITHM:
        write_password_algorithm(writer, value)
    elif kind == KIND_PASSWORD_ALGORITHMS:
        for algorithm in value:
            write_password_algorithm(writer, algorithm)
    else:
        raise TypeError(f"{name_of(type)} takes {'True' if kind == KIND_FLAG else 'bytes'}, not {value!r}")
    return 0


cdef int write_bytes(Writer* writer, const uint8_t* data, size_t size) except -1:
    memcpy(reserve(writer, size), data, size)
    return 0


cdef int write_padding(Writer* writer, size_t size) except -1:
    """Append zeros after `size` bytes, up to the next multiple of four."""
    cdef size_t missing = padded(size) - size
    memset(reserve(writer, missing), 0, missing)
    return 0


cdef int write_text(Writer* writer, str text) except -1:
    cdef Py_ssize_t size
    cdef const char* data
    if text is None:
        raise TypeError("a text is str, not None")
    data = PyUnicode_AsUTF8AndSize(text, &size)
    write_bytes(writer, <const uint8_t*> data, <size_t> size)
    return 0


cdef int write_integer(Writer* writer, object value, size_t size) except -1:
    cdef uint8_t* out
    cdef uint64_t number
    cdef size_t index
    try:
        number = PyNumber_Index(value)
    except OverflowError:
        raise ValueError(f"not an unsigned integer of {8 * size} bits: {value}") from None
    if size < 8 and number >> (8 * size) != 0:
        raise ValueError(f"not an unsigned integer of {8 * size} bits: {value}")
    out = reserve(writer, size)
    for index in range(size):
        out[size - 1 - index] = (number >> (8 * index)) & 0xFF
    return 0


cdef int write_password_algorithm(Writer* writer, object value) except -1:
    cdef bytes parameters
    algorithm, parameters = value
    write_integer(writer, algorithm, 2)
    write_integer(writer, len(parameters), 2)
    write_bytes(writer, <const uint8_t*> PyBytes_AS_STRING(parameters), <size_t> PyBytes_GET_SIZE(parameters))
    write_padding(writer, <size_t> PyBytes_GET_SIZE(parameters))
    return 0


cdef int write_transport_address(Writer* writer, str host, object port, const uint8_t* xor_with) except -1:
    cdef uint8_t address[IPV6_SIZE]
    cdef Py_ssize_t length
    cdef const char* text
    cdef size_t size, index
    cdef uint16_t number
    cdef uint8_t* out
    if host is None or not 0 <= port <= 0xFFFF:
        raise ValueError(f"not a host and a port: {(host, port)!r}")
    text = PyUnicode_AsUTF8AndSize(host, &length)
    size = read_address(text, <size_t> length, address)
    if size == 0:
        raise ValueError(f"not an IP address: {host!r}")
    number = port
    if xor_with != NULL:
        number ^= read_u16(xor_with)
        for index in range(size):
            address[index] ^= xor_with[index]
    out = reserve(writer, ADDRESS_HEADER_SIZE + size)
    out[0] = 0
    out[1] = FAMILY_IPV4 if size == IPV4_SIZE else FAMILY_IPV6
    write_u16(out + 2, number)
    memcpy(out + ADDRESS_HEADER_SIZE, address, size)
    return 0
