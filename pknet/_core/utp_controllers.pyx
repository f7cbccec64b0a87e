"""The congestion controllers by name."""

from pknet._core.utp_bbr cimport Bbr
from pknet._core.utp_cubic cimport Cubic
from pknet._core.utp_ledbat cimport Ledbat, LedbatPlusPlus


cdef CongestionController make_controller(name, Py_ssize_t segment, UtpConfig config):
    """Return the controller of that name for packets with `segment` bytes of payload.

    Raises ValueError if there is none.
    """
    if name == "ledbat":
        return Ledbat(segment, config.ledbat_target, config.ledbat_gain or 0.0)
    if name == "ledbat++":
        return LedbatPlusPlus(segment, config.ledbat_target)
    if name == "cubic":
        return Cubic(segment)
    if name == "bbr":
        return Bbr(segment)
    raise ValueError(f"congestion_control must be ledbat, ledbat++, cubic or bbr, not {name!r}")
