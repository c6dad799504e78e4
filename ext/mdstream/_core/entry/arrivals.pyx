"""What is done once for each client that is let in."""

from cpython.object cimport PyObject, PyTypeObject

from mdstream._core.base.budget cimport Allowances, ClockedBudgets
from mdstream._core.entry.counters cimport count_one
from mdstream._core.entry.headcount cimport Headcount
from mdstream._core.entry.load_state cimport LoadState
from mdstream._core.entry.visitor cimport ClientState, Visitor
from mdstream._core.entry.welcome cimport Names, WelcomeBytes
from mdstream._core.fanout.sink cimport Sink

cdef enum:
    WELCOMES = 8                # as many kinds: is the gateway well, has the client a share of an address's limits, of a user's

cdef tuple NOTHING = ()


cdef inline object blank(object of):
    """An object of a class whose constructor is not called: `c_begin` is."""
    return (<PyTypeObject*>of).tp_new(of, <PyObject*>NOTHING, NULL)


cdef class Arrivals:
    """``opened`` is what a session calls when it is open: the client gets its budgets and its name, is counted and welcomed."""

    cdef object sessions
    cdef Headcount limits
    cdef LoadState load
    cdef object audit
    cdef object make_client
    cdef object make_budgets
    cdef Allowances allowances
    cdef object nobody
    cdef object now_s
    cdef object wall_us
    cdef Names names
    cdef dict open
    cdef list welcomes
    cdef readonly Py_ssize_t total
    cdef public bint are_logged

    def __init__(
        self, sessions, Headcount limits not None, LoadState load not None, audit, dict open, *, make_client, make_budgets, Allowances allowances not None, nobody, now_s, wall_us
    ) -> None:
        """``open``: to which each session is added. ``make_client`` and ``make_budgets`` are the classes; ``nobody`` is the identity where
        nobody is asked who he is. ``total`` counts them; ``are_logged``: whether ``sessions`` writes a line for each."""
        self.sessions = sessions
        self.limits = limits
        self.load = load
        self.audit = audit
        self.open = open
        self.make_client = make_client
        self.make_budgets = make_budgets
        self.allowances = allowances
        self.nobody = nobody
        self.now_s = now_s
        self.wall_us = wall_us
        self.names = Names()
        self.forget_welcomes()

    def forget_welcomes(self) -> None:
        """Call when the limits have changed: clients that come are told the new ones."""
        self.welcomes = [None] * WELCOMES

    def opened(self, session) -> None:
        """``session.context`` is who came."""
        cdef Visitor visitor = self.sessions.visitor_of(session) if type(session.context) is not Visitor else session.context
        cdef ClientState client
        if visitor is None:         # it was sent away
            return
        client = self.c_enter(session, visitor)
        if client.identity is self.nobody and self.sessions.single is None:
            count_one(self.audit.logins_total, "none")
        else:
            self.sessions.follow(session, client)
        if self.are_logged:
            self.sessions.log_opened(session, client)
        session.send_control(self.c_welcome(session.sink, client))

    cdef ClientState c_enter(self, object session, Visitor visitor):
        cdef double now_s = self.now_s()
        cdef ClockedBudgets budgets = blank(self.make_budgets)
        cdef ClientState client = blank(self.make_client)
        budgets.c_begin(self.allowances, self.now_s, now_s)
        client.c_begin(self.names.c_take(), budgets, now_s, visitor)
        session.context = client
        if visitor.is_exempt:       # nothing is counted of it
            visitor.is_in = True
        else:
            self.limits.c_entered(visitor)
            if visitor.place is not None or visitor.user is not None:
                budgets.also = self.limits.c_charger(visitor)
        self.open[session] = None
        self.total += 1
        return client

    cdef bytes c_welcome(self, Sink sink, ClientState client):
        cdef Visitor visitor = client.visitor
        cdef bint is_well = self.load.level == 0
        cdef int kind = is_well << 2 | (visitor.place is not None) << 1 | (visitor.user is not None)
        cdef WelcomeBytes welcome = self.welcomes[kind]
        if welcome is None:
            welcome = self.welcomes[kind] = self.sessions.make_welcome(visitor, is_well)
        return welcome.c_encode(sink.format, client.id, self.wall_us())
