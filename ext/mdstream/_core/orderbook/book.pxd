from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.orderbook.changelog cimport ChangeLog
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.side cimport Side

cdef struct NextWrites:     # the memory that the next update will most likely write, to be prefetched; each may be NULL
    const void* change      # in the log
    const void* bid_run     # the run of the best levels, its last level and the best one
    const void* bid_last
    const void* bid
    const void* ask_run
    const void* ask_last
    const void* ask

cdef class Book:
    cdef readonly str instrument
    cdef readonly uint64_t epoch
    cdef readonly uint64_t seq          # last applied; 0: the empty book of an epoch
    cdef readonly uint64_t ts_us        # event time of the last update applied
    cdef Side bids
    cdef Side asks
    cdef ChangeLog log
    cdef Py_ssize_t max_levels          # a side

    # Applies one atomic update, or raises BookError and changes nothing; the last of several entries for a price counts. `last`,
    # the new seq, must be beyond seq; `first` is not checked against seq (Instrument does that).
    cdef int c_apply(self, uint64_t first, uint64_t last, uint64_t ts_us,
                     const int64_t* bids, Py_ssize_t n_bids, const int64_t* asks, Py_ssize_t n_asks) except -1
    # Replaces all by a snapshot and empties the log, or raises BookError and changes nothing. The snapshot must be best first,
    # in range, with sizes above 0, and not crossed.
    cdef int c_load(self, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                    const int64_t* bids, Py_ssize_t n_bids, const int64_t* asks, Py_ssize_t n_asks) except -1
    cdef void c_reset(self, uint64_t epoch) noexcept
    # Whether the log keeps number `seq`: an update ended there, and all later changes are logged.
    cdef bint c_keeps(self, uint64_t seq) noexcept nogil
    # The changes of the full view from `since` to `until` (≤ seq): the newest size of each level, in the order in which the
    # levels first changed; no level whose size is the same again. Returns 1, or 0 if the log does not keep both numbers.
    # Replaces what bids and asks held.
    cdef int c_changes(self, uint64_t since, uint64_t until, Levels* bids, Levels* asks) except -1
    # The view (depth 0: all levels, group in ticks) as it was at number `at` (≤ seq). Returns 1, or 0 if the log does not keep
    # that number. Replaces what bids and asks held.
    # Entries that the log holds after number `since`; -1 if it does not keep that.
    cdef int64_t c_logged_since(self, uint64_t since) noexcept nogil
    cdef int c_view(self, uint64_t at, Py_ssize_t depth, int64_t group, Levels* bids, Levels* asks) except -1
    # The best level of each side; count 0 where there is none, or no room for one.
    cdef void c_top(self, Levels* bid, Levels* ask) noexcept nogil
    cdef void c_next_writes(self, NextWrites* out) noexcept nogil
