"""Counts connections, handshakes and subscriptions by address and by user."""

from mdstream._core.base.budget cimport Charged
from mdstream._core.entry.shares cimport Share, ShareTable
from mdstream._core.entry.visitor cimport Visitor

cdef class Charger(Charged)

cdef class Headcount:
    cdef readonly ShareTable addresses
    cdef readonly ShareTable users
    cdef readonly object _now_s
    cdef public object _exempt              # networks
    cdef public object _trusted             # networks of proxies
    cdef public bint has_proxies
    cdef object nobody
    cdef object nameless

    # None if too many of its address are half-open, which is told.
    cdef Visitor c_arrive(self, bytes peer, bytes address)
    # Whether the address is not known yet: a trusted proxy tells it in the request.
    cdef bint c_is_hidden(self, Visitor visitor) except -1
    # The visitor is at this address and counts as half-open, None; or the share that has too many, and nothing has changed.
    cdef Share c_begin_handshake(self, Visitor visitor, bytes address)
    cdef bint c_has_user(self, Visitor visitor) except -1
    # Which share has no room for one more connection: the table and the share; None if there is room.
    cdef tuple c_full(self, Visitor visitor)
    cdef int c_answered(self, Visitor visitor) except -1
    cdef int c_entered(self, Visitor visitor) except -1
    cdef int c_left(self, Visitor visitor) except -1
    cdef int c_count(self, Visitor visitor, Py_ssize_t connections, Py_ssize_t subscriptions) except -1
    # The same for so many more subscriptions.
    cdef tuple c_without_room(self, Visitor visitor, Py_ssize_t more)
    # Who is charged for a visitor that is counted.
    cdef Charger c_charger(self, Visitor visitor)

cdef class Charger(Charged):
    cdef Headcount limits
    cdef Visitor visitor
