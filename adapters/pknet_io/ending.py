"""The end of a program: how long it waits for what was given to its streams, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pknet.utp import UtpEndpoint

if TYPE_CHECKING:
    from pknet.machine import Machine
    from pknet.utp import UtpConnection

__all__ = ["EXIT_TIME", "PARTING_TIME", "parting"]

# How long the end of a program, or of its event loop, waits for what was given to streams to be delivered.
EXIT_TIME = 5.0
# How long it waits then, as a stopping network does, for peers that have all to end their side too.
PARTING_TIME = 0.5


def parting(machine: Machine) -> list[UtpConnection]:
    """Return the connections that this side has finished, and that are not over.

    There are none of a node: it parts with its peers when its network is stopped.
    """
    if not isinstance(machine, UtpEndpoint):
        return []
    return [connection for connection in machine.connections if connection.is_closing]
