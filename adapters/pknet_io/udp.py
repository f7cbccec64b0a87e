"""The UDP socket that the adapters drive."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

from pknet_io import constants, options
from pknet_io.addresses import Address, to_address, to_sockaddr
from pknet_io.local import LocalAddress, LocalAddresses
from pknet_io.receiver import Received, Receiver
from pknet_io.sender import Sender
from pknet_io.stats import UdpStats
from pknet_io.unreachable import ErrorQueue, Unreachable

if TYPE_CHECKING:
    from types import TracebackType

    from pknet import Transmit
    from pknet_io.too_big import PacketTooBig

__all__ = ["UdpSocket"]


class UdpSocket:
    """A non-blocking UDP socket of one address family: runs of datagrams in one call where the system can.

    Give it a bound socket of your own, AF_INET or AF_INET6, which then belongs to it, or let `bind` make one.
    An IPv6 socket carries no IPv4. One thread may send while another receives, no more than that.
    """

    def __init__(self, sock: socket.socket) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_DGRAM:
            raise ValueError("a UDP socket of AF_INET or AF_INET6 is needed")
        sock.setblocking(False)
        host = to_address(sock.getsockname())[0]
        wildcard = host in ("0.0.0.0", "::")  # compared, not bound
        if sock.family == socket.AF_INET6 and not options.use_ipv6_only(sock) and wildcard:
            raise ValueError("an IPv6 socket must be IPV6_V6ONLY")
        self._sock = sock
        self.stats = UdpStats()
        self.local = LocalAddress(self, host)
        """The handle of the socket itself: the system chooses the source address of what leaves by it."""
        self.receive_buffer = options.read_buffer(sock, socket.SO_RCVBUF)
        """Bytes that can wait in the kernel, as large datagrams; small ones take more than their size."""
        self.send_buffer = options.read_buffer(sock, socket.SO_SNDBUF)
        family = constants.IPV4 if sock.family == socket.AF_INET else constants.IPV6
        local_addresses = LocalAddresses(self.local, family)
        self._receiver = Receiver(sock, family, local_addresses, self.stats, wildcard=wildcard)
        self._sender = Sender(sock, family, local_addresses, self.stats)
        self._errors = ErrorQueue(sock, family)

    @classmethod
    def bind(
        cls,
        host: str = "0.0.0.0",  # the documented default: every interface
        port: int = 0,
        *,
        receive_buffer: int = 4 << 20,
        send_buffer: int = 4 << 20,
    ) -> Self:
        """Open a socket on `host`, whose form tells the family, and `port`, 0 for any that is free.

        The buffers, in bytes, are what is asked for; the attributes of the same names tell what was given.
        Raises the system's own OSError if the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            options.request_buffer(sock, socket.SO_RCVBUF, receive_buffer)
            options.request_buffer(sock, socket.SO_SNDBUF, send_buffer)
            if family == socket.AF_INET6:
                options.use_ipv6_only(sock)
            sock.bind(to_sockaddr((host, port), family) or (host, port))
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    @classmethod
    def of_server(cls, sock: socket.socket) -> Self:
        """Take a socket of the program's that is to be dialled. Raises ValueError if it is not bound."""
        try:
            is_bound = sock.getsockname()[1] != 0
        except OSError:
            # So Windows says that it is not.
            is_bound = False
        if sock.type == socket.SOCK_DGRAM and not is_bound:
            raise ValueError("the socket of a server has to be bound")
        return cls(sock)

    def receive(self) -> Received | None:
        """Take the next datagram, or run of them, from the kernel; return None if there is none yet.

        Errors that ICMP messages left on the socket are counted and passed over. Raises OSError once closed.
        """
        received = self._receiver.receive()
        if received is None and self._errors.is_on:
            self._errors.read()
        return received

    def send(self, transmit: Transmit) -> bool:
        """Send a datagram, or a run of them; return False if the kernel's send buffer is full.

        After False, wait until the socket is writable and call again with the same object: a run that had
        begun goes on where it stopped. What the kernel refuses for good (no route, a firewall, too large) is
        dropped and counted in `stats`, and the answer is True. Raises OSError once closed.
        """
        return self._sender.send(transmit)

    def drop(self, transmit: Transmit) -> None:
        """Give up a transmit because too much waits already, and count it in `stats` as ENOBUFS."""
        self._sender.drop(transmit)

    @property
    def sock(self) -> socket.socket:
        """The system's socket, for its options and addresses; leave sending, receiving and closing alone."""
        return self._sock

    def take_too_big(self) -> list[PacketTooBig]:
        """Return which datagrams with DF the system refused as too long, since this was last called.

        They are longer than the MTU of the route to their destination, and are counted in `stats` too.
        """
        return self._sender.take_too_big() if self._sender.too_big else []

    def hear_unreachable(self, wanted: bool) -> None:
        """Begin, or stop, to take note of ports that nobody has, where the system tells (Linux).

        For a socket that dials: what it hears of one remote may cost it a datagram to another.
        """
        self._errors.turn(wanted)

    def take_unreachable(self) -> list[Unreachable]:
        """Return the datagrams that came to ports that nobody has, since this was last called."""
        taken = self._errors.unreachable
        if taken:
            self._errors.unreachable = []
        return taken

    def fileno(self) -> int:
        """Return the file descriptor, -1 once closed."""
        return self._sock.fileno()

    @property
    def address(self) -> Address:
        """The (host, port) that the socket is bound to."""
        return to_address(self._sock.getsockname())

    @property
    def kernel_drops(self) -> int:
        """Datagrams that found the receive buffer full, as of the last one received."""
        return self.stats.kernel_drops

    @property
    def can_set_dont_fragment(self) -> bool:
        """Whether `Transmit.dont_fragment` is obeyed: if not, a probe for the path MTU tells nothing."""
        return self._sender.can_set_dont_fragment

    def close(self) -> None:
        """Close the socket. Harmless when repeated."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<UdpSocket on {self.local.host}, fileno={self.fileno()}>"
