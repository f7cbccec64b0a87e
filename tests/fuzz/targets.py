"""The targets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fuzz import (
    classifier,
    frames,
    messages,
    node,
    stun_message,
    ticket,
    utp_endpoint,
    utp_packet,
    utp_pair,
)

CORPUS = Path(__file__).with_name("corpus")
MODULES = (stun_message, classifier, utp_packet, utp_endpoint, utp_pair, frames, messages, ticket, node)
TARGETS: dict[str, Callable[[bytes], None]] = {
    module.__name__.rpartition(".")[2]: module.one_input for module in MODULES
}


def corpus_of(name: str) -> list[Path]:
    """Return the files of a target's corpus."""
    return sorted((CORPUS / name).iterdir())
