"""Reliable, private streams between Python programs that sit behind NATs.

The packages below this one are state machines that do no I/O: `pknet.utp`, `pknet.stun`, `pknet.nat` and
`pknet.network`. The adapters `pknet_asyncio` and `pknet_blocking` drive them over sockets.
"""

from __future__ import annotations

from pknet._core.transmit import Transmit
from pknet.errors import PknetError, ProtocolError, StateError

__all__ = ["PknetError", "ProtocolError", "StateError", "Transmit", "__version__"]

__version__ = "0.1.0.dev0"
