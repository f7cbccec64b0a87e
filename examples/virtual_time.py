"""Two nodes behind NATs meet through a third, in virtual time: no socket, and no wait.

    python -m examples.virtual_time [NAT [NAT]]

The machines are those that the adapters drive; here a simulated network does. NATs are called by their names
in `pknet.testing.NATS`; both are "cone" unless told.
"""

import sys

from pknet.testing import Link, SimulatedNetwork, Trace
from pknet.testing.node import SimulatedNode, echo

SHOWN = 20


def wire() -> Link:
    """Return one direction of a wire to the internet."""
    return Link(latency=0.010)


def main() -> None:
    """Have two nodes meet, and show what the datagrams did."""
    nats = (sys.argv[1:] or ["cone"]) * 2
    network = SimulatedNetwork(seed=1, trace=True)
    house1, house2 = (network.nat(nat, up=wire(), down=wire()) for nat in nats[:2])
    server = network.host("192.0.2.1", up=wire(), down=wire())

    rendezvous = SimulatedNode(network, server, introduces=True)
    one = SimulatedNode(network, network.host(behind=house1), rendezvous=[rendezvous])
    other = SimulatedNode(network, network.host(behind=house2), rendezvous=[rendezvous], service=echo)
    network.run(2)

    network.trace.clear()
    began = network.now
    stream = one.connect(other.info(direct=False))
    network.run_until(lambda: stream.is_open or stream.closed, timeout=60)
    took = network.now - began
    between = [entry for entry in network.trace if rendezvous.address not in (entry.src, entry.dst)]
    print(f"The first {SHOWN} of {len(between)} steps of datagrams between the two:")
    print(Trace(between[:SHOWN]))
    if stream.is_open:
        stream.send(b"hello")
        network.run(1)
        print(f"Open after {took:.3f} s, to {stream.stream.remote}. It answers {bytes(stream.received)!r}.")
    else:
        print(f"Given up after {took:.3f} s: {stream.failure}.")


if __name__ == "__main__":
    main()
