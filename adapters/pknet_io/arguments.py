"""What is asked of the arguments of plain uTP, in both adapters, before anything is opened."""

from __future__ import annotations

from pknet.utp import UtpConfig

__all__ = ["check_config"]


def check_config(config: object) -> None:
    """Raise TypeError if this is neither a UtpConfig nor None."""
    if not isinstance(config, UtpConfig | None):
        raise TypeError(f"config: a UtpConfig is needed, not {type(config).__name__!r}")
