"""What a UdpSocket counts."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["UdpStats"]


@dataclass(slots=True)
class UdpStats:
    """What went through a UdpSocket, and what did not.

    Datagrams are counted one by one, also those of a run.
    """

    sent: int = 0
    """Datagrams that the kernel took."""
    sent_runs: int = 0
    """Calls that gave the kernel several datagrams at once (UDP_SEGMENT)."""
    send_drops: dict[str, int] = field(default_factory=dict)
    """Datagrams that the kernel refused for good, by the name of its error: "ENETUNREACH", "EPERM", …

    "EAFNOSUPPORT" also counts those whose remote address is not a numeric one of the socket's family.
    """
    dont_fragment_changes: int = 0
    """How often DF had to be set or cleared for the next datagram: a system call each time."""
    received: int = 0
    """Datagrams."""
    received_runs: int = 0
    """Calls that gave several datagrams at once (UDP_GRO)."""
    kernel_drops: int = 0
    """Datagrams that found the receive buffer full (SO_RXQ_OVFL), as of the last one received."""
    icmp_errors: int = 0
    """Errors about earlier datagrams that the system reported on the socket."""
