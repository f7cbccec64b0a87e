"""A datagram on its way."""

from ipaddress import ip_address
from typing import TypeAlias

from pknet.testing.errors import SimulationError

__all__ = ["DEFAULT_TTL", "MAX_UDP_PAYLOAD", "Address", "Packet", "canonical_address", "canonical_host"]

# (host, port); the host is an IP address in its canonical text form.
Address: TypeAlias = tuple[str, int]

# What a host puts on a datagram that asks for nothing else; Linux and macOS do the same.
DEFAULT_TTL = 64

# 65535 less the IPv4 and UDP headers.
MAX_UDP_PAYLOAD = 65507


class Packet:
    """A datagram with its IP and UDP headers. Routers rewrite it in place."""

    __slots__ = ("data", "dont_fragment", "dst", "ecn", "src", "ttl")

    def __init__(
        self, data: bytes, src: Address, dst: Address, ttl: int, dont_fragment: bool, ecn: int
    ) -> None:
        self.data = data
        self.src = src
        self.dst = dst
        self.ttl = ttl
        self.dont_fragment = dont_fragment
        self.ecn = ecn

    def copy(self) -> "Packet":
        """Return another packet with the same content, which takes its own way from here."""
        return Packet(self.data, self.src, self.dst, self.ttl, self.dont_fragment, self.ecn)


def canonical_host(host: object) -> str:
    """Return an IP address in the one text form that the simulation compares; names are refused."""
    if not isinstance(host, str):
        raise SimulationError(f"{host!r} is not the text of an IP address")
    try:
        return str(ip_address(host))
    except ValueError:
        raise SimulationError(f"{host!r} is not an IP address") from None


def canonical_address(address: object) -> Address:
    """Return (host, port) in canonical form, or say what is wrong with it."""
    if not isinstance(address, tuple) or len(address) != 2:
        raise SimulationError(f"{address!r} is not a pair (host, port)")
    host, port = address
    if not isinstance(port, int) or not 0 < port <= 65535:
        raise SimulationError(f"{address!r} has no port that a datagram can be sent to")
    return canonical_host(host), port
