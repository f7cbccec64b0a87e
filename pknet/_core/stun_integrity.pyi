from typing import Self

class IntegrityKey:
    def __new__(cls, key: bytes) -> Self: ...
