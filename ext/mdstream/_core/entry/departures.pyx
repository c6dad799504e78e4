"""What is done once for each client that leaves."""

from mdstream._core.entry.counters cimport count_one
from mdstream._core.entry.headcount cimport Headcount
from mdstream._core.entry.visitor cimport ClientState


cdef class Departures:
    """``closed`` is what a session calls when it has ended. A client of whom more is kept than its subscriptions, such as a token that is
    being judged, is for ``sessions``, which is Python's."""

    cdef object sessions
    cdef Headcount limits
    cdef object closes_total
    cdef dict open
    cdef tuple kept
    cdef bint all_unusual
    cdef public bint are_logged

    def __init__(self, sessions, Headcount limits not None, closes_total, dict open, *, tuple kept, bint all_unusual) -> None:
        """``open``: from which each session is taken. ``kept``: dictionaries in which a session may be, and which are never replaced.
        ``all_unusual``: more is kept of each. ``are_logged``: whether ``sessions`` writes a line for each."""
        self.sessions = sessions
        self.limits = limits
        self.closes_total = closes_total
        self.open = open
        self.kept = kept
        self.all_unusual = all_unusual

    def closed(self, session, code) -> None:
        cdef ClientState client
        count_one(self.closes_total, code)
        if session not in self.open:
            return
        client = <ClientState?>session.context
        if self.are_logged or self.c_is_unusual(session, client):
            self.sessions.end(session, code)
            return
        del self.open[session]
        self.limits.c_left(client.visitor)

    cdef bint c_is_unusual(self, object session, ClientState client) except -1:
        cdef dict each
        if self.all_unusual or client.tasks is not None or client.parts is not None:
            return True
        for each in self.kept:
            if session in each:
                return True
        return False
