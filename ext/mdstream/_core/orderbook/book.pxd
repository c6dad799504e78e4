from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.orderbook.changelog cimport ChangeLog
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.side cimport Side

cdef struct Reach:          # where the next update will reach, if it is an ordinary one; any of them may be NULL
    const void* change      # in the log
    const void* bid_run     # the best levels' run, and the levels from the last of it to the best
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

    # Applies one atomic update wholly or, raising BookError, not at all; the last of several entries for one price counts.
    # first is NOT checked against seq here (Instrument does): the update is logged, seq becomes last, which must be beyond seq.
    cdef int c_apply(self, uint64_t first, uint64_t last, uint64_t ts_us,
                     const int64_t* bids, Py_ssize_t n_bids, const int64_t* asks, Py_ssize_t n_asks) except -1
    # Replaces everything by a snapshot (best first, validated: order, size > 0, range, not crossed); empties the log.
    cdef int c_load(self, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                    const int64_t* bids, Py_ssize_t n_bids, const int64_t* asks, Py_ssize_t n_asks) except -1
    # Empties the book and its log: number 0 of `epoch`.
    cdef void c_reset(self, uint64_t epoch) noexcept
    # Whether the log reaches back to `since` and an update ended exactly there.
    cdef bint c_reaches(self, uint64_t since) noexcept nogil
    # Full view: what leads from `since` to `until` (≤ seq), newest size per level; not best first, but in the order in which
    # the levels first changed; not a level whose size ended as it began. 1, or 0 if the log does not reach. Replaces what
    # bids and asks held.
    cdef int c_changes(self, uint64_t since, uint64_t until, Levels* bids, Levels* asks) except -1
    # The view (depth 0 = full, group in ticks) as it was at `at` (≤ seq): rebuilt by undoing the log. 1, or 0 if the log does
    # not reach. Replaces what bids and asks held.
    cdef int c_view(self, uint64_t at, Py_ssize_t depth, int64_t group, Levels* bids, Levels* asks) except -1
    # Best level of each side; count 0 where there is none. Both need room for one level (else they stay empty).
    cdef void c_top(self, Levels* bid, Levels* ask) noexcept nogil
    # For prefetching.
    cdef void c_reach(self, Reach* out) noexcept nogil
