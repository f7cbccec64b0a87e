from pknet._core.utp_outlet cimport Outlet
from pknet._core.utp_sender cimport Sender

cdef dict figures(Outlet outlet)
cdef bint change_log(connection, Outlet outlet, open_log, sink) except False
cdef void log_changes(Outlet outlet) noexcept
