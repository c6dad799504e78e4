"""Who is at a connection: `Visitor` from its accept to its end, `ClientState` once it is let in."""

from mdstream._core.base.budget cimport ClockedBudgets

cdef class Visitor:
    cdef readonly bytes peer
    cdef public bytes address
    cdef public object identity
    cdef public object place
    cdef public object user
    cdef public Py_ssize_t subscriptions
    cdef public int line
    cdef public bint is_exempt
    cdef public bint is_half_open
    cdef public bint is_in

    # What the constructor does.
    cdef void c_begin(self, bytes peer, object identity) noexcept

cdef class ClientState:
    cdef readonly str id
    cdef readonly Visitor visitor
    cdef public object identity
    cdef readonly double opened_s
    cdef readonly ClockedBudgets budgets
    cdef public Py_ssize_t opening
    cdef public object tasks
    cdef public object parts

    # What the constructor does.
    cdef void c_begin(self, str id, ClockedBudgets budgets, double opened_s, Visitor visitor) noexcept
