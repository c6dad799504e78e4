from libc.stdint cimport int64_t, uint64_t

from mdstream._core.book cimport Book
from mdstream._core.encode cimport Quote, Scale
from mdstream._core.trades cimport TradeLog

cdef enum Outcome:
    NOTHING = 0     # all of it was known already, or of a fenced (smaller) epoch: dropped and counted
    APPLIED = 1     # something changed
    GAP = 2         # a number is missing; what came before it was applied, it and the rest were not
    NEW_EPOCH = 3   # a greater epoch began (at its number 1): the view was replaced, then went on

cdef class Instrument:
    """One instrument: its scale, book and trades, and the checks between bytes from the bus and the book."""
    cdef readonly str name
    cdef readonly Book book
    cdef readonly TradeLog trades
    cdef readonly Quote last_trade
    cdef Scale scale
    cdef public list topics         # of the hub

    cdef Outcome c_take_book(self, const char* payload, Py_ssize_t size) except? NOTHING
    cdef Outcome c_take_trades(self, const char* payload, Py_ssize_t size) except? NOTHING
