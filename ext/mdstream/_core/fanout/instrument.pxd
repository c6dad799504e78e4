from libc.stdint cimport int64_t, uint64_t

from mdstream._core.orderbook.book cimport Book
from mdstream._core.codec.message cimport Quote, Scale
from mdstream._core.orderbook.trade_log cimport TradeLog

cpdef enum Outcome:
    """What became of a payload. If several apply, the strongest: GAP or UNKNOWN, then NEW_EPOCH, APPLIED, NOTHING."""
    NOTHING = 0     # all of it was known already, or its epoch is smaller: dropped and counted
    APPLIED = 1     # something changed
    GAP = 2         # a number is missing: what came before it was applied, the rest was not read
    NEW_EPOCH = 3   # a greater epoch began, at its number 1: the view was replaced, and goes on from there
    UNKNOWN = 4     # of a greater epoch than ``begin`` has begun: what came before it was applied, the rest was not read

cdef enum Agreement:
    DIFFERS = 0
    AGREES = 1
    NOT_KEPT = 2        # of another epoch, or of a number that the log does not keep: it cannot be compared

cdef class Instrument:
    # What each update of a book needs stands together: with many instruments, cache misses are what an update costs.
    cdef readonly Book book
    cdef readonly uint64_t epoch        # the greatest that was taken, or begun; values of a smaller one are dropped
    cdef readonly uint64_t updates_applied
    cdef str book_label                 # for errors, as are the other labels
    cdef readonly str name
    cdef readonly TradeLog trades
    cdef readonly Quote last_trade      # the newest trade with a size
    cdef readonly uint64_t updates_dropped      # known already
    cdef readonly uint64_t trades_applied
    cdef readonly uint64_t trades_dropped
    cdef readonly uint64_t fenced       # values dropped for a smaller epoch
    cdef uint64_t greatest_epoch        # values of a greater one are UNKNOWN
    cdef public uint64_t awaited        # a number of the book that the bus bears out: who resumed there waits as long as it takes
    cdef Scale scale
    cdef str trades_label
    cdef str snap_label
    cdef public list topics             # of the hub

    # After PayloadError or BookError, values before the refused one stay applied: see book.epoch and book.seq.
    cdef Outcome c_take_book(self, const char* payload, Py_ssize_t size) except? NOTHING
    cdef Outcome c_take_trades(self, const char* payload, Py_ssize_t size) except? NOTHING
    # 1 if loaded.
    cdef int c_load_snap(self, const char* payload, Py_ssize_t size, bint force) except -1
    # Whether the book was equal to a snapshot when it was at the snapshot's number.
    cdef int c_agrees(self, const char* payload, Py_ssize_t size) except -1
