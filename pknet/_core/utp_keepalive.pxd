from pknet._core.utp_outlet cimport Outlet

cdef void arrange_keepalive(Outlet outlet, double last_heard) noexcept
cdef bint fire_keepalive(Outlet outlet, double last_heard) except False
