"""What the simulation raises."""

from pknet.errors import PknetError

__all__ = ["SimulationError"]


class SimulationError(PknetError):
    """The simulation was misused, a machine broke the contract of its verbs, or virtual time stands still."""
