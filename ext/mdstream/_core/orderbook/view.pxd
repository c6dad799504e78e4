"""Views of one side of a book: cut to a depth, summed into price buckets, and as they were before later changes."""

from libc.stdint cimport int64_t

from mdstream._core.orderbook.changelog cimport Changes
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.side cimport Side

# The best `depth` levels (0: all) after summing into buckets of `group` ticks, with `undone` changes taken back (their
# lots_old holds; each level of either side at most once; NULL: none). Replaces what `out` held.
cdef int view_side(const Side* side, Py_ssize_t depth, int64_t group, const Changes* undone, Levels* out) except -1
