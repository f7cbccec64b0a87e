"""Move zeros from one utp-native process (libutp) to another over loopback, and print the speed as JSON.

`python -m benchmarks.peers.utp_native --megabytes 100`. Both sockets have buffers of 4 MiB, or of `--buffer`
bytes; 0 leaves the system's default, with which libutp falls to a thirtieth.
"""

from __future__ import annotations

import argparse
import json

from tests.interop.peers.install import pinned_version
from tests.interop.peers.utp_native import UtpNative

BUFFER = 4 << 20


def measure(megabytes: float, buffer: int = BUFFER) -> dict[str, str | float]:
    """Move so many million bytes once; return the speed that the receiver saw, and the CPU time of both."""
    size = round(megabytes * 1e6)
    with UtpNative.listen(plain=True, buffer=buffer) as receiver:
        host, port = receiver.address
        with UtpNative.connect(host, port, plain=True, buffer=buffer, send=size) as sender:
            received = receiver.wait_for("received", timeout=600)
            if received["bytes"] != size:
                raise RuntimeError(f"{received['bytes']} bytes were received, {size} sent")
            cpu_seconds = sum(peer.wait_for("closed")["cpuSeconds"] for peer in (receiver, sender))
    return {
        "peer": "utp-native",
        "version": pinned_version("utp-native"),
        "megabytes": megabytes,
        "receive_buffer": buffer,
        "seconds": round(received["seconds"], 4),
        "megabytes_per_second": round(size / received["seconds"] / 1e6, 1),
        "cpu_seconds_per_gigabyte": round(cpu_seconds * 1e9 / size, 2),
    }


def main() -> None:
    """Measure once and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--buffer", type=int, default=BUFFER)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.megabytes, arguments.buffer)))


if __name__ == "__main__":
    main()
