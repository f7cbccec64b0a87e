"""What pknet raises.

Only misuse by the caller and the end of something the caller waits for raise. What a peer sends never does:
it is dropped, answered as the standard says, and counted in `stats`.
"""

from __future__ import annotations

__all__ = ["PknetError", "ProtocolError", "StateError"]


class PknetError(Exception):
    """The base of every error that pknet raises on purpose."""


class ProtocolError(PknetError):
    """A message that was given to a parser is not what the standard allows."""


class StateError(PknetError):
    """A verb was called in a state that does not allow it, as `send` after `finish`."""
