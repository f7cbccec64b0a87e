"""Which pairs of NATs can be punched through, and why not."""

from __future__ import annotations

from pknet.nat.candidate import Mapping

__all__ = ["may_recover", "why_no_path"]

_PUNCHABLE = frozenset({Mapping.NONE, Mapping.ENDPOINT_INDEPENDENT, Mapping.UNKNOWN})


def may_recover(ours: Mapping, theirs: Mapping) -> bool:
    """Return whether a failed attempt is worth another one with fresh sockets.

    Where both NATs keep a socket's port, theory allows a path, and what failed is most likely that packets of one
    side reached the other's NAT before it was open, and took the port (the clash of Linux's conntrack).
    """
    return ours in _PUNCHABLE and theirs in _PUNCHABLE


def why_no_path(ours: Mapping, theirs: Mapping, checks_sent: int) -> str:
    """Say in plain words why two nodes found no direct path."""
    dependent = Mapping.ENDPOINT_DEPENDENT
    if ours is dependent and theirs is dependent:
        return (
            "both NATs give each destination a port of its own (symmetric), so neither side can know "
            "where to send; only a relay helps"
        )
    if ours is dependent:
        return (
            "this side's NAT gives each destination a port of its own (symmetric), and the peer's lets in only "
            "the addresses and ports that it has sent to; only a relay helps"
        )
    if theirs is dependent:
        return (
            "the peer's NAT gives each destination a port of its own (symmetric), and this side's lets in only "
            "the addresses and ports that it has sent to; only a relay helps"
        )
    if checks_sent == 0:
        return "the peer named no address that can be tried"
    return (
        f"none of {checks_sent} checks was answered, though neither NAT forbids it: a firewall may be dropping UDP, "
        "or the peer has gone"
    )
