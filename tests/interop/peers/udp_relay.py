"""Pass datagrams on between clients and one server over loopback, keep a record of them, and lose some."""

import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

Address = tuple[str, int]


@dataclass(frozen=True)
class Datagram:
    """One datagram that came by the relay; `number` counts those of its direction from 0."""

    data: bytes
    to_server: bool
    number: int


def lose_nothing(datagram: Datagram) -> bool:
    """Lose no datagram."""
    return False


class LoseEvery:
    """Lose one datagram in so many, but never the same packet twice.

    libtorrent gives up a connection on which it sent one packet three times in vain.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._lost: set[tuple[bool, bytes]] = set()

    def __call__(self, datagram: Datagram) -> bool:
        packet = datagram.to_server, datagram.data[:1] + datagram.data[16:18]  # type and seq_nr
        if datagram.number % self._interval != self._interval - 1 or packet in self._lost:
            return False
        self._lost.add(packet)
        return True


@dataclass
class UdpRelay:
    """A relay on 127.0.0.1 in front of `server`; every client is seen by it from a port of its own."""

    server: Address
    loses: Callable[[Datagram], bool] = lose_nothing
    record: list[Datagram] = field(default_factory=list)
    lost: int = 0

    def __post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._front = self._socket()
        self._backs: dict[Address, socket.socket] = {}
        self._clients: dict[socket.socket, Address] = {}
        self._counts = {True: 0, False: 0}
        self._waker, self._wakened = socket.socketpair()
        self._selector.register(self._wakened, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> Address:
        """Where clients send to."""
        host, port = self._front.getsockname()
        return host, port

    def close(self) -> None:
        """Stop relaying."""
        self._waker.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        self._selector.register(made, selectors.EVENT_READ)
        return made

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wakened:
                    return
                assert isinstance(key.fileobj, socket.socket)
                self._receive(key.fileobj)

    def _receive(self, receiver: socket.socket) -> None:
        try:
            data, source = receiver.recvfrom(65535)
        except ConnectionError:  # an ICMP error for what was sent before: the far side is gone
            return
        to_server = receiver is self._front
        if to_server and source not in self._backs:
            self._backs[source] = back = self._socket()
            self._clients[back] = source
        datagram = Datagram(data, to_server, self._counts[to_server])
        self._counts[to_server] += 1
        self.record.append(datagram)
        if self.loses(datagram):
            self.lost += 1
        elif to_server:
            self._backs[source].sendto(data, self.server)
        else:
            self._front.sendto(data, self._clients[receiver])
