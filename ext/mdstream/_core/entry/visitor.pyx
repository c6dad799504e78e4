cimport cython


@cython.no_gc              # nothing that it refers to refers to it: so the collector need not look at each
cdef class Visitor:
    """One connection, from its accept to its end, and who is behind it.

    ``peer`` is who is at the other end of the socket, the client or a proxy; ``address`` the client's, as far as it is known.
    ``is_exempt``: whether its address is, judged when it came. ``place`` is the address's share, None for an exempt one; ``user`` the
    user's, if one is known. ``line``: looked at only where a subject may have one session on each.
    """

    def __init__(self, bytes peer, identity) -> None:
        self.c_begin(peer, identity)

    cdef void c_begin(self, bytes peer, object identity) noexcept:
        self.peer = self.address = peer
        self.identity = identity
        self.line = 1

    @property
    def is_counted(self) -> bool:
        """Whether it has a share of anything."""
        return self.place is not None or self.user is not None


@cython.no_gc              # its tasks take themselves out of it when they are done
cdef class ClientState:
    """The base of ``mdstream.gateway.clients.Client``: what is kept of one session.

    ``opening``: subscriptions that are not made yet, as their instruments must be opened or others come first; they count against the
    limit. ``tasks``: what waits for its instruments to open, and ends with the session; None where nothing ever did. ``parts``: by the
    number of a subscription, how its use is counted; None where usage is not recorded.
    """

    def __init__(self, str id, ClockedBudgets budgets, double opened_s, Visitor visitor) -> None:
        self.c_begin(id, budgets, opened_s, visitor)

    cdef void c_begin(self, str id, ClockedBudgets budgets, double opened_s, Visitor visitor) noexcept:
        self.id = id
        self.visitor = visitor
        self.identity = visitor.identity
        self.opened_s = opened_s
        self.budgets = budgets
