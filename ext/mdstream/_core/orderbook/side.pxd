"""One side of a book: its levels in order, in blocks that are small enough to move about in.

A level is named by its ``key``, which rises towards the best on both sides: the ticks of a bid, the negated ticks of an ask.
Blocks keep an insertion or deletion far from the touch as cheap as one near it, on sparse prices as on dense ones; most of a
real feed's changes are such. The best levels stand last, so that the touch moves least.

What is done for each level is inline, so that a book may be given another storage without touching what uses it.
"""

from libc.stdint cimport INT64_MIN, int64_t
from libc.string cimport memmove

from mdstream._core.base.prefetch cimport prefetch

cdef enum:
    BLOCK_LEVELS = 62       # not a power of two: equal strides over many books would share few cache sets
    BLOCK_SPARSE = 15       # a block that falls below is merged with a neighbour, if the two then leave room
    BLOCK_MERGED = 46       # most levels of a block that came from a merge, or is filled from a snapshot
    SIDE_NEAR = 8           # levels from the touch that are searched at once

cdef struct Level:
    int64_t key
    int64_t lots            # never 0

cdef struct Block:
    Level[BLOCK_LEVELS + SIDE_NEAR] levels  # ascending; the room behind is for moves of a fixed length

cdef struct Run:            # a block in its place
    int64_t low             # no key of it is below, and none of the run before at or above; INT64_MIN of the first
    Block* block
    Py_ssize_t count        # levels; 0 only if the side is empty

cdef struct Side:
    Run* runs               # ascending
    Py_ssize_t n_runs       # 0 until there was first room made
    Py_ssize_t capacity     # of runs
    Py_ssize_t count        # levels
    int64_t sign            # key = ticks × sign: 1 bid, -1 ask

cdef struct Place:          # a level while going through a side
    const Run* run
    Py_ssize_t at           # -1: past the last


cdef void side_free(Side* side) noexcept nogil
# Makes room, so that as many levels can be set and set back on each side without failing.
cdef int sides_reserve(Side* bids, Py_ssize_t n_bids, Side* asks, Py_ssize_t n_asks) except -1
cdef void side_clear(Side* side) noexcept nogil
# Replaces a side by levels flat and best first. Room for as many must have been reserved.
cdef void side_fill(Side* side, const int64_t* flat, Py_ssize_t n) noexcept nogil
# Splits a full run so that a level can be inserted at `at`; returns the run to insert it in, with its place there.
cdef Run* side_split(Side* side, Run* run, Py_ssize_t* at) noexcept nogil
# Merges a run that has few levels left, or takes it away if it has none.
cdef void side_thin(Side* side, Run* run) noexcept nogil


cdef inline Run* side_run(const Side* side, int64_t key) noexcept nogil:
    """The run where ``key`` stands or belongs. There must be one."""
    cdef Run* run = side.runs
    cdef Run* last = run + side.n_runs - 1
    cdef Py_ssize_t n = side.n_runs - 1
    cdef Py_ssize_t half
    if key >= last.low:
        return last
    # The last run that begins at or below; halving without a branch that could be mispredicted.
    while n > 1:
        half = n >> 1
        run += half if run[half].low <= key else 0
        n -= half
    return run


cdef inline Py_ssize_t run_find(const Run* run, int64_t key) noexcept nogil:
    """Levels of the run below ``key``: where it stands, or where it would be inserted."""
    cdef const Level* level = run.block.levels
    cdef Py_ssize_t n = run.count
    cdef Py_ssize_t half
    while n > 1:
        half = n >> 1
        level += half & -<Py_ssize_t> (level[half - 1].key < key)
        n -= half
    return level - run.block.levels + (n & (level.key < key))


cdef inline Py_ssize_t touch_find(const Run* run, int64_t key) noexcept nogil:
    """run_find for the last run, where most keys are near the end: the last few are compared at once, without a branch."""
    cdef const Level* levels = run.block.levels
    cdef Py_ssize_t high = run.count
    cdef Py_ssize_t i, above = 0
    if high < SIDE_NEAR:
        return run_find(run, key)
    for i in range(1, SIDE_NEAR + 1):
        above += levels[high - i].key >= key
    return high - above if above < SIDE_NEAR else run_find(run, key)


