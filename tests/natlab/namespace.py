"""A network namespace, and what a test does inside one."""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_PATIENCE = 2.0  # seconds between asking a process to end and killing it

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with a loopback interface and nothing else, until the lab gives it more.

    `addresses` are the IPv4 addresses it is known by in the lab; `address` is the first of them.
    """

    def __init__(self, name: str, *addresses: str) -> None:
        self.name = name
        self.addresses = addresses
        self._path = Path("/run/netns", name)
        self._processes: list[subprocess.Popen[Any]] = []
        self._sockets: list[socket.socket] = []

    @property
    def address(self) -> str:
        """Return the first of its addresses."""
        return self.addresses[0]

    def popen(self, args: Sequence[str], **kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program inside; keyword arguments are those of subprocess.Popen.

        The process id is the program's own. What still runs when the lab ends is ended, and all pipes to
        programs are closed.
        """
        process = subprocess.Popen(["ip", "netns", "exec", self.name, *args], **kwargs)
        self._processes.append(process)
        return process

    def run(
        self, args: Sequence[str], *, check: bool = True, **kwargs: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program inside to its end; keyword arguments are those of subprocess.run."""
        return subprocess.run(["ip", "netns", "exec", self.name, *args], check=check, **kwargs)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let the calling thread be inside for the length of a with block.

        A socket made in the block belongs to this namespace for good, so one process can own sockets in
        several. Other threads stay where they are. Never await in the block: other tasks would run inside.
        """
        with Path("/proc/thread-self/ns/net").open() as home, self._path.open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def socket(self, port: int = 0, address: str | None = None) -> socket.socket:
        """Return a UDP socket inside, bound to `address` (default: the first of the namespace) and `port`.

        It has a timeout of two seconds, and is closed when the lab ends.
        """
        with self.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.bind((self.address if address is None else address, port))
        sock.settimeout(2.0)
        return sock

    def sysctl(self, name: str, value: int) -> None:
        """Set a network setting of this namespace, such as "net/netfilter/nf_conntrack_udp_timeout"."""
        with self.inside():
            Path("/proc/sys", name).write_text(str(value))

    def ip(self, *commands: str) -> None:
        """Apply commands of ip(8) inside, as in ip("link set lo up")."""
        script = "\n".join(commands)
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], input=script, check=True, text=True)

    def await_carrier(self, interface: str) -> None:
        """See to it that an interface that is up carries packets from now on.

        The kernel takes up to a second to note that a link came up, and drops what is sent till then. Asked
        about that one link, it takes note first.
        """
        # Without -brief, it would look through all namespaces of the machine for the other end's.
        command = ["ip", "-n", self.name, "-brief", "link", "show", "dev", interface]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def nft(self, script: str) -> None:
        """Apply commands of nft(8) inside, all or none."""
        self.run(["nft", "-f", "-"], input=script, text=True)

    def open_tap(self, interface: str) -> int:
        """Make a TAP interface inside and return the file descriptor its frames pass through.

        The interface vanishes with the last copy of that descriptor. It offers no offloads, so the kernel
        computes checksums and cuts segments before a frame comes out.
        """
        with self.inside():
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", interface.encode(), _IFF_TAP | _IFF_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        return descriptor

    def create(self) -> None:
        """Make the namespace. What deletes it is the lab's janitor."""
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link set lo up")
        # Most settings are copied from the machine's own network, so none is left to chance.
        for scope in "all", "default":
            self.sysctl(f"net/ipv4/conf/{scope}/rp_filter", 0)
            with suppress(FileNotFoundError):  # a kernel without IPv6
                self.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)
        self.sysctl("net/ipv4/ip_forward", 0)

    def close(self) -> None:
        """End the processes and close the sockets that were made here."""
        running = [process for process in self._processes if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in self._processes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what it did not read is lost anyway
                        pipe.close()
        for sock in self._sockets:
            sock.close()


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
