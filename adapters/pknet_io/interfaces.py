"""The addresses of this machine."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import TYPE_CHECKING

from pknet_io.addresses import to_address

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["local_addresses"]

# Documentation addresses (RFC 5737, RFC 3849): nobody's, and behind the default route.
_ELSEWHERE = ((socket.AF_INET, ("192.0.2.1", 9)), (socket.AF_INET6, ("2001:db8::1", 9)))

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_addr.h>
_NETLINK_ROUTE = 0
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_FLAGS = 8
_IFA_F_DADFAILED = 0x08
_IFA_F_DEPRECATED = 0x20
_IFA_F_TENTATIVE = 0x40
_UNUSABLE = _IFA_F_DADFAILED | _IFA_F_DEPRECATED | _IFA_F_TENTATIVE

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_RTATTR = struct.Struct("=HH")  # length, type
_U32 = struct.Struct("=I")


def local_addresses() -> list[str]:
    """Return this machine's IP addresses: IPv4, IPv6, link-local; those of a default route before others.

    A link-local IPv6 address carries its interface, "fe80::1%2". Loopback addresses are there only if there
    is nothing else. Linux is asked for every interface; elsewhere the list has the addresses of the default
    routes, and what the system says of its own name on Windows. No packet is sent.
    """
    found = list(dict.fromkeys([*_default_route_addresses(), *_interface_addresses()]))
    addresses = [host for host in found if not ipaddress.ip_address(host).is_loopback]
    return sorted(addresses, key=_rank) or found or ["127.0.0.1"]


def _rank(host: str) -> tuple[bool, int]:
    address = ipaddress.ip_address(host)
    return address.is_link_local, address.version


def _default_route_addresses() -> Iterator[str]:
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect(elsewhere)  # chooses a route and a source address, sends nothing
                yield to_address(sock.getsockname())[0]
        except OSError:
            continue  # no route, or no such family


def _interface_addresses() -> Iterator[str]:
    try:
        if hasattr(socket, "AF_NETLINK"):
            yield from _parse_addresses(_dump_addresses())
        elif hasattr(socket, "SIO_RCVALL"):  # Windows, which answers for its own name without asking a server
            for *_, sockaddr in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM):
                yield to_address(sockaddr)[0]  # type: ignore[arg-type]  # of the two families
    except OSError:
        return  # a sandbox without netlink, a machine without a name


def _dump_addresses() -> bytes:
    """Ask the kernel for the addresses of all interfaces; return its messages."""
    messages = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
        sock.settimeout(1.0)
        body = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + body)
        while True:
            part = sock.recv(1 << 16)
            messages += part
            if any(kind in (_NLMSG_DONE, _NLMSG_ERROR) for kind, _ in _split_messages(part)):
                return messages


def _split_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _NLMSGHDR.size:
        length, kind, *_ = _NLMSGHDR.unpack_from(data)
        yield kind, data[_NLMSGHDR.size : length]
        data = data[_aligned(max(length, _NLMSGHDR.size)) :]


def _parse_addresses(messages: bytes) -> Iterator[str]:
    for kind, message in _split_messages(messages):
        if kind != _RTM_NEWADDR or len(message) < _IFADDRMSG.size:
            continue
        family, _, flags, _, interface = _IFADDRMSG.unpack_from(message)
        attributes = dict(_split_attributes(message[_IFADDRMSG.size :]))
        if _IFA_FLAGS in attributes:
            (flags,) = _U32.unpack(attributes[_IFA_FLAGS])
        # On a point-to-point link IFA_ADDRESS is the other end.
        packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        if packed is None or flags & _UNUSABLE or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        host = socket.inet_ntop(family, packed)
        if family == socket.AF_INET6 and ipaddress.ip_address(host).is_link_local:
            host = f"{host}%{interface}"
        yield host


def _split_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(data)
        yield kind, data[_RTATTR.size : length]
        data = data[_aligned(max(length, _RTATTR.size)) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
