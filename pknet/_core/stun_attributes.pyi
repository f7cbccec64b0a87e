from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple, TypeAlias

class Attribute(IntEnum):
    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REALM = 0x0014
    NONCE = 0x0015
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    PASSWORD_ALGORITHMS = 0x8002
    ALTERNATE_DOMAIN = 0x8003
    SOFTWARE = 0x8022
    ALTERNATE_SERVER = 0x8023
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A

class ErrorCode(NamedTuple):
    code: int
    reason: str = ""

class PasswordAlgorithm(NamedTuple):
    algorithm: int
    parameters: bytes = b""

# What `Message.get` returns and `build_message` takes; which of them, the attribute says.
AttributeValue: TypeAlias = (
    bytes
    | str
    | int
    | tuple[str, int]
    | ErrorCode
    | PasswordAlgorithm
    | Iterable[int]
    | Iterable[PasswordAlgorithm]
)
