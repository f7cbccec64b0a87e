from pknet._core.utp_path_mtu cimport PathMtu


cdef class UtpConfig:
    cdef readonly Py_ssize_t max_datagram
    cdef readonly Py_ssize_t max_datagram_ipv6
    cdef readonly bint path_mtu_discovery
    cdef readonly object receive_buffer
    cdef readonly object send_buffer
    cdef readonly Py_ssize_t buffer_growth
    # The sizes that buffers begin with, and those that they may come to.
    cdef Py_ssize_t first_receive_buffer
    cdef Py_ssize_t max_receive_buffer
    cdef Py_ssize_t first_send_buffer
    cdef Py_ssize_t max_send_buffer
    cdef readonly str congestion_control
    cdef readonly double ledbat_target
    cdef readonly object ledbat_gain
    cdef readonly double connect_timeout
    cdef readonly double half_open_timeout
    cdef readonly double initial_timeout
    cdef readonly double min_timeout
    cdef readonly double max_timeout
    cdef readonly double peer_timeout
    cdef readonly double ack_delay
    cdef readonly object keepalive
    cdef readonly object idle_timeout
    # The same as numbers, infinite for None.
    cdef double keepalive_interval
    cdef double idle_time
    cdef readonly Py_ssize_t max_connections
    cdef readonly Py_ssize_t max_connections_of_source
    cdef readonly Py_ssize_t max_half_open
    cdef readonly int max_resets_per_second
    cdef readonly bint accept
    cdef readonly bint nagle
    cdef readonly object open_log

    cdef PathMtu path_to(self, remote, max_datagram)


cpdef object check_log(log)
