"""STUN (RFC 8489): messages, the client that asks what address others see, the server that tells it."""

from __future__ import annotations

from pknet._core.stun_attributes import Attribute, AttributeValue, ErrorCode, PasswordAlgorithm
from pknet._core.stun_codec import (
    MAGIC_COOKIE,
    Message,
    MessageClass,
    Method,
    build_message,
    is_stun,
    parse_message,
)
from pknet._core.stun_integrity import IntegrityKey
from pknet.stun.client import (
    BindingEvent,
    BindingFailed,
    BindingSucceeded,
    BindingTimedOut,
    BindingUnreachable,
    StunClient,
    StunClientStats,
)
from pknet.stun.credentials import Algorithm, long_term_key, short_term_key, userhash
from pknet.stun.server import BindingServer, BindingServerStats
from pknet.stun.source_limiter import SourceLimiter
from pknet.stun.transactions import TooManyTransactionsError, Transaction, Transactions

__all__ = [
    "MAGIC_COOKIE",
    "Algorithm",
    "Attribute",
    "AttributeValue",
    "BindingEvent",
    "BindingFailed",
    "BindingServer",
    "BindingServerStats",
    "BindingSucceeded",
    "BindingTimedOut",
    "BindingUnreachable",
    "ErrorCode",
    "IntegrityKey",
    "Message",
    "MessageClass",
    "Method",
    "PasswordAlgorithm",
    "SourceLimiter",
    "StunClient",
    "StunClientStats",
    "TooManyTransactionsError",
    "Transaction",
    "Transactions",
    "build_message",
    "is_stun",
    "long_term_key",
    "parse_message",
    "short_term_key",
    "userhash",
]
