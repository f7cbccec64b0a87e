from enum import IntEnum

class DatagramKind(IntEnum):
    UNKNOWN = 0
    STUN = 1
    UTP = 2

def classify(data: bytes | bytearray | memoryview) -> int: ...
def is_utp(data: bytes | bytearray | memoryview) -> bool: ...
def classify_segments(
    data: bytes | bytearray | memoryview, segment_size: int
) -> list[tuple[int, int, int]]: ...
