from enum import IntEnum

class PacketType(IntEnum):
    DATA = 0
    FIN = 1
    STATE = 2
    RESET = 3
    SYN = 4

class Packet:
    type: PacketType
    connection_id: int
    seq_nr: int
    ack_nr: int
    timestamp: int
    timestamp_difference: int
    wnd_size: int
    selective_ack: bytes | None
    payload: bytes

    def __init__(
        self,
        type: int,
        *,
        connection_id: int,
        seq_nr: int = 0,
        ack_nr: int = 0,
        timestamp: int = 0,
        timestamp_difference: int = 0,
        wnd_size: int = 0,
        selective_ack: bytes | None = None,
        payload: bytes = b"",
    ) -> None: ...
    def __bytes__(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def parse_packet(data: bytes | bytearray | memoryview) -> Packet: ...
