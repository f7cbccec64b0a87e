"""STUN messages on the wire (RFC 8489 section 5).

The header is 20 bytes, big endian; attributes follow, each padded to a multiple of 4 bytes:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+---------------------------+-------------------------------+
    |0 0|     STUN Message Type     |         Message Length        |
    +-+-+---------------------------+-------------------------------+
    |                         Magic Cookie                          |
    +---------------------------------------------------------------+
    |                                                               |
    |                     Transaction ID (96 bits)                  |
    |                                                               |
    +---------------------------------------------------------------+

Without the cookie a message is of RFC 3489, which is not spoken here.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.string cimport memcpy
from pknet._core.stun_attributes cimport (
    ATTRIBUTE_HEADER_SIZE, FINGERPRINT, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, Writer,
    attribute_of, is_valid_value, read_value, reserve, write_attribute,
)
from pknet._core.stun_integrity cimport (
    SHA1_SIZE, SHA256_SIZE, IntegrityKey, equal_in_constant_time, fingerprint_of, integrity_key_of,
)

from enum import IntEnum

from pknet.errors import ProtocolError

cdef enum:
    FINGERPRINT_SIZE = 4
    # A message for an unknown path has no more than 548 bytes (section 6.1): most never need the heap.
    STACK_SIZE = 1024

MAGIC_COOKIE = MAGIC_COOKIE_VALUE


class Method(IntEnum):
    """The methods of STUN (RFC 8489 section 18.2)."""

    BINDING = 0x001


class MessageClass(IntEnum):
    """The classes of STUN messages (RFC 8489 section 5)."""

    REQUEST = 0b00
    INDICATION = 0b01
    SUCCESS_RESPONSE = 0b10
    ERROR_RESPONSE = 0b11


cdef uint8_t[HEADER_SIZE] NO_HEADER
cdef tuple MESSAGE_CLASSES = tuple(MessageClass)
cdef dict METHODS = {int(member): member for member in Method}


cdef inline uint16_t read_u16(const uint8_t* data) noexcept nogil:
    return <uint16_t> ((data[0] << 8) | data[1])


cdef inline uint32_t read_u32(const uint8_t* data) noexcept nogil:
    return (<uint32_t> data[0] << 24) | (<uint32_t> data[1] << 16) | (<uint32_t> data[2] << 8) | data[3]


cdef inline void write_u16(uint8_t* out, uint16_t value) noexcept nogil:
    out[0] = value >> 8
    out[1] = value & 0xFF


cdef inline void write_u32(uint8_t* out, uint32_t value) noexcept nogil:
    write_u16(out, value >> 16)
    write_u16(out + 2, value & 0xFFFF)


# The attributes that count, one after the other. Before it may be walked a message's framing has to be sound.
cdef struct Walk:
    const uint8_t* message
    size_t message_size
    # Where the next attribute starts, whether it counts or not.
    size_t next
    # The last of the three attributes, after which others don't count, that was passed; 0 for none.
    uint16_t passed
    # The attribute walked to.
    size_t at
    uint16_t type
    const uint8_t* value
    size_t size


cdef inline Walk walk_of(const uint8_t* message, size_t size) noexcept nogil:
    cdef Walk walk
    walk.message = message
    walk.message_size = size
    walk.next = HEADER_SIZE
    walk.passed = 0
    return walk


# What the length field says in a message that ends at `end`.
cdef inline uint16_t length_to(size_t end) noexcept nogil:
    return <uint16_t> (end - HEADER_SIZE)


cdef inline bint counts(uint16_t type, uint16_t passed) noexcept nogil:
    """Tell if an attribute counts where it stands.

    After MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT do, after MESSAGE-INTEGRITY-SHA256
    only FINGERPRINT (section 9): anyone on the path could have added the others. It is the last (14.7).
    """
    if passed == 0:
        return True
    if passed == MESSAGE_INTEGRITY:
        return type == MESSAGE_INTEGRITY_SHA256 or type == FINGERPRINT
    return passed == MESSAGE_INTEGRITY_SHA256 and type == FINGERPRINT


cdef inline bint walk_on(Walk* walk) noexcept nogil:
    cdef const uint8_t* header
    while walk.next < walk.message_size:
        header = walk.message + walk.next
        walk.at = walk.next
        walk.type = read_u16(header)
        walk.size = read_u16(header + 2)
        walk.value = header + ATTRIBUTE_HEADER_SIZE
        walk.next += ATTRIBUTE_HEADER_SIZE + ((walk.size + 3) & ~<size_t> 3)
        if counts(walk.type, walk.passed):
            if walk.type in (MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT):
                walk.passed = walk.type
            return True
    return False


cdef bint is_framed(const uint8_t* message, size_t size) noexcept nogil:
    """Tell if the attributes fill the message to its end; their sizes are checked before anything is read."""
    cdef size_t at = HEADER_SIZE
    cdef size_t taken
    while at < size:
        if size - at < ATTRIBUTE_HEADER_SIZE:
            return False
        taken = ATTRIBUTE_HEADER_SIZE + ((<size_t> read_u16(message + at + 2) + 3) & ~<size_t> 3)
        if taken > size - at:
            return False
        at += taken
    return True


cdef class Message:
    """A well-formed STUN message, as `parse_message` returns it; it never changes.

    Of several attributes of a type `get` takes the first. Those that follow MESSAGE-INTEGRITY, and so are not
    protected by it, are not there at all, save MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 section 9).
    """

    def __cinit__(self):
        # Nothing but `read_message` makes one that is of use, but none may point nowhere.
        self.data = b""
        self.start = NO_HEADER
        self.size = HEADER_SIZE

    def __init__(self):
        raise TypeError("messages come from parse_message")

    @property
    def method(self):
        """The method, a Method if it is known."""
        cdef uint16_t type = read_u16(self.start)
        cdef object method = ((type & 0x3E00) >> 2) | ((type & 0x00E0) >> 1) | (type & 0x000F)
        return METHODS.get(method, method)

    @property
    def message_class(self):
        """The MessageClass."""
        return MESSAGE_CLASSES[((self.start[0] & 0x01) << 1) | ((self.start[1] & 0x10) >> 4)]

    @property
    def transaction_id(self):
        """The 12 bytes that tie a response to its request."""
        return PyBytes_FromStringAndSize(<const char*> self.start + 8, TRANSACTION_ID_SIZE)

    @property
    def attributes(self):
        """The attributes that count, in their order: (type, value without padding)."""
        cdef Walk walk = walk_of(self.start, self.size)
        cdef list attributes = []
        while walk_on(&walk):
            attributes.append((attribute_of(walk.type), walk.value[:walk.size]))
        return attributes

    @property
    def integrity(self):
        """Which integrity attributes there are, right or wrong: "sha1", "sha256", "both" or None."""
        if self.integrity_at:
            return "both" if self.integrity_sha256_at else "sha1"
        return "sha256" if self.integrity_sha256_at else None

    @property
    def has_fingerprint(self):
        """Tell if there is a FINGERPRINT, right or wrong."""
        return self.fingerprint_at != 0

    def get(self, uint16_t type):
        """Return the value of the first attribute of this type, or None.

        `Attribute` says which Python value each type has; the value of an unknown type is bytes, and that of
        an address of an unknown family is None.
        """
        return self.get_value(type)

    def get_all(self, uint16_t type):
        """Return the values of all the attributes of this type, in their order."""
        cdef Walk walk = walk_of(self.start, self.size)
        cdef list values = []
        while walk_on(&walk):
            if walk.type == type:
                values.append(read_value(type, walk.value, walk.size, self.start + 4))
        return values

    def unknown_comprehension_required(self, understood):
        """Return the types of comprehension-required attributes that are not in `understood`, each once."""
        cdef Walk walk = walk_of(self.start, self.size)
        cdef dict unknown = {}
        while walk_on(&walk):
            if walk.type < 0x8000 and walk.type not in understood:
                unknown[walk.type] = None
        return list(unknown)

    def verify_integrity(self, key, *, bint allow_truncation=False):
        """Tell if the message is from someone who has `key`, in a time that does not depend on the answer.

        MESSAGE-INTEGRITY-SHA256 decides where there is one, else MESSAGE-INTEGRITY (RFC 8489 section 9.1.3).
        `allow_truncation`: an HMAC-SHA256 of 16 to 28 bytes does too (section 14.6). Without either: False.
        """
        cdef IntegrityKey prepared = integrity_key_of(key)
        cdef uint8_t expected[SHA256_SIZE]
        cdef size_t at, size
        if self.integrity_sha256_at:
            at = self.integrity_sha256_at
            size = read_u16(self.start + at + 2)
            if size < SHA256_SIZE and not allow_truncation:
                return False
            prepared.sha256(self.start, at, length_to(at + ATTRIBUTE_HEADER_SIZE + size), expected)
        elif self.integrity_at:
            at = self.integrity_at
            size = SHA1_SIZE
            prepared.sha1(self.start, at, length_to(at + ATTRIBUTE_HEADER_SIZE + size), expected)
        else:
            return False
        return equal_in_constant_time(self.start + at + ATTRIBUTE_HEADER_SIZE, expected, size)

    def verify_fingerprint(self):
        """Tell if the message ends with a FINGERPRINT and it is right (RFC 8489 section 14.7)."""
        cdef size_t at = self.fingerprint_at
        if at == 0 or at + ATTRIBUTE_HEADER_SIZE + FINGERPRINT_SIZE != self.size:
            return False
        return read_u32(self.start + at + ATTRIBUTE_HEADER_SIZE) == fingerprint_of(self.start, at)

    def __eq__(self, other):
        if not isinstance(other, Message):
            return NotImplemented
        return self.data == (<Message> other).data

    def __hash__(self):
        return hash(self.data)

    def __repr__(self):
        method = self.method
        attributes = ", ".join(
            type.name if isinstance(type, IntEnum) else f"{type:#06x}" for type, _ in self.attributes
        )
        return (
            f"Message({method.name if isinstance(method, Method) else f'{method:#05x}'} "
            f"{self.message_class.name}, {self.transaction_id.hex()}, [{attributes}])"
        )

    def __reduce__(self):
        return parse_message, (self.data,)

    cdef object get_value(self, uint16_t type):
        cdef Walk walk = walk_of(self.start, self.size)
        while walk_on(&walk):
            if walk.type == type:
                return read_value(type, walk.value, walk.size, self.start + 4)
        return None


cdef Message read_message(bytes data):
    cdef const uint8_t* start = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef size_t size = <size_t> PyBytes_GET_SIZE(data)
    cdef Walk walk
    cdef Message message
    if not is_stun_message(start, size) or not is_framed(start, size):
        return None
    message = Message.__new__(Message)
    message.data = data
    message.start = start
    message.size = size
    walk = walk_of(start, size)
    while walk_on(&walk):
        if not is_valid_value(walk.type, walk.value, walk.size):
            return None
        if walk.type == MESSAGE_INTEGRITY:
            message.integrity_at = walk.at
        elif walk.type == MESSAGE_INTEGRITY_SHA256:
            message.integrity_sha256_at = walk.at
        elif walk.type == FINGERPRINT:
            message.fingerprint_at = walk.at
    return message


def is_stun(data):
    """Tell by its header if a datagram is a STUN message (RFC 8489 section 5); its rest may be broken."""
    cdef Py_buffer view
    if type(data) is bytes:
        return is_stun_message(<const uint8_t*> PyBytes_AS_STRING(data), <size_t> PyBytes_GET_SIZE(data))
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return is_stun_message(<const uint8_t*> view.buf, <size_t> view.len)
    finally:
        PyBuffer_Release(&view)


def parse_message(data):
    """Read a datagram as a STUN message.

    Raises ProtocolError if it is not one: too short, no cookie, a length that is not that of the datagram, an
    attribute that goes beyond its end, or one whose value breaks the rules of its section.
    """
    cdef bytes whole = data if type(data) is bytes else bytes(memoryview(data))
    cdef Message message = read_message(whole)
    if message is None:
        raise ProtocolError(f"not a STUN message: {whole[:24].hex()}")
    return message


def build_message(
    int method,
    int message_class,
    bytes transaction_id not None,
    attributes=(),
    *,
    integrity_key=None,
    str integrity not None="sha1",
    size_t sha256_size=SHA256_SIZE,
    bint fingerprint=True,
):
    """Return a STUN message as it goes on the wire.

    `attributes`: (type, value) pairs, in their order. `Attribute` says which Python value each type takes;
    bytes are taken for any, as they stand on the wire (without padding). Of an IPv6 host the scope ("%eth0")
    is dropped. With an `integrity_key` there is MESSAGE-INTEGRITY ("sha1"), MESSAGE-INTEGRITY-SHA256
    ("sha256") or both; `sha256_size` cuts the latter's value to fewer bytes than 32, where the usage allows
    that (section 14.6). With `fingerprint`, FINGERPRINT comes last.

    Raises ValueError, TypeError or OverflowError for what can't stand in a message.
    """
    cdef uint8_t stack[STACK_SIZE]
    cdef uint8_t xor_with[4 + TRANSACTION_ID_SIZE]
    cdef Writer writer
    cdef uint8_t* header
    if not 0 <= method <= 0xFFF:
        raise ValueError(f"a method has 12 bits: {method!r}")
    if not 0 <= message_class <= 3:
        raise ValueError(f"not a message class: {message_class!r}")
    if len(transaction_id) != TRANSACTION_ID_SIZE:
        raise ValueError(f"a transaction id has 12 bytes, not {len(transaction_id)}")
    if integrity not in ("sha1", "sha256", "both"):
        raise ValueError(f'integrity is "sha1", "sha256" or "both", not {integrity!r}')
    if sha256_size % 4 or not 16 <= sha256_size <= SHA256_SIZE:
        raise ValueError(f"sha256_size is 16, 20, 24, 28 or 32, not {sha256_size}")
    writer.data = stack
    writer.size = 0
    writer.capacity = STACK_SIZE
    writer.heap = NULL
    try:
        header = reserve(&writer, HEADER_SIZE)
        # Methods and classes share the type: M11-M7 C1 M6-M4 C0 M3-M0 (section 5).
        write_u16(
            header,
            <uint16_t> (
                ((method & 0xF80) << 2) | ((method & 0x070) << 1) | (method & 0x00F)
                | ((message_class & 0b10) << 7) | ((message_class & 0b01) << 4)
            ),
        )
        write_u16(header + 2, 0)
        write_u32(header + 4, MAGIC_COOKIE_VALUE)
        memcpy(header + 8, PyBytes_AS_STRING(transaction_id), TRANSACTION_ID_SIZE)
        memcpy(xor_with, header + 4, 4 + TRANSACTION_ID_SIZE)
        for type, value in attributes:
            write_given_attribute(&writer, type, value, xor_with)
        if integrity_key is not None:
            write_integrity(&writer, integrity_key_of(integrity_key), integrity, sha256_size)
        if fingerprint:
            write_fingerprint(&writer)
        write_u16(writer.data + 2, length_to(writer.size))
        return PyBytes_FromStringAndSize(<const char*> writer.data, <Py_ssize_t> writer.size)
    finally:
        PyMem_Free(writer.heap)


cdef int write_given_attribute(
    Writer* writer, uint16_t type, object value, const uint8_t* xor_with
) except -1:
    if type in (MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT):
        raise ValueError(f"{attribute_of(type).name} is added by integrity_key and fingerprint")
    write_attribute(writer, type, value, xor_with)
    return 0


cdef uint8_t* reserve_attribute(Writer* writer, uint16_t type, size_t size) except NULL:
    """Append an attribute but for its value of `size` bytes (a multiple of 4); return where that goes."""
    cdef uint8_t* header = reserve(writer, ATTRIBUTE_HEADER_SIZE + size)
    write_u16(header, type)
    write_u16(header + 2, <uint16_t> size)
    return header + ATTRIBUTE_HEADER_SIZE


cdef int write_integrity(Writer* writer, IntegrityKey key, str integrity, size_t sha256_size) except -1:
    cdef uint8_t digest[SHA256_SIZE]
    cdef uint8_t* value
    cdef size_t covered
    if integrity != "sha256":
        covered = writer.size
        value = reserve_attribute(writer, MESSAGE_INTEGRITY, SHA1_SIZE)
        key.sha1(writer.data, covered, length_to(writer.size), value)
    if integrity != "sha1":
        covered = writer.size
        value = reserve_attribute(writer, MESSAGE_INTEGRITY_SHA256, sha256_size)
        key.sha256(writer.data, covered, length_to(writer.size), digest)
        memcpy(value, digest, sha256_size)
    return 0


cdef int write_fingerprint(Writer* writer) except -1:
    cdef size_t covered = writer.size
    cdef uint8_t* value = reserve_attribute(writer, FINGERPRINT, FINGERPRINT_SIZE)
    # The CRC covers the length field, which has to count FINGERPRINT already.
    write_u16(writer.data + 2, length_to(writer.size))
    write_u32(value, fingerprint_of(writer.data, covered))
    return 0
