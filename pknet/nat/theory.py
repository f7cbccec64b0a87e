"""Which pairs of NATs can be punched through, and why not."""

from __future__ import annotations

from pknet.nat.candidate import Mapping

__all__ = ["may_recover", "why_no_path"]


def may_recover(ours: Mapping, theirs: Mapping) -> bool:
    """Return whether a failed attempt is worth another one with fresh sockets.

    Where both NATs keep a socket's port, theory allows a path, and what failed is most likely that packets of
    one side reached the other's NAT before it was open, and took the port (the clash of Linux's conntrack).
    """
    return not ours.is_dependent and not theirs.is_dependent


def why_no_path(ours: Mapping, theirs: Mapping, checks_sent: int) -> str:
    """Say in plain words why two nodes found no direct path."""
    if ours.is_dependent and theirs.is_dependent:
        return (
            "both NATs give each destination a port of its own (symmetric), so neither side can know "
            "where to send; only a relay helps"
        )
    if ours.is_dependent:
        return (
            "this side's NAT gives each destination a port of its own (symmetric), and what stands before "
            "the peer lets in only the addresses and ports that it has sent to; only a relay helps"
        )
    if theirs.is_dependent:
        return (
            "the peer's NAT gives each destination a port of its own (symmetric), and what stands before "
            "this side lets in only the addresses and ports that it has sent to; only a relay helps"
        )
    if checks_sent == 0:
        return "the peer named no address that can be tried"
    known = Mapping.UNKNOWN not in (ours, theirs)
    return (
        f"none of {checks_sent} checks was answered{', though neither NAT forbids it' if known else ''}: "
        "a firewall may be dropping UDP, or the peer has gone"
    )
