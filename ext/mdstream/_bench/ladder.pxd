"""A client's view of a book, kept level by level to compare checksums.

Plain sorted runs, another design than the server's books on purpose: a mistake that both share would not show.
"""

from libc.stdint cimport int64_t, uint32_t

from mdstream._core.orderbook.levels cimport Levels

cdef struct Ladder:             # zeroed: an empty one
    Levels bids                 # best first
    Levels asks

cdef void ladder_free(Ladder* ladder) noexcept nogil
# Replaces a side; False if the levels are not best first, or one has no size.
cdef bint ladder_load(Levels* side, const Levels* levels, bint is_bid) except -1 nogil
# Sets levels, size 0 deletes; deleting what is not there does nothing.
cdef int ladder_apply(Levels* side, const Levels* changes, bint is_bid) except -1 nogil
cdef bint ladder_crossed(const Ladder* ladder) noexcept nogil
cdef uint32_t ladder_crc(const Ladder* ladder) noexcept nogil
