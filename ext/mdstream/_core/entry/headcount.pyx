cimport cython

from mdstream._core.entry.networks cimport c_site_of
from mdstream._core.entry.shares cimport CONNECTIONS, HANDSHAKES, SUBSCRIPTIONS


cdef class Headcount:
    """The base of ``mdstream.gateway.limits.Limits``: what is counted for each connection and each ``subscribe``. The reasons of refusals
    are there."""

    def __init__(self, ShareTable addresses not None, ShareTable users not None, now_s, nobody, nameless) -> None:
        """``nobody``: the identity of who has not said who he is; ``nameless``: methods that do not tell one user from another."""
        self.addresses = addresses
        self.users = users
        self._now_s = now_s
        self.nobody = nobody
        self.nameless = nameless

    def _refuse_handshake(self, Share place) -> str:
        """Tells of a refusal, and returns why."""
        raise NotImplementedError

    def passed_on(self, bytes peer not None) -> None:
        """Tells of a client without limits that came by way of ``peer``."""
        raise NotImplementedError

    # ---- connections

    def arrive(self, bytes peer not None, bytes address=None) -> Visitor | None:
        """A new connection; ``address``: the client's, where a PROXY header told it. None if too many of its address are half-open."""
        return self.c_arrive(peer, address)

    cdef Visitor c_arrive(self, bytes peer, bytes address):
        cdef Share full
        cdef Visitor visitor = Visitor.__new__(Visitor)
        visitor.c_begin(peer, self.nobody)
        if address is None and self.c_is_hidden(visitor):
            return visitor
        full = self.c_begin_handshake(visitor, peer if address is None else address)
        if full is None:
            return visitor
        self._refuse_handshake(full)
        return None

    def is_hidden(self, Visitor visitor not None) -> bool:
        """Whether its address is not known yet: a trusted proxy tells it in the request."""
        return self.c_is_hidden(visitor)

    cdef bint c_is_hidden(self, Visitor visitor) except -1:
        return self.has_proxies and visitor.place is None and not visitor.is_exempt and visitor.peer in self._trusted

    def begin_handshake(self, Visitor visitor not None, bytes address not None) -> str | None:
        """The visitor is at this address. Why it must be refused before its request is looked at; else None, and it is counted."""
        cdef Share full = self.c_begin_handshake(visitor, address)
        visitor.address = address
        return None if full is None else self._refuse_handshake(full)

    cdef Share c_begin_handshake(self, Visitor visitor, bytes address):
        cdef Share place
        if address in self._exempt:
            visitor.is_exempt = True
            visitor.address = address
            return None
        place = self.addresses.c_use(c_site_of(address))
        if self.addresses.c_is_full(place, HANDSHAKES, 1):
            self.addresses.c_release(place, self._now_s)
            return place
        visitor.address = address
        visitor.place = place
        visitor.is_half_open = True
        place.handshakes += 1
        self.addresses.c_changed(place)
        return None

    def has_user(self, Visitor visitor not None) -> bool:
        """Whether its user has a share."""
        return self.c_has_user(visitor)

    cdef bint c_has_user(self, Visitor visitor) except -1:
        return visitor.identity is not self.nobody and not visitor.is_exempt and visitor.identity.method not in self.nameless

    def full(self, Visitor visitor not None) -> tuple | None:
        """Which share has no room for one more connection, its user's or its address's: the table and the share."""
        return self.c_full(visitor)

    cdef tuple c_full(self, Visitor visitor):
        cdef Share user, place = visitor.place
        if self.c_has_user(visitor):
            user = self.users.c_find(visitor.identity.subject, self._now_s)
            if user is not None and self.users.c_is_full(user, CONNECTIONS, 1):
                return self.users, user
        if place is not None and self.addresses.c_is_full(place, CONNECTIONS, 1):
            return self.addresses, place
        return None

    def answered(self, Visitor visitor not None) -> None:
        """The connection is no longer half-open: its request is answered, or it has ended before."""
        self.c_answered(visitor)

    cdef int c_answered(self, Visitor visitor) except -1:
        cdef Share place = visitor.place
        if visitor.is_half_open and place is not None:
            visitor.is_half_open = False
            place.handshakes -= 1
            self.addresses.c_changed(place)
            self.addresses.c_release(place, self._now_s)
        return 0

    def entered(self, Visitor visitor not None) -> None:
        """The session has begun."""
        self.c_entered(visitor)

    cdef int c_entered(self, Visitor visitor) except -1:
        visitor.is_in = True
        if visitor.is_exempt:
            return 0
        if self.c_has_user(visitor):
            visitor.user = self.users.c_use(visitor.identity.subject)
        self.c_count(visitor, 1, 0)
        return self.c_answered(visitor)

    def left(self, Visitor visitor not None) -> None:
        """The session has ended, and all its subscriptions with it."""
        self.c_left(visitor)

    cdef int c_left(self, Visitor visitor) except -1:
        if visitor.is_in:
            self.c_count(visitor, -1, -visitor.subscriptions)
            visitor.subscriptions = 0
            visitor.is_in = False
        return 0

    def subscribed(self, Visitor visitor not None, Py_ssize_t have) -> None:
        """How many subscriptions the session has now."""
        cdef Py_ssize_t more = have - visitor.subscriptions
        if more != 0 and visitor.is_in and visitor.is_counted:
            visitor.subscriptions = have
            self.c_count(visitor, 0, more)

    cdef int c_count(self, Visitor visitor, Py_ssize_t connections, Py_ssize_t subscriptions) except -1:
        """So many more of each, or fewer."""
        if visitor.place is not None:
            self.addresses.c_count(visitor.place, connections, subscriptions, self._now_s)
        if visitor.user is not None:
            self.users.c_count(visitor.user, connections, subscriptions, self._now_s)
        return 0

    # ---- commands

    def has_room(self, Visitor visitor not None, Py_ssize_t more) -> bool:
        """Whether there is room for so many more subscriptions."""
        return self.c_without_room(visitor, more) is None

    def without_room(self, Visitor visitor not None, Py_ssize_t more) -> tuple | None:
        """Which share has no room for so many more subscriptions: the table and the share; None if there is room."""
        return self.c_without_room(visitor, more)

    cdef tuple c_without_room(self, Visitor visitor, Py_ssize_t more):
        cdef Share place = visitor.place
        cdef Share user = visitor.user
        if place is not None and self.addresses.c_is_full(place, SUBSCRIPTIONS, more):
            return self.addresses, place
        if user is not None and self.users.c_is_full(user, SUBSCRIPTIONS, more):
            return self.users, user
        return None

    def charger(self, Visitor visitor not None) -> Charger | None:
        """Charges what the visitor's session costs; None if nobody counts it."""
        return self.c_charger(visitor) if visitor.is_counted else None

    cdef Charger c_charger(self, Visitor visitor):
        cdef Charger charger = Charger.__new__(Charger)
        charger.limits = self
        charger.visitor = visitor
        return charger


@cython.no_gc              # nothing that it refers to refers to it
cdef class Charger(Charged):
    """Charges a session's address and its user, as far as they are counted."""

    def __init__(self, Headcount limits not None, Visitor visitor not None) -> None:
        self.limits = limits
        self.visitor = visitor

    def __call__(self, cost, amount=1) -> str | None:
        """Why it must be refused, else None."""
        return self.limits.charge(self.visitor, cost, amount)

    cdef bint c_has(self, int budget, double amount, double now_s) noexcept:
        cdef Share place = <Share>self.visitor.place
        cdef Share user = <Share>self.visitor.user
        if place is not None and not self.limits.addresses.c_has(place, budget, amount, now_s):
            return False
        return user is None or self.limits.users.c_has(user, budget, amount, now_s)

    cdef void c_take(self, int budget, double amount, double now_s) noexcept:
        cdef Share place = <Share>self.visitor.place
        cdef Share user = <Share>self.visitor.user
        if place is not None:
            self.limits.addresses.c_take(place, budget, amount, now_s)
        if user is not None:
            self.limits.users.c_take(user, budget, amount, now_s)
