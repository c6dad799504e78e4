"""Answers the usual upgrade request where nobody has to say who he is."""

from libc.string cimport memcmp

from mdstream._core.entry.headcount cimport Headcount
from mdstream._core.entry.load_state cimport LoadState
from mdstream._core.entry.visitor cimport Visitor
from mdstream._core.websocket.upgrade_request cimport (
    EXTENSIONS, HOST, KEY, ORIGIN, PROTOCOL, Request, Text, accept_of, read_request, to_bytes
)

cdef bytes END = b"\r\n\r\n"


cdef bint is_path(Text target, bytes path) noexcept:
    """Whether it is this path, with a query or without."""
    cdef Py_ssize_t size = len(path)
    cdef const char* wanted = path
    return target.size >= size and not memcmp(target.data, wanted, size) and (target.size == size or target.data[size] == c'?')


cdef class UsualUpgrades:
    """``requested`` is what a session calls with its upgrade request. What is unusual is for ``server``, which is Python's: a request that
    is wrong, or comes with an offer that nobody has made before, and a client for whom there is no room."""

    cdef object server
    cdef Headcount limits
    cdef LoadState load
    cdef object offers
    cdef object origins
    cdef bytes path
    cdef bint asks

    def __init__(self, server, Headcount limits not None, LoadState load not None, offers, origins, *, bytes path, bint asks) -> None:
        """``offers``: what is known of offers, as ``Offers``; ``origins``: which web pages may connect, None: all; ``asks``: whether it
        matters who a client is."""
        self.server = server
        self.limits = limits
        self.load = load
        self.offers = offers
        self.origins = origins
        self.path = path
        self.asks = asks

    def requested(self, session, bytes head) -> None:
        """``head`` comes without its empty line."""
        if self.asks or not self.c_has_room(session) or not self.c_accept(session, head):
            self.server.requested(session, head)

    cdef bint c_has_room(self, object session) except -1:
        """Whether a client may come, whatever its request says."""
        cdef Visitor visitor = <Visitor?>session.context
        if self.server.draining or session.surplus or self.load.refuses is not None:
            return False
        return visitor.is_exempt or visitor.place is not None and self.limits.c_full(visitor) is None

    cdef bint c_accept(self, object session, bytes head) except -1:
        """False: nothing is decided."""
        cdef Request request
        if not read_request(head, len(head), &request) or not is_path(request.target, self.path):
            return False
        if request.values[ORIGIN].data != NULL and self.origins is not None:
            if not self.origins.allows(to_bytes(request.values[ORIGIN]), to_bytes(request.values[HOST])):
                return False
        known = self.offers.find((to_bytes(request.values[PROTOCOL]), to_bytes(request.values[EXTENSIONS])))
        if known is None:
            return False
        verdict, start = known
        deflate = verdict.deflate
        window_bits = 0 if deflate is None else deflate.window_bits
        session.accept(<bytes>start + accept_of(request.values[KEY]) + END, verdict.format, window_bits)
        return True
