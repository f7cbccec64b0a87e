"""A network in virtual time, with links and NATs, for tests of pknet's machines and of what drives them.

    network = SimulatedNetwork(seed=1)
    server = network.host("192.0.2.1").attach(machine, port=3478)
    home = network.nat("cone-firewalled", up=Link(latency=0.02))
    client = network.host(behind=home).attach(other_machine)
    other_machine.connect(server.address, network.now)
    client.kick()
    assert network.run_until(lambda: client.events, timeout=5)

Nothing here reads a clock or opens a socket: an hour of silence costs nothing, and a failure replays from its
seed.
"""

from pknet.testing.attachment import Attachment, Machine
from pknet.testing.behaviours import NATS, Behaviour, NatBehaviour, PortAllocation
from pknet.testing.conntrack import Flow
from pknet.testing.errors import SimulationError
from pknet.testing.host import Host, Received, SimulatedSocket
from pknet.testing.link import Link
from pknet.testing.nat import Nat, Traffic
from pknet.testing.network import SimulatedNetwork
from pknet.testing.packet import Address
from pknet.testing.pair import Pair, pair
from pknet.testing.segment import Segment
from pknet.testing.trace import Trace, TraceEntry

__all__ = [
    "NATS",
    "Address",
    "Attachment",
    "Behaviour",
    "Flow",
    "Host",
    "Link",
    "Machine",
    "Nat",
    "NatBehaviour",
    "Pair",
    "PortAllocation",
    "Received",
    "Segment",
    "SimulatedNetwork",
    "SimulatedSocket",
    "SimulationError",
    "Trace",
    "TraceEntry",
    "Traffic",
    "pair",
]
