cdef class UtpEvent:
    cdef readonly object connection


cdef class ConnectionOpened(UtpEvent):
    pass


cdef class ConnectionAccepted(UtpEvent):
    pass


cdef class DataReceived(UtpEvent):
    pass


cdef class SendBufferDrained(UtpEvent):
    pass


cdef class EofReceived(UtpEvent):
    pass


cdef class ConnectionClosed(UtpEvent):
    cdef readonly object reason
    cdef readonly Py_ssize_t undelivered
