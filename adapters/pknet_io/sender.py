"""How a UdpSocket sends: a run in one call where the kernel can cut it (UDP_SEGMENT), else one by one."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, cast

from pknet_io import constants, control, options
from pknet_io.addresses import Address, Sockaddr, to_sockaddr
from pknet_io.too_big import QUOTED_BYTES, PacketTooBig, largest_datagram

if TYPE_CHECKING:
    import socket
    from collections.abc import Hashable

    from pknet import Transmit
    from pknet_io.control import Control
    from pknet_io.local import LocalAddresses
    from pknet_io.stats import UdpStats

__all__ = ["Sender"]

_MAX_REMOTES = 4096
_MAX_UNFINISHED = 64
_MAX_TOO_BIG = 256

_CLOSED = (errno.EBADF, errno.ENOTSOCK)


class Sender:
    """The sending half of a UdpSocket."""

    def __init__(
        self, sock: socket.socket, family: constants.Family, local_addresses: LocalAddresses, stats: UdpStats
    ) -> None:
        self._sock = sock
        self._address_family = sock.family
        self._family = family
        self._sources = local_addresses.sources
        self._stats = stats
        self._segments_runs = options.segments_runs(sock)
        self._has_messages = hasattr(sock, "sendmsg")
        self._sockaddrs: dict[Hashable, Sockaddr] = {}
        # Where runs cannot go in one call.
        self._unsegmented: set[Hashable] = set()
        # The runs that the kernel took in part, by identity, and the bytes it took. The object is held so
        # that its id stays its own.
        self._unfinished: dict[int, tuple[Transmit, int]] = {}
        # What was too long for the path, with the socket address that it was for.
        self.too_big: list[tuple[bytes, Transmit, Sockaddr]] = []
        # What the options of the socket say now, and what they said when we were given it.
        self._dont_fragment: bool | None = None
        self._usual_dont_fragment = options.get(sock, family.level, family.dont_fragment)
        traffic_class = options.get(sock, family.level, family.tos) or 0
        self._ecn = traffic_class & 3
        self._dscp = traffic_class & ~3

    @property
    def can_set_dont_fragment(self) -> bool:
        """Whether the system lets DF be set and cleared."""
        return self._usual_dont_fragment is not None

    def send(self, transmit: Transmit) -> bool:
        """Send what can be sent; return False if the kernel has no room for (the rest of) it."""
        sockaddr = self._sockaddrs.get(transmit.remote) or self._sockaddr(transmit.remote)
        if sockaddr is None:
            self._drop(errno.EAFNOSUPPORT, len(transmit.datagrams()))
            return True
        if transmit.dont_fragment is not self._dont_fragment:
            self._set_dont_fragment(transmit.dont_fragment)
        messages = self._sources.get(transmit.local, ())
        if transmit.ecn != self._ecn:
            messages = self._with_ecn(transmit.ecn, messages)
        if transmit.ttl is None:
            return self._send(transmit, sockaddr, messages)
        if self._has_messages and self._family.send_ttl is not None:
            ttl = control.integer(self._family.level, self._family.send_ttl, transmit.ttl)
            return self._send(transmit, sockaddr, (*messages, ttl))
        return self._send_under_ttl(transmit.ttl, transmit, sockaddr, messages)

    def take_too_big(self) -> list[PacketTooBig]:
        """Return the datagrams with DF that the system refused as too long since this was last called."""
        taken, self.too_big = self.too_big, []
        largest: dict[Sockaddr, int | None] = {}
        for _, _, sockaddr in taken:
            if sockaddr not in largest:
                largest[sockaddr] = largest_datagram(self._family, sockaddr)
        return [
            PacketTooBig(data, largest[sockaddr], transmit.remote, transmit.local)
            for data, transmit, sockaddr in taken
        ]

    def drop(self, transmit: Transmit) -> None:
        """Count a transmit that is given up because too many wait already."""
        self._drop(errno.ENOBUFS, len(transmit.datagrams()))

    def _send(self, transmit: Transmit, sockaddr: Sockaddr, messages: tuple[Control, ...]) -> bool:
        if transmit.segment_size is not None:
            return self._send_run(transmit, transmit.segment_size, sockaddr, messages)
        code = self._write(transmit.data, sockaddr, messages)
        if not code:
            self._stats.sent += 1
        elif code in constants.SEND_BUFFER_FULL:
            return False
        else:
            self._refused(code, transmit.data, 1, transmit, sockaddr)
        return True

    def _send_run(
        self, transmit: Transmit, segment_size: int, sockaddr: Sockaddr, messages: tuple[Control, ...]
    ) -> bool:
        if segment_size <= 0:
            raise ValueError("segment_size must be positive")
        data = memoryview(transmit.data)
        step = segment_size
        if self._segments_runs and transmit.remote not in self._unsegmented:
            step *= max(1, min(constants.MAX_RUN_SEGMENTS, constants.MAX_RUN_BYTES // segment_size))
        _, start = self._unfinished.pop(id(transmit), (transmit, 0))
        while start < len(data):
            part = data[start : start + step]
            count = -(-len(part) // segment_size)
            if count == 1:
                code = self._write(part, sockaddr, messages)
            else:
                code = self._write(part, sockaddr, (*messages, control.segment(segment_size)))
            if not code:
                self._stats.sent += count
                self._stats.sent_runs += count > 1
            elif code in constants.SEND_BUFFER_FULL:
                self._keep_place(transmit, start)
                return False
            elif count > 1 and code in constants.GSO_REFUSED:
                if code in constants.GSO_IMPOSSIBLE:
                    self._remember_unsegmented(transmit.remote)
                step = segment_size  # the rest of this run goes one by one
                continue
            else:
                self._refused(code, part, count, transmit, sockaddr)
            start += len(part)
        return True

    def _refused(
        self, code: int, data: bytes | memoryview, count: int, transmit: Transmit, sockaddr: Sockaddr
    ) -> None:
        """Count datagrams that the kernel refused for good; keep those that were too long for the path."""
        self._drop(code, count)
        if code in constants.TOO_BIG and transmit.dont_fragment and len(self.too_big) < _MAX_TOO_BIG:
            self.too_big.append((bytes(data[:QUOTED_BYTES]), transmit, sockaddr))

    def _keep_place(self, transmit: Transmit, start: int) -> None:
        if not start:
            return
        if len(self._unfinished) >= _MAX_UNFINISHED:
            # Given up by the caller, or else it starts again: twice is better than never.
            del self._unfinished[next(iter(self._unfinished))]
        self._unfinished[id(transmit)] = transmit, start

    def _remember_unsegmented(self, remote: Hashable) -> None:
        if len(self._unsegmented) >= _MAX_REMOTES:
            self._unsegmented.clear()
        self._unsegmented.add(remote)

    def _write(
        self, data: bytes | memoryview, sockaddr: Sockaddr, messages: tuple[Control, ...], tries: int = 2
    ) -> int:
        """Make one call; return 0, or the errno."""
        try:
            if messages:
                self._sock.sendmsg((data,), messages, 0, sockaddr)
            else:
                self._sock.sendto(data, sockaddr)
        except OSError as error:
            code = error.errno or errno.EIO
        else:
            return 0
        if code in constants.PENDING_ICMP_ERRORS:
            # It speaks of an earlier datagram; this one has not been tried yet.
            self._stats.icmp_errors += 1
            if tries > 1:
                return self._write(data, sockaddr, messages, tries - 1)
        return code

    def _send_under_ttl(
        self, ttl: int, transmit: Transmit, sockaddr: Sockaddr, messages: tuple[Control, ...]
    ) -> bool:
        level, option = self._family.level, self._family.ttl
        usual = self._sock.getsockopt(level, option)
        try:
            self._sock.setsockopt(level, option, ttl)
        except OSError as error:
            self._drop(error.errno or errno.EINVAL, len(transmit.datagrams()))
            return True
        try:
            return self._send(transmit, sockaddr, messages)
        finally:
            self._sock.setsockopt(level, option, usual)

    def _with_ecn(self, ecn: int, messages: tuple[Control, ...]) -> tuple[Control, ...]:
        level = self._family.level
        if self._has_messages and self._family.send_tos is not None:
            return (*messages, control.integer(level, self._family.send_tos, self._dscp | ecn))
        self._ecn = ecn
        if self._family.tos is not None:
            with contextlib.suppress(OSError):  # a system that lets no program mark: the datagram still goes
                self._sock.setsockopt(level, self._family.tos, self._dscp | ecn)
        return messages

    def _set_dont_fragment(self, wanted: bool | None) -> None:
        self._dont_fragment = wanted
        if self._usual_dont_fragment is None or self._family.dont_fragment is None:
            return
        value = self._usual_dont_fragment if wanted is None else self._family.dont_fragment_values[wanted]
        try:
            self._sock.setsockopt(self._family.level, self._family.dont_fragment, value)
        except OSError:
            self._usual_dont_fragment = None  # it is there in name only
        self._stats.dont_fragment_changes += 1

    def _sockaddr(self, remote: Hashable) -> Sockaddr | None:
        address = cast("Address", remote)
        sockaddr = to_sockaddr(address, self._address_family)
        # The number of a named interface may change.
        if sockaddr is not None and "%" not in address[0]:
            if len(self._sockaddrs) >= _MAX_REMOTES:
                self._sockaddrs.clear()
            self._sockaddrs[remote] = sockaddr
        return sockaddr

    def _drop(self, code: int, datagrams: int) -> None:
        if code in _CLOSED:
            raise OSError(code, "the socket is closed")
        name = errno.errorcode.get(code, str(code))
        self._stats.send_drops[name] = self._stats.send_drops.get(name, 0) + datagrams
