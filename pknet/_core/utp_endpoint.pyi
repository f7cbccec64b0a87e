from collections.abc import Callable, Hashable

from pknet._core.transmit import Transmit
from pknet._core.utp_config import UtpConfig
from pknet._core.utp_connection import UtpConnection
from pknet._core.utp_events import UtpEvent
from pknet.errors import PknetError

class UtpCounters:
    malformed: int
    unexpected: int
    implausible: int
    unknown_connection: int
    resets_sent: int
    refused: int
    half_open_full: int
    beyond_window: int
    unread: int

    def as_dict(self) -> dict[str, int]: ...

class TooManyConnections(PknetError): ...

class UtpEndpoint:
    accepting: bool
    def __init__(self, token_bytes: Callable[[int], bytes], config: UtpConfig | None = None) -> None: ...
    @property
    def config(self) -> UtpConfig: ...
    @property
    def counters(self) -> UtpCounters: ...
    @property
    def connections(self) -> list[UtpConnection]: ...
    def __len__(self) -> int: ...
    def connect(self, remote: Hashable, now: float, local: Hashable | None = None) -> UtpConnection: ...
    def receive_datagram(
        self, data: bytes | bytearray | memoryview, remote: Hashable, local: Hashable | None, now: float
    ) -> None: ...
    def receive_segments(
        self,
        data: bytes | bytearray | memoryview,
        segment_size: int,
        remote: Hashable,
        local: Hashable | None,
        now: float,
    ) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def next_timeout(self) -> float | None: ...
    @property
    def next_timer(self) -> str | None: ...
    def transmits(self) -> list[Transmit]: ...
    def events(self) -> list[UtpEvent]: ...
