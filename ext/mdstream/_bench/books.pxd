from libc.stdint cimport int64_t, uint64_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.orderbook.levels cimport Levels

cdef struct Made:               # the book of a symbol
    Levels bids                 # best first
    Levels asks
    uint64_t seq
    uint64_t unsaved            # updates since its last snap
    int64_t snap_ns             # when that was, monotonic

cdef class Books:
    cdef readonly list subjects
    cdef readonly uint64_t epoch
    cdef Made* made
    cdef Py_ssize_t count
    cdef Py_ssize_t fewest      # levels a side, at any time
    cdef Py_ssize_t most
    cdef uint64_t random
    cdef Levels bids            # the changes of the update at hand
    cdef Levels asks

    # Changes a book in so many levels, and appends the update to `out`.
    cdef int c_update(self, Made* made, Py_ssize_t changes, uint64_t ts_us, Buffer* out) except -1 nogil
    # An update of the best levels of both sides.
    cdef int c_touch(self, Made* made, uint64_t ts_us, Buffer* out) except -1 nogil
    # Appends its snapshot.
    cdef int c_snap(self, Made* made, uint64_t ts_us, int64_t now_ns, Buffer* out) except -1 nogil

    # within
    cdef int build(self, Made* made, Py_ssize_t levels, int64_t middle) except -1
    cdef int64_t lots(self) noexcept nogil
    cdef int change(self, Made* made) except -1 nogil
    cdef int change_level(self, Levels* side, Levels* changes, Py_ssize_t place, int64_t away, int64_t bound) except -1 nogil
    cdef int put_update(self, Made* made, uint64_t ts_us, Buffer* out) except -1 nogil
    cdef Made* at(self, Py_ssize_t symbol) except NULL
