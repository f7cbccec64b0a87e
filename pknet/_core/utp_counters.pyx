"""What an endpoint makes of packets that lead nowhere."""


cdef class UtpCounters:
    """What an endpoint has dropped, refused or given up.

    `malformed`: datagrams that are not uTP. `unexpected`: packets that mean nothing in the connection's
    state. `implausible`: packets whose numbers don't fit the connection. `unknown_connection`: packets of no
    connection. `resets_sent`: RESETs in answer to strangers. `refused`: SYNs that were not accepted.
    `deferred`: SYNs, and packets that would have proven an incoming connection, for which there was no place;
    they come again. `half_open_dropped`: incoming connections that never were proven. `beyond_window`:
    payload beyond the window or past the FIN. `unread`: payload that came after `close`.
    """

    def as_dict(self):
        """Return the counters by name."""
        return {
            "malformed": self.malformed,
            "unexpected": self.unexpected,
            "implausible": self.implausible,
            "unknown_connection": self.unknown_connection,
            "resets_sent": self.resets_sent,
            "refused": self.refused,
            "deferred": self.deferred,
            "half_open_dropped": self.half_open_dropped,
            "beyond_window": self.beyond_window,
            "unread": self.unread,
        }

    def __repr__(self):
        counts = ", ".join(f"{name}={count}" for name, count in self.as_dict().items() if count)
        return f"UtpCounters({counts})"
