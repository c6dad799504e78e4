"""One side of a book: its levels in order, in blocks so small that inserting a level moves few others.

A level is identified by its ``key``, which rises towards the best level on both sides: the ticks of a bid, the negated ticks of
an ask. Blocks make a change far from the best level as cheap as one near it, for sparse prices and dense ones; most changes of a
real feed are far. The best level is last, so that a change near it moves least.

The functions of the hot path are inline, so a book can get another storage without a change to its users.
"""

from libc.stdint cimport INT64_MIN, int64_t
from libc.string cimport memmove

from mdstream._core.base.check cimport check
from mdstream._core.base.prefetch cimport prefetch_range

cdef enum:
    BLOCK_LEVELS = 62       # not a power of two: equal strides over many books would share few cache sets
    BLOCK_SPARSE = 15       # a block that falls below is merged with a neighbour, if the two then leave room
    BLOCK_MERGED = 46       # most levels of a block after a merge, or when filled from a snapshot
    SIDE_NEAR = 8           # levels at the end of a block that are searched, or moved, without a branch

cdef struct Level:
    int64_t key
    int64_t lots            # never 0

cdef struct Block:
    Level[BLOCK_LEVELS + SIDE_NEAR] levels  # ascending; the spare room is for moves of a fixed length

cdef struct Run:            # a block in its order
    int64_t low             # its keys are at or above, those of the run before below; INT64_MIN in the first run
    Block* block
    Py_ssize_t count        # levels; 0 only if the side is empty

cdef struct Side:
    Run* runs               # ascending
    Py_ssize_t n_runs       # 0 until room is first reserved
    Py_ssize_t capacity     # of runs
    Py_ssize_t count        # levels
    int64_t sign            # key = ticks × sign: 1 bid, -1 ask

cdef struct Walk:           # through the levels of a side, from the best on
    const Run* run
    Py_ssize_t at           # of the level in its block; -1: past the last


# Not nogil: the functions that take or give back blocks. All sides share the spare blocks, and the GIL guards them.
cdef void side_free(Side* side) noexcept nogil
# Makes room to set so many levels on each side, and to set them back, without failing.
cdef int sides_reserve(Side* bids, Py_ssize_t n_bids, Side* asks, Py_ssize_t n_asks) except -1
cdef void side_clear(Side* side) noexcept
# Replaces a side by levels, flat and best first. Room for as many must have been reserved.
cdef void side_fill(Side* side, const int64_t* flat, Py_ssize_t n) noexcept
# Splits a full run so that a level can be inserted at `at`; returns the run to insert it in, and its index there.
cdef Run* side_split(Side* side, Run* run, Py_ssize_t* at) noexcept
# Merges a run that has few levels left, or removes it if it has none.
cdef void side_thin(Side* side, Run* run) noexcept


cdef inline Run* side_run(const Side* side, int64_t key) noexcept nogil:
    """The run that has ``key``, or would have it. There must be a run."""
    cdef Run* run = side.runs
    cdef Run* last = run + side.n_runs - 1
    cdef Py_ssize_t n = side.n_runs - 1
    cdef Py_ssize_t half
    check(side.n_runs > 0)
    check(side.runs.low == INT64_MIN)
    if key >= last.low:
        return last
    # The last run with low ≤ key; halves without a branch that could be mispredicted.
    while n > 1:
        half = n >> 1
        run += half if run[half].low <= key else 0
        n -= half
    return run


cdef inline Py_ssize_t run_find(const Run* run, int64_t key) noexcept nogil:
    """Levels of the run below ``key``: the index where it is, or would be inserted."""
    cdef const Level* level = run.block.levels
    cdef Py_ssize_t n = run.count
    cdef Py_ssize_t half
    while n > 1:
        half = n >> 1
        level += half & -<Py_ssize_t> (level[half - 1].key < key)
        n -= half
    return level - run.block.levels + (n & (level.key < key))


