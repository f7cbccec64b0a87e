"""What happened to each datagram, for a person who reads a failed test."""

from typing import NamedTuple

from pknet.testing.packet import Address

__all__ = ["Trace", "TraceEntry"]


class TraceEntry(NamedTuple):
    """One thing that happened to one datagram.

    `event` is "sent", "received", "translated" (by a NAT: `src` and `dst` are what they are from there on) or
    "dropped", for the `reason`. `length` is in bytes of UDP payload, `where` the socket, link or NAT.
    """

    time: float
    event: str
    src: Address
    dst: Address
    length: int
    where: str
    reason: str = ""


class Trace(list[TraceEntry]):
    """The entries in the order in which they happened; `str(trace)` is a table of them."""

    def __str__(self) -> str:
        rows = [("time", "event", "from", "to", "bytes", "where", "reason")]
        rows += [
            (
                f"{entry.time:.6f}",
                entry.event,
                endpoint(entry.src),
                endpoint(entry.dst),
                str(entry.length),
                entry.where,
                entry.reason,
            )
            for entry in self
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def drops(self) -> list[TraceEntry]:
        """Return the entries of what was dropped."""
        return [entry for entry in self if entry.event == "dropped"]


def endpoint(address: Address) -> str:
    """Return an address as it is usually written: 192.0.2.1:80 or [2001:db8::1]:80."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
