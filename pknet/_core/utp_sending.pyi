class SendBuffer:
    pending_bytes: int
    outstanding_bytes: int
    in_flight_bytes: int
