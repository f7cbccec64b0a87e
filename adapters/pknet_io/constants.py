"""Numbers of the socket interface, None where a system has none.

Those that Python's `socket` does not name stand with the header that does. All are read when a socket is
made, so that one code serves every system.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import NamedTuple

__all__ = [
    "FORCED",
    "GSO_IMPOSSIBLE",
    "GSO_REFUSED",
    "ICMP_ERRORS",
    "IPV4",
    "IPV6",
    "LINUX",
    "MAX_RUN_BYTES",
    "MAX_RUN_SEGMENTS",
    "MSG_ERRQUEUE",
    "PENDING_ICMP_ERRORS",
    "SEND_BUFFER_FULL",
    "SOL_UDP",
    "SO_RXQ_OVFL",
    "TOO_BIG",
    "UDP_GRO",
    "UDP_SEGMENT",
    "Family",
]

LINUX = sys.platform.startswith(("linux", "android"))
_DARWIN = sys.platform == "darwin"
_WINDOWS = sys.platform == "win32"
_FREEBSD = sys.platform.startswith("freebsd")

SOL_UDP = 17  # <linux/udp.h>, and IPPROTO_UDP everywhere
UDP_SEGMENT: int | None = 103 if LINUX else None  # <linux/udp.h>
UDP_GRO: int | None = 104 if LINUX else None  # <linux/udp.h>
SO_RXQ_OVFL: int | None = 40 if LINUX else None  # <asm-generic/socket.h>
# The options that set a buffer's size whatever net.core.rmem_max and wmem_max say, for whoever has
# CAP_NET_ADMIN (<asm-generic/socket.h>).
FORCED = {socket.SO_SNDBUF: 32, socket.SO_RCVBUF: 33} if LINUX else {}
MSG_ERRQUEUE = 0x2000  # <linux/socket.h>, for what a Family's `receive_errors` asks for

# What one UDP_SEGMENT call may carry: the kernel's UDP_MAX_SEGMENTS (newer ones allow 128, every one 64), and
# the payload of the largest IPv4 datagram.
MAX_RUN_SEGMENTS = 64
MAX_RUN_BYTES = 65_507


class Family(NamedTuple):
    """How one address family spells what a datagram can be asked and told."""

    address_family: int
    level: int
    # The address of this machine that a datagram came to, and leaves from.
    receive_pktinfo: int | None  # the option that asks for it
    pktinfo: int | None  # the control message, both ways
    # The traffic class octet, whose low two bits are ECN (RFC 3168 section 5).
    receive_tos: int | None
    received_tos: int | None  # the control message on receipt
    tos: int | None  # the option for every datagram
    send_tos: int | None  # the control message for one datagram
    # TTL, or hop limit.
    ttl: int
    send_ttl: int | None
    # Don't Fragment. There is no control message for it that every system knows.
    dont_fragment: int | None
    dont_fragment_values: tuple[int, int]  # off, on
    # The MTU of a connected socket's route, and how much of it are IP and UDP headers.
    mtu: int | None
    header_bytes: int
    # The option, and the control message, of what ICMP says of a datagram that was sent.
    receive_errors: int | None


# On Linux "on" is PMTUDISC_PROBE, not PMTUDISC_DO: it sets DF and ignores the kernel's own path MTU, which a
# forged ICMP message can lower (RFC 8899 section 4.5).
_PMTUDISC = (0, 3)  # IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE of <linux/in.h>; the same numbers in <linux/in6.h>
_OFF_ON = (0, 1)

# <linux/in.h>, <netinet/in.h>. What it asks for comes as IP_TOS on Linux, as IP_RECVTOS on the BSDs and
# macOS.
_IP_RECVTOS: int | None = getattr(socket, "IP_RECVTOS", 13 if LINUX else 27 if _DARWIN else None)

IPV4 = Family(
    address_family=socket.AF_INET,
    level=socket.IPPROTO_IP,
    receive_pktinfo=8 if LINUX else 26 if _DARWIN else None,  # <linux/in.h>, <netinet/in.h>
    pktinfo=8 if LINUX else 26 if _DARWIN else None,
    receive_tos=_IP_RECVTOS,
    received_tos=socket.IP_TOS if LINUX else _IP_RECVTOS,
    tos=socket.IP_TOS,
    send_tos=socket.IP_TOS if LINUX else None,
    ttl=socket.IP_TTL,
    send_ttl=socket.IP_TTL if LINUX else None,
    dont_fragment=(
        10  # IP_MTU_DISCOVER of <linux/in.h>
        if LINUX
        else 28  # IP_DONTFRAG of <netinet/in.h>, macOS 11
        if _DARWIN
        else 14  # IP_DONTFRAGMENT of <ws2ipdef.h>
        if _WINDOWS
        else 67  # IP_DONTFRAG of <netinet/in.h>
        if _FREEBSD
        else None
    ),
    dont_fragment_values=_PMTUDISC if LINUX else _OFF_ON,
    mtu=14 if LINUX else None,  # IP_MTU of <linux/in.h>
    header_bytes=28,
    receive_errors=11 if LINUX else None,  # IP_RECVERR of <linux/in.h>
)

# RFC 3542 gives IPv6 the same names, and control messages both ways, everywhere.
IPV6 = Family(
    address_family=socket.AF_INET6,
    level=socket.IPPROTO_IPV6,
    receive_pktinfo=getattr(socket, "IPV6_RECVPKTINFO", None),
    pktinfo=getattr(socket, "IPV6_PKTINFO", None),
    receive_tos=getattr(socket, "IPV6_RECVTCLASS", None),
    received_tos=getattr(socket, "IPV6_TCLASS", None),
    tos=getattr(socket, "IPV6_TCLASS", None),
    send_tos=getattr(socket, "IPV6_TCLASS", None),
    ttl=socket.IPV6_UNICAST_HOPS,
    send_ttl=getattr(socket, "IPV6_HOPLIMIT", None),
    dont_fragment=23
    if LINUX
    else getattr(socket, "IPV6_DONTFRAG", None),  # IPV6_MTU_DISCOVER of <linux/in6.h>
    dont_fragment_values=_PMTUDISC if LINUX else _OFF_ON,
    mtu=24 if LINUX else None,  # IPV6_MTU of <linux/in6.h>
    header_bytes=48,
    receive_errors=25 if LINUX else None,  # IPV6_RECVERR of <linux/in6.h>
)


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


SEND_BUFFER_FULL = _numbers("EAGAIN", "EWOULDBLOCK", "ENOBUFS")

# The device that this destination is reached by has no checksum offload, or IPsec is in the way.
GSO_IMPOSSIBLE = _numbers("EIO")
# Or this run, with this segment size, cannot go in one call: EMSGSIZE (EINVAL on older kernels) says that a
# segment is larger than the path's MTU.
GSO_REFUSED = GSO_IMPOSSIBLE | _numbers("EINVAL", "EMSGSIZE", "ENOPROTOOPT", "EOPNOTSUPP")

# This datagram is longer than UDP can be, or than the path's MTU and has DF.
TOO_BIG = _numbers("EMSGSIZE", "WSAEMSGSIZE")

# What an ICMP message about an earlier datagram turns into, by the systems that report it on the socket.
ICMP_ERRORS = _numbers(
    "EACCES",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EMSGSIZE",
    "ENETDOWN",
    "ENETRESET",
    "ENETUNREACH",
    "ENONET",
    "ENOPROTOOPT",
    "EOPNOTSUPP",
    "EPROTO",
)
# Of these, the ones that a send can only mean about an earlier datagram.
PENDING_ICMP_ERRORS = _numbers("ECONNREFUSED", "ECONNRESET")