cdef inline int64_t side_get(const Side* side, int64_t key) noexcept nogil:
    """Lots at ``key``, 0 where there is no level."""
    cdef const Run* run
    cdef Py_ssize_t at
    if side.count == 0:
        return 0
    run = side_run(side, key)
    at = run_find(run, key)
    return run.block.levels[at].lots if at < run.count and run.block.levels[at].key == key else 0


cdef inline int64_t side_set(Side* side, int64_t key, int64_t lots) noexcept nogil:
    """Sets the size of a level, 0 deletes it; returns the size it had. Room must have been reserved."""
    cdef Run* run = side_run(side, key)
    cdef Py_ssize_t at = touch_find(run, key) if run == side.runs + side.n_runs - 1 else run_find(run, key)
    cdef Level* level = &run.block.levels[at]
    cdef int64_t old
    cdef int i
    if at < run.count and level.key == key:
        old = level.lots
        if lots:
            level.lots = lots
            return old
        run.count -= 1
        side.count -= 1
        if run.count - at < SIDE_NEAR:
            for i in range(SIDE_NEAR):
                level[i] = level[i + 1]
        else:
            memmove(level, level + 1, <size_t> (run.count - at) * sizeof(Level))
        if run.count < BLOCK_SPARSE and side.n_runs > 1:
            side_thin(side, run)
        return old
    if lots == 0:
        return 0
    if run.count == BLOCK_LEVELS:
        run = side_split(side, run, &at)
        level = &run.block.levels[at]
    if run.count - at < SIDE_NEAR:
        for i in range(SIDE_NEAR, 0, -1):
            level[i] = level[i - 1]
    else:
        memmove(level + 1, level, <size_t> (run.count - at) * sizeof(Level))
    level.key = key
    level.lots = lots
    run.count += 1
    side.count += 1
    return 0


cdef inline void side_prefetch(const Side* side, int64_t key) noexcept nogil:
    """Has the memory fetched that setting ``key`` will need, if that is far from the touch.

    Over many books most of it lies beyond the nearer caches; so an update waits for all its levels at once, not for each.
    """
    cdef const Run* run
    cdef Py_ssize_t at
    if side.count and key < side.runs[side.n_runs - 1].low:
        run = side_run(side, key)
        for at in range(0, BLOCK_LEVELS, 4):       # a line of the cache each
            prefetch(&run.block.levels[at])


cdef inline const void* side_touch(const Side* side, const void** run, const void** start) noexcept nogil:
    """Where the best level stands, the run that it is in and where that one's levels begin; NULL if there is none."""
    cdef const Run* last = side.runs + side.n_runs - 1
    if side.count == 0:
        run[0] = start[0] = NULL
        return NULL
    run[0] = last
    start[0] = last.block.levels
    return &last.block.levels[last.count - 1]


# ---- from the best on: place = side_best(side); while place.at >= 0: … ; place_next(side, &place)

cdef inline Place side_best(const Side* side) noexcept nogil:
    cdef Place place
    place.run = side.runs + max(side.n_runs - 1, <Py_ssize_t> 0)
    place.at = place.run.count - 1 if side.count else -1
    return place


cdef inline const Level* place_level(const Place* place) noexcept nogil:
    return &place.run.block.levels[place.at]


cdef inline void place_next(const Side* side, Place* place) noexcept nogil:
    place.at -= 1
    if place.at < 0 and place.run != side.runs:
        place.run -= 1
        place.at = place.run.count - 1


cdef inline int64_t side_best_key(const Side* side, int64_t none) noexcept nogil:
    cdef const Run* run
    if side.count == 0:
        return none
    run = side.runs + side.n_runs - 1
    return run.block.levels[run.count - 1].key


cdef inline Py_ssize_t side_top(const Side* side, Py_ssize_t depth, int64_t* flat) noexcept nogil:
    """Writes the best ``depth`` levels, flat and best first; returns how many there were."""
    cdef Py_ssize_t count = min(depth, side.count)
    cdef Py_ssize_t left = count
    cdef const Run* run = side.runs + side.n_runs
    cdef const Level* best
    cdef int64_t sign = side.sign
    cdef Py_ssize_t i, n
    while left > 0:
        run -= 1
        best = run.block.levels + (run.count - 1)
        n = min(left, run.count)
        for i in range(n):
            flat[2 * i] = best[-i].key * sign
            flat[2 * i + 1] = best[-i].lots
        flat += 2 * n
        left -= n
    return count
