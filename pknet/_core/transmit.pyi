from collections.abc import Hashable

class Transmit:
    data: bytes
    remote: Hashable
    local: Hashable | None
    segment_size: int | None
    ttl: int | None
    dont_fragment: bool | None
    ecn: int

    def __init__(
        self,
        data: bytes,
        remote: Hashable,
        local: Hashable | None = None,
        segment_size: int | None = None,
        ttl: int | None = None,
        dont_fragment: bool | None = None,
        ecn: int = 0,
    ) -> None: ...
    def datagrams(self) -> list[bytes]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
