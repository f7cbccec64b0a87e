"""Two agents behind two NATs and a server, made from network namespaces, veth and nftables. See NatLab."""

from tests.natlab.counters import Count, Counters
from tests.natlab.lab import NatLab, Router, missing_requirements
from tests.natlab.namespace import Namespace
from tests.natlab.rules import RULE_SETS, Behaviour, RuleSet

__all__ = [
    "RULE_SETS",
    "Behaviour",
    "Count",
    "Counters",
    "Namespace",
    "NatLab",
    "Router",
    "RuleSet",
    "missing_requirements",
]
