from libc.stdint cimport int64_t, uint64_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.orderbook.levels cimport Levels

cdef struct MadeBook:           # of a symbol
    Levels bids                 # best first
    Levels asks
    uint64_t seq
    uint64_t trade_seq
    uint64_t unsaved            # updates since its last snap
    int64_t snap_ns             # time of that snap, monotonic

cdef class Books:
    cdef readonly list subjects
    cdef readonly uint64_t epoch
    cdef MadeBook* made
    cdef Py_ssize_t count
    cdef Py_ssize_t fewest      # least and most levels of a side
    cdef Py_ssize_t most
    cdef uint64_t random
    cdef Levels bids            # the changes of the current update
    cdef Levels asks

    # Changes so many levels of a book, and appends the update to `out`.
    cdef int c_update(self, MadeBook* made, Py_ssize_t changes, uint64_t ts_us, Buffer* out) except -1 nogil
    # The same for the best level of both sides.
    cdef int c_touch(self, MadeBook* made, uint64_t ts_us, Buffer* out) except -1 nogil
    # Appends a trade at the best bid or ask.
    cdef int c_trade(self, MadeBook* made, uint64_t ts_us, Buffer* out) except -1 nogil
    # Appends a snapshot of the book.
    cdef int c_snap(self, MadeBook* made, uint64_t ts_us, int64_t now_ns, Buffer* out) except -1 nogil

    # within
    cdef int build(self, MadeBook* made, Py_ssize_t levels, int64_t middle) except -1
    cdef int64_t lots(self) noexcept nogil
    cdef int change(self, MadeBook* made) except -1 nogil
    cdef int change_level(self, Levels* side, Levels* changes, Py_ssize_t place, int64_t away, int64_t bound) except -1 nogil
    cdef int put_update(self, MadeBook* made, uint64_t ts_us, Buffer* out) except -1 nogil
    cdef MadeBook* at(self, Py_ssize_t symbol) except NULL
