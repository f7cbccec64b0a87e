from collections.abc import Container, Iterable
from enum import IntEnum
from typing import Any, Literal, overload

from pknet._core.stun_attributes import Attribute, AttributeValue, ErrorCode, PasswordAlgorithm
from pknet._core.stun_integrity import IntegrityKey

MAGIC_COOKIE: int

class Method(IntEnum):
    BINDING = 0x001

class MessageClass(IntEnum):
    REQUEST = 0b00
    INDICATION = 0b01
    SUCCESS_RESPONSE = 0b10
    ERROR_RESPONSE = 0b11

class Message:
    @property
    def data(self) -> bytes: ...
    @property
    def method(self) -> int: ...
    @property
    def message_class(self) -> MessageClass: ...
    @property
    def transaction_id(self) -> bytes: ...
    @property
    def attributes(self) -> list[tuple[int, bytes]]: ...
    @property
    def integrity(self) -> Literal["sha1", "sha256", "both"] | None: ...
    @property
    def has_fingerprint(self) -> bool: ...
    @overload
    def get(
        self,
        type: Literal[Attribute.MAPPED_ADDRESS, Attribute.XOR_MAPPED_ADDRESS, Attribute.ALTERNATE_SERVER],
    ) -> tuple[str, int] | None: ...
    @overload
    def get(
        self,
        type: Literal[
            Attribute.USERNAME,
            Attribute.REALM,
            Attribute.NONCE,
            Attribute.SOFTWARE,
            Attribute.ALTERNATE_DOMAIN,
        ],
    ) -> str | None: ...
    @overload
    def get(
        self,
        type: Literal[
            Attribute.PRIORITY, Attribute.FINGERPRINT, Attribute.ICE_CONTROLLED, Attribute.ICE_CONTROLLING
        ],
    ) -> int | None: ...
    @overload
    def get(
        self,
        type: Literal[Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256, Attribute.USERHASH],
    ) -> bytes | None: ...
    @overload
    def get(self, type: Literal[Attribute.USE_CANDIDATE]) -> Literal[True] | None: ...
    @overload
    def get(self, type: Literal[Attribute.ERROR_CODE]) -> ErrorCode | None: ...
    @overload
    def get(self, type: Literal[Attribute.UNKNOWN_ATTRIBUTES]) -> list[int] | None: ...
    @overload
    def get(self, type: Literal[Attribute.PASSWORD_ALGORITHM]) -> PasswordAlgorithm | None: ...
    @overload
    def get(self, type: Literal[Attribute.PASSWORD_ALGORITHMS]) -> list[PasswordAlgorithm] | None: ...
    @overload
    def get(self, type: int) -> Any: ...
    def get_all(self, type: int) -> list[Any]: ...
    def unknown_comprehension_required(self, understood: Container[int]) -> list[int]: ...
    def verify_integrity(self, key: bytes | IntegrityKey, *, allow_truncation: bool = False) -> bool: ...
    def verify_fingerprint(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def is_stun(data: bytes | bytearray | memoryview) -> bool: ...
def parse_message(data: bytes | bytearray | memoryview) -> Message: ...
def build_message(
    method: int,
    message_class: int,
    transaction_id: bytes,
    attributes: Iterable[tuple[int, AttributeValue]] = (),
    *,
    integrity_key: bytes | IntegrityKey | None = None,
    integrity: Literal["sha1", "sha256", "both"] = "sha1",
    sha256_size: int = 32,
    fingerprint: bool = True,
) -> bytes: ...
