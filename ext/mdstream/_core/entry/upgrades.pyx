"""Answers the usual upgrade request of a client that may simply come, or whose token was verified lately."""

from libc.string cimport memcmp

from mdstream._core.entry.headcount cimport Headcount
from mdstream._core.entry.load_state cimport LoadState
from mdstream._core.entry.offers cimport OfferTable
from mdstream._core.entry.visitor cimport Visitor
from mdstream._core.websocket.upgrade_request cimport (
    AUTHORIZATION, EXTENSIONS, FORWARDED, FORWARDED_FOR, HOST, KEY, ORIGIN, PROTOCOL, Request, Text, accept_of, read_request, to_bytes
)

cdef bytes END = b"\r\n\r\n"
cdef char* LOOPBACK = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"


cdef bint is_path(Text target, bytes path) noexcept:
    """Whether it is this path, with a query or without."""
    cdef Py_ssize_t size = len(path)
    cdef const char* wanted = path
    return target.size >= size and not memcmp(target.data, wanted, size) and (target.size == size or target.data[size] == c'?')


cdef bint begins_with(Text text, const char* start, Py_ssize_t size) noexcept:
    return text.size >= size and not memcmp(text.data, start, size)


cdef bint c_is_passed_on(bytes peer, const Request* request) noexcept:
    """Whether a proxy seems to have sent it: it says of whom, or somebody on this machine asked for another one's name."""
    cdef Text host = request.values[HOST]
    cdef const char* address = peer
    cdef Py_ssize_t size = len(peer)
    if request.values[FORWARDED_FOR].data != NULL or request.values[FORWARDED].data != NULL:
        return True
    if not (size == 4 and address[0] == 127 or size == 16 and not memcmp(address, LOOPBACK, 16)):
        return False
    return not (begins_with(host, "127.", 4) or begins_with(host, "localhost", 9) or begins_with(host, "[::", 3))


def is_passed_on(bytes peer not None, bytes head not None) -> bool:
    """Whether the usual upgrade request of ``peer`` seems to come from a client of it, and not from itself. Of another one: False."""
    cdef Request request
    return read_request(head, len(head), &request) and c_is_passed_on(peer, &request)


cdef class UsualUpgrades:
    """``requested`` is what a session calls with its upgrade request. What is unusual is for ``server``, which is Python's: a request that
    is wrong, or comes with an offer that nobody has made before, and a client who is not known or for whom there is no room."""

    cdef object server
    cdef Headcount limits
    cdef LoadState load
    cdef OfferTable offers
    cdef object origins
    cdef bytes path
    cdef bint asks
    cdef object token_of
    cdef object identity_of

    def __init__(
        self, server, Headcount limits not None, LoadState load not None, OfferTable offers not None, origins, *, bytes path, bint asks, token_of, identity_of
    ) -> None:
        """``offers``: what is known of offers, as ``Offers``; ``origins``: which web pages may connect, None: all; ``asks``: whether it
        matters who a client is. ``token_of``: the offer without its tokens and a token, of the headers with subprotocols and authorization;
        ``identity_of``: whose a token is, None if that takes longer."""
        self.server = server
        self.limits = limits
        self.load = load
        self.offers = offers
        self.origins = origins
        self.path = path
        self.asks = asks
        self.token_of = token_of
        self.identity_of = identity_of

    def requested(self, session, bytes head) -> None:
        """``head`` comes without its empty line."""
        if not self.c_may_come(session) or not self.c_accept(session, head):
            self.server.requested(session, head)

    cdef bint c_may_come(self, object session) except -1:
        """Whether anybody may come now."""
        return not self.server.draining and not session.surplus and self.load.refuses is None

    cdef bint c_accept(self, object session, bytes head) except -1:
        """False: nothing is decided."""
        cdef Request request
        cdef Visitor visitor = <Visitor?>session.context
        if not read_request(head, len(head), &request) or not is_path(request.target, self.path):
            return False
        if self.limits.c_is_hidden(visitor) and not self.c_learn_address(visitor, &request):
            return False
        if not self.c_is_from_allowed(&request):
            return False
        if self.asks:
            return self.c_accept_known(session, visitor, &request)
        return self.c_answer(session, visitor, visitor.identity, to_bytes(request.values[PROTOCOL]), &request)

    cdef bint c_learn_address(self, Visitor visitor, const Request* request) except -1:
        cdef bytes address = self.limits.behind(to_bytes(request.values[FORWARDED_FOR]), to_bytes(request.values[FORWARDED]))
        return address is not None and self.limits.c_begin_handshake(visitor, address) is None

    cdef bint c_is_from_allowed(self, const Request* request) except -1:
        """Whether the page that it comes from may connect."""
        if request.values[ORIGIN].data == NULL or self.origins is None:
            return True
        return self.origins.allows(to_bytes(request.values[ORIGIN]), to_bytes(request.values[HOST]))

    cdef bint c_accept_known(self, object session, Visitor visitor, const Request* request) except -1:
        """By a token. What a query says, such as another token, is not read here."""
        if request.target.size != len(self.path):
            return False
        offer, token = self.token_of(to_bytes(request.values[PROTOCOL]), to_bytes(request.values[AUTHORIZATION]))
        identity = None if token is None else self.identity_of(token)
        return identity is not None and self.c_answer(session, visitor, identity, offer, request)

    cdef bint c_answer(self, object session, Visitor visitor, object identity, bytes offer, const Request* request) except -1:
        known = self.offers.c_find((offer, to_bytes(request.values[EXTENSIONS])))
        if known is None or not self.c_let_in(visitor, identity):
            return False
        if visitor.is_exempt and c_is_passed_on(visitor.peer, request):
            self.limits.passed_on(visitor.peer)
        verdict, start = known
        deflate = verdict.deflate
        window_bits = 0 if deflate is None else deflate.window_bits
        session.accept(<bytes>start + accept_of(request.values[KEY]) + END, verdict.format, window_bits)
        return True

    cdef bint c_let_in(self, Visitor visitor, object identity) except -1:
        """False, and it is whom it was, if there is no room for it."""
        before = visitor.identity
        if not visitor.is_exempt and visitor.place is None:
            return False
        visitor.identity = identity
        if not visitor.is_exempt and self.limits.c_full(visitor) is not None:
            visitor.identity = before
            return False
        return True
