"""What a machine wants sent: one datagram, or a run of equal ones that leave in a single call."""

from cpython.bytes cimport PyBytes_GET_SIZE

cdef enum:
    # Below the 64 KiB that one send call takes, whatever the headers; and what UDP_SEGMENT takes at least.
    MAX_JOINED_BYTES = 62000
    MAX_JOINED = 64


cdef class Transmit:
    """One datagram to send, or a run of equal datagrams that leave in a single call.

    A run is `data` longer than `segment_size`: datagrams of `segment_size` bytes back to back, of which only
    the last may be shorter (the shape of Linux's UDP_SEGMENT). An adapter sends it in one call where the
    system can, and sends `datagrams()` one by one where it can't.

    `remote`: (host, port), or whatever handle the machine was given for its peer. `local`: the handle of the
    socket it leaves by; None is the primary one. `ttl`: hop limit of this datagram alone. `dont_fragment`:
    None leaves the socket's own setting. `ecn`: the two ECN bits (RFC 3168), 0 to 3.
    """

    def __init__(
        self,
        bytes data not None,
        remote,
        local=None,
        segment_size=None,
        ttl=None,
        dont_fragment=None,
        int ecn=0,
    ):
        self.data = data
        self.remote = remote
        self.local = local
        self.segment_size = segment_size
        self.ttl = ttl
        self.dont_fragment = dont_fragment
        self.ecn = ecn

    def datagrams(self):
        """Return the datagrams of the run, each as it goes on the wire."""
        cdef Py_ssize_t size, start
        if self.segment_size is None:
            return [self.data]
        size = self.segment_size
        if size <= 0:
            raise ValueError("segment_size must be positive")
        return [self.data[start:start + size] for start in range(0, len(self.data), size)]

    def _key(self):
        return (self.data, self.remote, self.local, self.segment_size, self.ttl, self.dont_fragment, self.ecn)

    def __eq__(self, other):
        if not isinstance(other, Transmit):
            return NotImplemented
        return self._key() == (<Transmit>other)._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        shape = f"{len(self.data)} bytes"
        if self.segment_size is not None:
            shape += f" in segments of {self.segment_size}"
        extra = "".join(
            f", {name}={value!r}"
            for name, value in (
                ("local", self.local),
                ("ttl", self.ttl),
                ("dont_fragment", self.dont_fragment),
                ("ecn", self.ecn or None),
            )
            if value is not None
        )
        return f"Transmit({shape} to {self.remote!r}{extra})"


cdef list join_runs(list transmits):
    """Return the transmits with those joined that follow each other to one remote and make up one run.

    Those of many connections leave in as few calls as those of one, then.
    """
    cdef list joined = []
    cdef list parts = []
    cdef Transmit first = None
    cdef Transmit transmit
    cdef Py_ssize_t segment = 0
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t size
    for transmit in transmits:
        size = PyBytes_GET_SIZE(transmit.data)
        if (
            first is not None
            and total % segment == 0
            and total + size <= min(MAX_JOINED * segment, <Py_ssize_t> MAX_JOINED_BYTES)
            and (segment_of(transmit) == segment or (transmit.segment_size is None and 0 < size < segment))
            and (transmit.remote is first.remote or transmit.remote == first.remote)
            and transmit.local is first.local
            and transmit.dont_fragment is first.dont_fragment
            and transmit.ttl is None
            and first.ttl is None
            and transmit.ecn == first.ecn
        ):
            parts.append(transmit.data)
            total += size
            continue
        if first is not None:
            joined.append(join(first, parts, segment))
        first = transmit
        segment = max(segment_of(transmit), 1)
        total = size
        parts = [transmit.data]
    if first is not None:
        joined.append(join(first, parts, segment))
    return joined


cdef Py_ssize_t segment_of(Transmit transmit) except -1:
    return PyBytes_GET_SIZE(transmit.data) if transmit.segment_size is None else transmit.segment_size


cdef Transmit join(Transmit first, list parts, Py_ssize_t segment):
    if len(parts) == 1:
        return first
    return Transmit(
        b"".join(parts), first.remote, first.local, segment, None, first.dont_fragment, first.ecn
    )
