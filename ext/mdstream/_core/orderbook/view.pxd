"""Views of one side of a book: cut to a depth, summed into price buckets, or as they were before some changes."""

from libc.stdint cimport int64_t, uint64_t

from mdstream._core.orderbook.changelog cimport Changes
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.side cimport Side

# The best `depth` levels (0: all) after summing into buckets of `group` ticks. `undone`: changes to take back, so that lots_old
# holds; both sides, each level at most once; NULL: none. Replaces what `out` held.
cdef int view_side(const Side* side, Py_ssize_t depth, int64_t group, const Changes* undone, Levels* out) except -1
# Levels that were summed into buckets so far, for all views: what grouped views cost.
cdef uint64_t levels_summed() noexcept
