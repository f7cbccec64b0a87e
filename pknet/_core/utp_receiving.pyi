class ReceiveBuffer:
    readable: int
    limit: int
