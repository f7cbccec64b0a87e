"""How a connection with nothing to say stays: its path is kept open, and a silent peer is asked for a word.

A NAT forgets a path that nothing goes by, so something is sent now and then that needs no answer. A peer that
has not been heard of for half of the time that it may be silent is sent something that every program answers.
"""

from libc.math cimport INFINITY

from pknet._core.utp_packet cimport ST_DATA, ST_STATE, HeaderFields, bare_packet
from pknet._core.utp_timers cimport IDLE, KEEPALIVE, TimerTable

cdef enum:
    # How often a silent peer is asked whether it is there before it is taken for gone.
    QUESTIONS = 4


cdef void arrange_keepalive(Outlet outlet, double last_heard) noexcept:
    """Set when something has to be sent though there is nothing to send."""
    cdef double idle = outlet.shared.config.idle_time
    outlet.sender.timers.at[KEEPALIVE] = min(
        outlet.last_sent + outlet.shared.config.keepalive_interval,
        max(last_heard + idle / 2, outlet.last_sent + idle / QUESTIONS / 2),
    )


cdef bint fire_keepalive(Outlet outlet, double last_heard) except False:
    """Do what is due: keep the path open, or ask a silent peer, which is given up if it does not answer."""
    cdef double now = outlet.shared.now
    cdef double idle = outlet.shared.config.idle_time
    cdef TimerTable timers = outlet.sender.timers
    if timers.at[KEEPALIVE] > now:
        return True
    if now < last_heard + idle / 2 or outlet.sender.buffer.outstanding():
        return send_keepalive(outlet)
    if timers.at[IDLE] == INFINITY:
        # A packet that was to go anyway may have put off the first question, by one interval.
        timers.at[IDLE] = max(last_heard + idle, now + idle * (QUESTIONS - 1) / QUESTIONS / 2)
    return send_question(outlet)


cdef bint send_keepalive(Outlet outlet) except False:
    """Send an acknowledgement of the packet before the last: old news, that keeps the path open.

    A selective ACK in it would be about other packets than those that came early.
    """
    cdef HeaderFields header
    outlet.fill_header(&header)
    header.ack_nr -= 1
    return outlet.send_bare(bare_packet(ST_STATE, &header, outlet.sender.buffer.next))


cdef bint send_question(Outlet outlet) except False:
    """Send what a peer that is there answers at once: a DATA that it has had, as TCP's keepalive does."""
    cdef HeaderFields header
    outlet.fill_header(&header)
    return outlet.send_bare(bare_packet(ST_DATA, &header, outlet.sender.buffer.first - 1))
