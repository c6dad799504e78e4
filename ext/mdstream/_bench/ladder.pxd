"""A client's view of a book, kept to compare checksums.

Its sides are plain sorted arrays. The design differs from the server's books on purpose, so that a mistake in one shows.
"""

from libc.stdint cimport int64_t, uint32_t

from mdstream._core.orderbook.levels cimport Levels

cdef struct Ladder:             # zeroed: empty
    Levels bids                 # best first
    Levels asks

cdef void ladder_free(Ladder* ladder) noexcept nogil
# Replaces a side; False if the levels are not best first, or a size is not positive.
cdef bint ladder_load(Levels* side, const Levels* levels, bint is_bid) except -1 nogil
# Sets levels; size 0 deletes. Deleting a missing level does nothing.
cdef int ladder_apply(Levels* side, const Levels* changes, bint is_bid) except -1 nogil
cdef bint ladder_crossed(const Ladder* ladder) noexcept nogil
cdef uint32_t ladder_crc(const Ladder* ladder) noexcept nogil
