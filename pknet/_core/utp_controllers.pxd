from pknet._core.utp_config cimport UtpConfig
from pknet._core.utp_congestion cimport CongestionController


cdef CongestionController make_controller(name, Py_ssize_t segment, UtpConfig config)
