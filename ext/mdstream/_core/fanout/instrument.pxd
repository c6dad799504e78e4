from libc.stdint cimport int64_t, uint64_t

from mdstream._core.orderbook.book cimport Book
from mdstream._core.codec.message cimport Quote, Scale
from mdstream._core.orderbook.trade_log cimport TradeLog

cpdef enum Outcome:
    NOTHING = 0     # all of it was known already, or of a fenced (smaller) epoch: dropped and counted
    APPLIED = 1     # something changed
    GAP = 2         # a number is missing; what came before it was applied, it and the rest were not
    NEW_EPOCH = 3   # a greater epoch began (at its number 1): the view was replaced, then went on

cdef class Instrument:
    """One instrument: its scale, book and trades, and the checks between bytes from the bus and the book."""
    # What each update of a book needs stands together: over many instruments it is the lines of the cache that cost.
    cdef readonly Book book
    cdef readonly uint64_t epoch        # the greatest seen on any stream; what carries a smaller one is dropped
    cdef readonly uint64_t updates_applied
    cdef str book_label                 # for errors, as are the other labels
    cdef readonly str name
    cdef readonly TradeLog trades
    cdef readonly Quote last_trade      # the newest trade with a size; kept over epochs
    cdef readonly uint64_t updates_dropped
    cdef readonly uint64_t trades_applied
    cdef readonly uint64_t trades_dropped
    cdef readonly uint64_t fenced       # values dropped for a smaller epoch
    cdef Scale scale
    cdef str trades_label
    cdef str snap_label
    cdef public list topics             # of the hub

    # A payload may have several outcomes; the strongest is returned: GAP > NEW_EPOCH > APPLIED > NOTHING. After GAP the rest
    # of the payload was not read. PayloadError or BookError: what stood before the refused value stays applied (so look at
    # book.epoch and book.seq), nothing after it was.
    cdef Outcome c_take_book(self, const char* payload, Py_ssize_t size) except? NOTHING
    cdef Outcome c_take_trades(self, const char* payload, Py_ssize_t size) except? NOTHING
    # Loads a `snap` if it is newer than the book: of a greater epoch, or further on in the same; `force` takes any that is
    # not fenced. 1 if loaded.
    cdef int c_load_snap(self, const char* payload, Py_ssize_t size, bint force) except -1
