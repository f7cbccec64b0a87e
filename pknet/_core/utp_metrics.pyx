"""How a connection stands: for statistics, and for its log when that has changed."""

from libc.math cimport INFINITY
from libc.stdint cimport uint16_t

from pknet._core.utp_config cimport check_log
from pknet._core.utp_congestion cimport WindowController
from pknet._core.utp_ledbat cimport DelayController
from pknet._core.utp_log cimport BY_REORDERING, BY_TIME, BY_TIMEOUT, EventLog


cdef dict figures(Outlet outlet):
    """Return what a UtpStats says of the sending side, and of what leaves."""
    cdef Sender sender = outlet.sender
    cdef unsigned long long* losses = sender.buffer.losses
    return {
        "congestion_control": sender.congestion_name,
        "congestion_state": congestion_state(sender),
        "bytes_sent": sender.bytes_sent,
        "packets_retransmitted": sender.packets_retransmitted,
        "lost_by_reordering": losses[<int> BY_REORDERING],
        "lost_by_time": losses[<int> BY_TIME],
        "lost_by_timeout": losses[<int> BY_TIMEOUT],
        "tail_probes": sender.tail_probes,
        "timeouts": sender.timeouts,
        "rtt": sender.rtt.smoothed or None,
        "rtt_variation": sender.rtt.variation if sender.rtt.smoothed else None,
        "min_rtt": sender.rtt.least if sender.rtt.smoothed else None,
        "queueing_delay": queueing_delay(sender),
        "base_delay": base_delay(sender),
        "window": <Py_ssize_t> sender.congestion.window,
        "slow_start_threshold": slow_start_threshold(sender),
        "in_flight": sender.buffer.in_flight_bytes,
        "unacknowledged": sender.unacknowledged(),
        "peer_window": sender.peer_window,
        "peer_window_closures": sender.peer_window_closures,
        "delivery_rate": sender.delivery_rate or None,
        "pacing_rate": sender.pacer.rate or None,
        "max_datagram": sender.path.size,
        "packets_sent": outlet.packets_sent,
        "receive_window": outlet.advertised,
        "receive_window_closures": outlet.closures,
        "readable": outlet.receiving.readable(),
    }


cdef bint change_log(connection, Outlet outlet, open_log, sink) except False:
    """End the log of a connection, if it has one, and begin another if something will take its events."""
    cdef EventLog log = None
    check_log(sink)
    if outlet.log is not None:
        log_changes(outlet)
        outlet.log.add("utp:log_ended", {})
    if open_log is not None or sink is not None:
        log = EventLog(outlet.shared, connection, open_log, sink, outlet.sender.buffer.next)
    outlet.log = outlet.sender.buffer.log = log
    if log is not None:
        log_changes(outlet)
    return True


cdef void log_changes(Outlet outlet) noexcept:
    """Note what is other than the log has it."""
    cdef EventLog log = outlet.log
    cdef str state = log.connection.state
    cdef str congestion = congestion_state(outlet.sender)
    cdef dict changed
    if not log.is_wanted():
        return
    if changed := news(log.parameters, parameters(outlet, log.connection.is_initiator)):
        log.add("utp:parameters_set", changed)
    if state != log.state:
        changed = {"new": state} if log.state is None else {"old": log.state, "new": state}
        if log.connection.close_reason is not None:
            changed["reason"] = log.connection.close_reason.name
        log.add("utp:connection_state_updated", changed)
        log.state = state
    if congestion != log.congestion_state:
        changed = {} if log.congestion_state is None else {"old": log.congestion_state}
        log.add("utp:congestion_state_updated", changed | {"new": congestion})
        log.congestion_state = congestion
    if changed := news(log.metrics, metrics(outlet.sender)):
        log.add("utp:metrics_updated", changed)


cdef dict news(dict told, dict values):
    """Return which values are known and other than what was told, and count them as told."""
    cdef dict changed = {}
    for name, value in values.items():
        if value is not None and told.get(name) != value:
            changed[name] = told[name] = value
    return changed


cdef dict parameters(Outlet outlet, bint is_initiator):
    return {
        "remote": outlet.remote,
        # That of the SYN, so that both sides name the same one.
        "connection_id": <uint16_t> (outlet.send_id - is_initiator),
        "is_initiator": is_initiator,
        "congestion_control": outlet.sender.congestion_name,
        "max_datagram": outlet.sender.path.size,
    }


cdef dict metrics(Sender sender):
    cdef bint is_measured = sender.rtt.smoothed > 0
    return {
        "congestion_window": <Py_ssize_t> sender.congestion.window,
        "bytes_in_flight": sender.buffer.in_flight_bytes,
        "peer_window": sender.peer_window,
        "unacknowledged": sender.unacknowledged(),
        "smoothed_rtt": milliseconds(sender.rtt.smoothed) if is_measured else None,
        "rtt_variance": milliseconds(sender.rtt.variation) if is_measured else None,
        "min_rtt": milliseconds(sender.rtt.least) if is_measured else None,
        "queueing_delay": milliseconds(queueing_delay(sender)),
        "ssthresh": slow_start_threshold(sender),
        "pacing_rate": bits(sender.pacer.rate),
        "delivery_rate": bits(sender.delivery_rate),
    }


cdef str congestion_state(Sender sender):
    if sender.recovering:
        return "recovery"
    return "slow_start" if sender.congestion.in_slow_start() else "congestion_avoidance"


cdef object queueing_delay(Sender sender):
    cdef double delay = sender.congestion.queueing_delay
    return delay if delay >= 0 else None


cdef object base_delay(Sender sender):
    cdef DelayController congestion
    if not isinstance(sender.congestion, DelayController):
        return None
    congestion = <DelayController> sender.congestion
    return congestion.history.lowest * 1e-6 if congestion.history.base_count else None


cdef object slow_start_threshold(Sender sender):
    cdef double threshold = INFINITY
    if isinstance(sender.congestion, WindowController):
        threshold = (<WindowController> sender.congestion).slow_start_threshold
    return <Py_ssize_t> threshold if threshold < INFINITY else None


cdef object milliseconds(seconds):
    return None if seconds is None else round(seconds * 1e3, 3)


cdef object bits(double rate):
    """Return a rate in bits a second, None if it isn't known."""
    return <long long> (rate * 8) if rate > 0 else None
