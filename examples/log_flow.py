"""What a uTP connection does on a path that is narrow and loses datagrams, in virtual time, as a log to draw.

    python -m examples.log_flow [LOG [CONTROLLER]]
    pknet plot LOG

LOG is flow.sqlog unless told, CONTROLLER one of those that UtpConfig knows. The same log comes out each time.
"""

import sys
from pathlib import Path

from pknet.testing import Link, pair
from pknet.utp import DataReceived, EofReceived, UtpConfig, UtpEndpoint
from pknet_io import QlogWriter

SIZE = 1_500_000
# 1 MB/s, 50 ms there and back, a buffer for 100 ms; of 400 datagrams one is lost.
PATH = Link(latency=0.025, rate=1e6, queue=100_000, loss=0.0025)


def main() -> None:
    """Send, and keep the sender's log."""
    arguments = sys.argv[1:]
    path = Path(arguments[0] if arguments else "flow.sqlog")
    controller = arguments[1] if len(arguments) > 1 else "cubic"

    def read(event: object) -> None:
        match event:
            case DataReceived(accepted):
                while accepted.readable:
                    accepted.read(1 << 16, network.now)
            case EofReceived(accepted):
                accepted.finish(network.now)

    network, sender, receiver, _, _ = pair(
        UtpEndpoint(bytes, UtpConfig(congestion_control=controller, send_buffer=SIZE)),
        UtpEndpoint(bytes),
        PATH,
        Link(latency=0.025),
        seed=1,
        on_event_b=read,
    )
    path.unlink(missing_ok=True)
    connection = sender.machine.connect(receiver.address, network.now)
    connection.log = QlogWriter(path)
    connection.send(bytes(SIZE), network.now)
    connection.finish(network.now)
    sender.kick()
    network.run_until(lambda: connection.close_reason is not None, timeout=60)
    network.run(10)
    stats = connection.stats()
    print(
        f"{stats.bytes_sent} bytes in {stats.packets_sent} packets, {stats.packets_retransmitted} sent again"
    )


if __name__ == "__main__":
    main()