cdef inline Py_ssize_t touch_find(const Run* run, int64_t key) noexcept nogil:
    """run_find for the best run, where most keys are near the end: compares the last few without a branch."""
    cdef const Level* levels = run.block.levels
    cdef Py_ssize_t high = run.count
    cdef Py_ssize_t i, above = 0
    if high < SIDE_NEAR or levels[high - SIDE_NEAR].key >= key:
        return run_find(run, key)
    for i in range(1, SIDE_NEAR):
        above += levels[high - i].key >= key
    return high - above


cdef inline int64_t side_get(const Side* side, int64_t key) noexcept nogil:
    """Lots at ``key``, 0 where there is no level."""
    cdef const Run* run
    cdef Py_ssize_t at
    if side.count == 0:
        return 0
    run = side_run(side, key)
    at = run_find(run, key)
    return run.block.levels[at].lots if at < run.count and run.block.levels[at].key == key else 0


cdef inline int64_t side_set(Side* side, int64_t key, int64_t lots) noexcept:
    """Sets the size of a level, 0 deletes it; returns the size it had. Room must have been reserved."""
    cdef Run* run = side_run(side, key)
    cdef Py_ssize_t at = touch_find(run, key) if run == side.runs + side.n_runs - 1 else run_find(run, key)
    cdef Level* level = &run.block.levels[at]
    cdef int64_t old
    cdef int i
    check(run.count <= BLOCK_LEVELS)
    check(at == 0 or run.block.levels[at - 1].key < key)
    check(at == run.count or run.block.levels[at].key >= key)
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
    """Fetches the memory that setting ``key`` will need, unless it is in the best block.

    With many books most of it is beyond the nearer caches; this way an update waits for all its levels at once, not one by one.
    """
    if side.count and key < side.runs[side.n_runs - 1].low:
        prefetch_range(side_run(side, key).block.levels, BLOCK_LEVELS * sizeof(Level))


cdef inline const void* side_touch(const Side* side, const void** run, const void** start) noexcept nogil:
    """The addresses of the best level, of its run and of the first level of that run; NULL if the side is empty."""
    cdef const Run* last
    if side.count == 0:
        run[0] = start[0] = NULL
        return NULL
    last = side.runs + (side.n_runs - 1)
    run[0] = last
    start[0] = last.block.levels
    return &last.block.levels[last.count - 1]


# ---- walk = walk_from_best(side); while walk.at >= 0: … walk_level(&walk) … ; walk_on(side, &walk)

cdef inline Walk walk_from_best(const Side* side) noexcept nogil:
    cdef Walk walk
    walk.run = side.runs + max(side.n_runs - 1, <Py_ssize_t> 0)
    walk.at = walk.run.count - 1 if side.count else -1
    return walk


cdef inline const Level* walk_level(const Walk* walk) noexcept nogil:
    check(0 <= walk.at)
    check(walk.at < walk.run.count)
    return &walk.run.block.levels[walk.at]


cdef inline void walk_on(const Side* side, Walk* walk) noexcept nogil:
    walk.at -= 1
    if walk.at < 0 and walk.run != side.runs:
        walk.run -= 1
        walk.at = walk.run.count - 1


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


cdef inline bint run_in_order(const Run* run) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(run.count):
        if run.block.levels[i].lots <= 0 or run.block.levels[i].key < run.low:
            return False
        if i and run.block.levels[i].key <= run.block.levels[i - 1].key:
            return False
    return True


cdef inline bint side_in_order(const Side* side) noexcept nogil:
    """Whether every run is in order, above the run before and, unless it is the only one, not empty; for checks."""
    cdef Py_ssize_t i, count = 0
    for i in range(side.n_runs):
        if not run_in_order(&side.runs[i]) or (side.n_runs > 1 and side.runs[i].count == 0):
            return False
        if i and side.runs[i].low <= side.runs[i - 1].block.levels[side.runs[i - 1].count - 1].key:
            return False
        count += side.runs[i].count
    return count == side.count
