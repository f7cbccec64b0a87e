"""The UDP socket that both adapters use, and the addresses of this machine."""

from __future__ import annotations

from pknet_io.addresses import Address, to_address, to_sockaddr
from pknet_io.interfaces import local_addresses
from pknet_io.local import LocalAddress
from pknet_io.qlog import QlogDirectory, QlogEvent, QlogWriter, read_qlog
from pknet_io.receiver import Received
from pknet_io.stats import UdpStats
from pknet_io.udp import UdpSocket

__all__ = [
    "Address",
    "LocalAddress",
    "QlogDirectory",
    "QlogEvent",
    "QlogWriter",
    "Received",
    "UdpSocket",
    "UdpStats",
    "local_addresses",
    "read_qlog",
    "to_address",
    "to_sockaddr",
]
