"""The uTP core alone: two endpoints in memory, no socket, no wait; nanoseconds for each data packet with its
share of ACKs.
"""

from __future__ import annotations

import json
import os
import statistics
import time

from pknet.utp import ConnectionAccepted, UtpConfig, UtpConnection, UtpEndpoint

BYTES = 1 << 30
RUNS = 7
WINDOWS = (64 << 10, 256 << 10, 1 << 20)
NEAR, FAR = ("192.0.2.1", 1), ("192.0.2.2", 1)


def transfer(window: int) -> float:
    """Move BYTES from one endpoint to the other; return nanoseconds per data packet, both ends and all ACKs
    together.

    The program reads what has arrived before the receiver sends its ACKs, as it does over both adapters.
    """
    config = UtpConfig(receive_buffer=window, send_buffer=window)
    sender, receiver = UtpEndpoint(os.urandom, config), UtpEndpoint(os.urandom, config)
    block, buffer = bytes(1 << 16), bytearray(1 << 16)
    now, sent, received = 1.0, 0, 0
    connection = sender.connect(FAR, now)
    accepted: UtpConnection | None = None
    started = time.process_time()
    while received < BYTES:
        now += 0.0005
        while connection.state == "CONNECTED" and sent < BYTES:
            taken = connection.send(block, now)
            sent += taken
            if taken < len(block):
                break
        for source, target, address in ((sender, receiver, NEAR), (receiver, sender, FAR)):
            for transmit in source.transmits():
                if transmit.segment_size is None:
                    target.receive_datagram(transmit.data, address, None, now)
                else:
                    target.receive_segments(transmit.data, transmit.segment_size, address, None, now)
            for event in target.events():
                if isinstance(event, ConnectionAccepted):
                    accepted = event.connection
            while accepted is not None and accepted.readable:
                received += accepted.read_into(buffer, now)
        for machine in (sender, receiver):
            deadline = machine.next_timeout()
            if deadline is not None and deadline <= now:
                machine.handle_timeout(now)
    return (time.process_time() - started) / connection.packets_sent * 1e9


def run() -> dict[int, list[float]]:
    """Return for each window, in bytes, the nanoseconds of each run, sorted."""
    return {window: sorted(transfer(window) for _ in range(RUNS)) for window in WINDOWS}


def main() -> None:
    """Print a line of JSON for each window."""
    for window, times in run().items():
        print(json.dumps({"window": window, "ns_per_packet": round(statistics.median(times)), "runs": RUNS}))


if __name__ == "__main__":
    main()
