"""NAT traversal: how this node is seen from outside, and how two nodes open a path between them."""

from __future__ import annotations

from pknet.nat.candidate import Candidate, CandidateType, Description, Mapping, reachable_address
from pknet.nat.discovery import AddressDiscovery, PublicAddress
from pknet.nat.punch import HolePunch, PathFound, PunchFailed
from pknet.nat.theory import may_recover, why_no_path

__all__ = [
    "AddressDiscovery",
    "Candidate",
    "CandidateType",
    "Description",
    "HolePunch",
    "Mapping",
    "PathFound",
    "PublicAddress",
    "PunchFailed",
    "may_recover",
    "reachable_address",
    "why_no_path",
]
