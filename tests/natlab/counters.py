"""What crossed a router, counted by nftables in a table of its own."""

import json
from dataclasses import dataclass
from typing import Any

TABLE = "lab_counters"


@dataclass(frozen=True)
class Count:
    """A number of packets, and their bytes from the IP header on."""

    packets: int = 0
    bytes: int = 0

    def __sub__(self, earlier: "Count") -> "Count":
        return Count(self.packets - earlier.packets, self.bytes - earlier.bytes)


@dataclass(frozen=True)
class Counters:
    """What a router has forwarded between its agent and the server, and its agent and the other router.

    What a router only received, because its NAT had no agent to give it to, is not counted.
    """

    to_server: Count
    from_server: Count
    to_peer: Count
    from_peer: Count

    def __sub__(self, earlier: "Counters") -> "Counters":
        """Return what was counted since `earlier`."""
        return Counters(
            to_server=self.to_server - earlier.to_server,
            from_server=self.from_server - earlier.from_server,
            to_peer=self.to_peer - earlier.to_peer,
            from_peer=self.from_peer - earlier.from_peer,
        )


def counting_rules(outside: str, server: tuple[str, ...], peer: str) -> str:
    """Return nft commands that count what is forwarded through the interface `outside`; they decide nothing.

    They look where packets are forwarded: the far address is never translated there, so whoever sends to the
    agent is the source, and whomever the agent sends to is the destination.
    """
    servers = ", ".join(server)
    counted = {
        "to_server": f"oifname {outside} ip daddr {{ {servers} }}",
        "from_server": f"iifname {outside} ip saddr {{ {servers} }}",
        "to_peer": f"oifname {outside} ip daddr {peer}",
        "from_peer": f"iifname {outside} ip saddr {peer}",
    }
    return "\n".join(
        [
            f"add table ip {TABLE}",
            f"add chain ip {TABLE} forward {{ type filter hook forward priority 10 ; }}",
            *(f"add counter ip {TABLE} {name}" for name in counted),
            *(f"add rule ip {TABLE} forward {what} counter name {name}" for name, what in counted.items()),
        ]
    )


def parse_counters(listing: str | bytes) -> Counters:
    """Read what `nft --json list counters` prints."""
    entries: list[dict[str, Any]] = json.loads(listing)["nftables"]
    found = [entry["counter"] for entry in entries if "counter" in entry]
    return Counters(**{counter["name"]: Count(counter["packets"], counter["bytes"]) for counter in found})
