"""The NATs a router can be, as nftables rules. A new one is one entry in RULE_SETS."""

from dataclasses import dataclass
from string import Template
from typing import Literal

# The three behaviours of RFC 4787, section 4.1 (mapping) and section 5 (filtering).
Behaviour = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]


@dataclass(frozen=True)
class RuleSet:
    """What makes a router one kind of NAT, and how that NAT behaves when measured.

    `rules` are lines for `nft -f`, in which $AGENT_HOST, $AGENT_PORT, $ROUTER_EXT, $ROUTER_EXT_IP and
    $DMZ_PORT stand for what the lab fills in. They are added when the router's interfaces exist, as
    `meta iif` requires.
    """

    rules: str
    mapping: Behaviour
    filtering: Behaviour
    keeps_port: bool

    def script(self, **values: str | int) -> str:
        """Return the rules with every variable filled in."""
        return Template(self.rules).substitute(values)


_NAT = """
add table ip nat
add chain ip nat prerouting { type nat hook prerouting priority -100 ; }
add chain ip nat postrouting { type nat hook postrouting priority 100 ; }
"""

# No packet reaches the router itself unless the agent asked for it, so none leaves a conntrack entry
# that would later cost the agent its port.
_INPUT_DROP = """
add table ip filter
add chain ip filter input { type filter hook input priority 0 ; }
add rule ip filter input iifname "$ROUTER_EXT" ct state established,related accept
add rule ip filter input iifname "$ROUTER_EXT" drop
"""

_DMZ = """
add rule ip nat postrouting ip protocol udp ip saddr $AGENT_HOST meta oif $ROUTER_EXT snat to ${ROUTER_EXT_IP}:${DMZ_PORT}
add rule ip nat prerouting udp dport $DMZ_PORT meta iif $ROUTER_EXT dnat to ${AGENT_HOST}:${AGENT_PORT}
"""  # noqa: E501 (an nft rule is one line)

_CONE = """
add rule ip nat postrouting meta oif $ROUTER_EXT masquerade persistent
"""

_SYMMETRIC = """
add rule ip nat postrouting meta oif $ROUTER_EXT masquerade random
"""

RULE_SETS: dict[str, RuleSet] = {
    "dmz": RuleSet(
        rules=_NAT + _DMZ,
        mapping="endpoint-independent",
        filtering="endpoint-independent",
        keeps_port=True,  # as long as AGENT_PORT and DMZ_PORT are the same
    ),
    "cone": RuleSet(
        rules=_NAT + _CONE,
        mapping="endpoint-independent",
        filtering="address-and-port-dependent",
        keeps_port=True,
    ),
    "symmetric": RuleSet(
        rules=_NAT + _SYMMETRIC,
        mapping="address-and-port-dependent",
        filtering="address-and-port-dependent",
        keeps_port=False,
    ),
    "cone-firewalled": RuleSet(
        rules=_NAT + _CONE + _INPUT_DROP,
        mapping="endpoint-independent",
        filtering="address-and-port-dependent",
        keeps_port=True,
    ),
    "symmetric-firewalled": RuleSet(
        rules=_NAT + _SYMMETRIC + _INPUT_DROP,
        mapping="address-and-port-dependent",
        filtering="address-and-port-dependent",
        keeps_port=False,
    ),
}
