from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.string cimport memcpy

cdef enum:
    POOL_KEPT = 1024        # most spare blocks that are kept, 1.1 MB
    SPLIT_BEST = 46         # levels that stay in the lower block when the best one is split: the best block stays small
    SPLIT_ROOM = 16         # a block takes so many levels after a split, a merge or a fill before it is split again

# Spare blocks, for all sides. A spare block begins with the address of the next one.
cdef Block* pool = NULL
cdef Py_ssize_t pool_count = 0


cdef int pool_reserve(Py_ssize_t blocks) except -1:
    global pool, pool_count
    cdef Block* block
    while pool_count < blocks:
        block = <Block*> PyMem_RawMalloc(sizeof(Block))
        if block == NULL:
            raise MemoryError(f"no memory for {blocks} blocks of levels")
        (<Block**> block)[0] = pool
        pool = block
        pool_count += 1
    return 0


cdef Block* pool_take() noexcept:
    global pool, pool_count
    cdef Block* block = pool
    check(pool_count > 0)
    check(block != NULL)
    pool = (<Block**> block)[0]
    pool_count -= 1
    return block


cdef void pool_give(Block* block) noexcept:
    global pool, pool_count
    if pool_count >= POOL_KEPT:
        PyMem_RawFree(block)
        return
    (<Block**> block)[0] = pool
    pool = block
    pool_count += 1


cdef void pool_trim(Py_ssize_t blocks) noexcept:
    while pool_count > blocks:
        PyMem_RawFree(pool_take())


# ---- room

cdef Py_ssize_t blocks_for(const Side* side, Py_ssize_t n) noexcept nogil:
    """Most blocks that setting ``n`` levels, and setting them back, can take.

    One level may split each run that is full now; every further split needs SPLIT_ROOM levels more.
    """
    return min(2 * n, side.n_runs) + 2 * n // SPLIT_ROOM + 1


cdef int runs_reserve(Side* side, Py_ssize_t runs) except -1:
    cdef Run* grown
    if runs <= side.capacity:
        return 0
    runs = max(runs, side.capacity + (side.capacity >> 1))
    grown = <Run*> PyMem_RawRealloc(side.runs, <size_t> runs * sizeof(Run))
    if grown == NULL:
        raise MemoryError(f"no memory for {runs} blocks of levels")
    side.runs = grown
    side.capacity = runs
    return 0


cdef int sides_reserve(Side* bids, Py_ssize_t n_bids, Side* asks, Py_ssize_t n_asks) except -1:
    cdef Py_ssize_t for_bids = blocks_for(bids, n_bids)
    cdef Py_ssize_t for_asks = blocks_for(asks, n_asks)
    pool_trim(POOL_KEPT + for_bids + for_asks)
    pool_reserve(for_bids + for_asks)
    runs_reserve(bids, bids.n_runs + for_bids)
    runs_reserve(asks, asks.n_runs + for_asks)
    if bids.n_runs == 0:
        add_run(bids, bids.runs, INT64_MIN)
    if asks.n_runs == 0:
        add_run(asks, asks.runs, INT64_MIN)
    return 0


cdef void side_free(Side* side) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(side.n_runs):
        PyMem_RawFree(side.runs[i].block)
    PyMem_RawFree(side.runs)
    side.runs = NULL
    side.n_runs = side.capacity = side.count = 0


cdef void side_clear(Side* side) noexcept:
    while side.n_runs > 1:
        side.n_runs -= 1
        pool_give(side.runs[side.n_runs].block)
    if side.n_runs:
        side.runs[0].count = 0
    side.count = 0


# ---- runs

cdef Run* add_run(Side* side, Run* at, int64_t low) noexcept:
    check(side.n_runs < side.capacity)
    check(side.runs <= at)
    check(at <= side.runs + side.n_runs)
    memmove(at + 1, at, <size_t> (side.runs + side.n_runs - at) * sizeof(Run))
    side.n_runs += 1
    at.low = low
    at.block = pool_take()
    at.count = 0
    return at


cdef void drop_run(Side* side, Run* run) noexcept:
    check(side.n_runs > 1)
    pool_give(run.block)
    side.n_runs -= 1
    memmove(run, run + 1, <size_t> (side.runs + side.n_runs - run) * sizeof(Run))
    side.runs[0].low = INT64_MIN


cdef Run* side_split(Side* side, Run* run, Py_ssize_t* at) noexcept:
    cdef bint best = run == side.runs + side.n_runs - 1
    cdef Py_ssize_t stay = SPLIT_BEST if best else BLOCK_LEVELS // 2
    cdef Run* upper = add_run(side, run + 1, run.block.levels[stay].key)
    check(run.count == BLOCK_LEVELS)
    upper.count = run.count - stay
    memcpy(upper.block.levels, run.block.levels + stay, <size_t> upper.count * sizeof(Level))
    run.count = stay
    check(run_in_order(run))
    check(run_in_order(upper))
    if at[0] <= stay:       # at `stay` the level is below upper.low: it goes to the end of the lower run
        return run
    at[0] -= stay
    return upper


cdef void side_thin(Side* side, Run* run) noexcept:
    check(run.count < BLOCK_SPARSE)
    if run.count == 0:
        drop_run(side, run)
    elif run > side.runs and (run - 1).count + run.count <= BLOCK_MERGED:
        merge(side, run - 1)
    elif run < side.runs + side.n_runs - 1 and run.count + (run + 1).count <= BLOCK_MERGED:
        merge(side, run)


cdef void merge(Side* side, Run* lower) noexcept:
    """Moves the levels of the run above ``lower`` into it."""
    cdef Run* upper = lower + 1
    check(lower.count + upper.count <= BLOCK_MERGED)
    memcpy(lower.block.levels + lower.count, upper.block.levels, <size_t> upper.count * sizeof(Level))
    lower.count += upper.count
    drop_run(side, upper)
    check(run_in_order(lower))


cdef void side_fill(Side* side, const int64_t* flat, Py_ssize_t n) noexcept:
    cdef Run* run = side.runs
    cdef Level* level
    cdef Py_ssize_t i
    side_clear(side)
    for i in range(n - 1, -1, -1):
        if run.count == BLOCK_MERGED:
            run = add_run(side, run + 1, flat[2 * i] * side.sign)
        level = &run.block.levels[run.count]
        level.key = flat[2 * i] * side.sign
        level.lots = flat[2 * i + 1]
        run.count += 1
    side.count = n
    check(side_in_order(side))
