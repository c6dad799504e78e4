cdef class LoadState:
    """The base of ``mdstream.gateway.overload.Overload``: asked for each connection and each ``subscribe``.

    ``refuses``: why new clients and subscriptions are refused, None if they are not; ``level``: 0 if the gateway is well.
    """
