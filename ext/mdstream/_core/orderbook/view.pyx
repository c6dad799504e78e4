from cpython.mem cimport PyMem_RawRealloc
from libc.stdint cimport INT64_MIN, uint64_t
from libc.stdlib cimport qsort

from mdstream._core.base.check cimport check
from mdstream._core.orderbook.levels cimport MAX_NUMBER, levels_in_order, levels_reserve
from mdstream._core.orderbook.side cimport Level, Walk, side_top, walk_from_best, walk_level, walk_on

cdef struct Override:       # a level's size in the view, in place of the side's
    int64_t key
    int64_t lots

cdef struct Merge:          # a side and its overrides, from the best level on
    const Side* side
    Walk walk
    const Override* override
    const Override* end

# Scratch for all views. The functions that touch it are not nogil, so the GIL guards it.
cdef Override* overrides = NULL
cdef Py_ssize_t overrides_capacity = 0

cdef uint64_t summed = 0


cdef uint64_t levels_summed() noexcept:
    return summed


cdef int view_side(const Side* side, Py_ssize_t depth, int64_t group, const Changes* undone, Levels* out) except -1:
    cdef Py_ssize_t n = collect(side, undone) if undone != NULL and undone.count else 0
    cdef Py_ssize_t most = side.count + n
    cdef Merge merge
    if depth > 0:
        most = min(depth, most)
    levels_reserve(out, most)
    if n == 0 and group == 1:
        out.count = side_top(side, most, out.values)
    else:
        merge.side, merge.walk = side, walk_from_best(side)
        merge.override, merge.end = overrides, overrides + n
        out.count = cut(&merge, most, group, out.values)
    check(out.count <= most)
    check(levels_in_order(out, side.sign, 1))
    return 0


cdef int collect(const Side* side, const Changes* undone) except -1:
    """Sorts the changes of this side into overrides, best first; returns how many."""
    global overrides, overrides_capacity
    cdef bint is_ask = side.sign < 0
    cdef Py_ssize_t i, n = 0
    cdef Override* grown
    if undone.count > overrides_capacity:
        grown = <Override*> PyMem_RawRealloc(overrides, <size_t> undone.count * sizeof(Override))
        if grown == NULL:
            raise MemoryError(f"no memory to undo {undone.count} level changes")
        overrides, overrides_capacity = grown, undone.count
    for i in range(undone.count):
        if (undone.values[i].level & 1) == is_ask:
            overrides[n].key = (undone.values[i].level >> 1) * side.sign
            overrides[n].lots = undone.values[i].lots_old
            n += 1
    qsort(overrides, <size_t> n, sizeof(Override), &best_first)
    return n


cdef int best_first(const void* left, const void* right) noexcept nogil:
    cdef int64_t a = (<const Override*> left).key
    cdef int64_t b = (<const Override*> right).key
    return (a < b) - (a > b)


cdef inline bint next_level(Merge* merge, int64_t* key, int64_t* lots) noexcept:
    """The next level that has a size; False at the end."""
    cdef int64_t current
    cdef const Level* level
    while merge.override < merge.end:
        current = walk_level(&merge.walk).key if merge.walk.at >= 0 else INT64_MIN
        if current > merge.override.key:
            break
        if current == merge.override.key:
            walk_on(merge.side, &merge.walk)
        key[0], lots[0] = merge.override.key, merge.override.lots
        merge.override += 1
        if lots[0]:
            return True
    if merge.walk.at < 0:
        return False
    level = walk_level(&merge.walk)
    key[0], lots[0] = level.key, level.lots
    walk_on(merge.side, &merge.walk)
    return True


cdef inline int64_t floor_to(int64_t key, int64_t group) noexcept nogil:
    """The greatest multiple of ``group`` at or below ``key``. In keys that rounds bids down and asks up."""
    cdef int64_t remainder = key % group        # with the sign of `key`, as in C
    check(group > 0)
    return key - remainder - (group if remainder < 0 else 0)


cdef Py_ssize_t cut(Merge* merge, Py_ssize_t most, int64_t group, int64_t* flat) noexcept:
    cdef int64_t edge = 0       # the bucket being summed takes keys at or above
    cdef int64_t key = 0, lots = 0
    cdef Py_ssize_t n = 0
    cdef uint64_t walked = 0
    global summed
    while next_level(merge, &key, &lots):
        walked += 1
        if n and key >= edge:
            flat[2 * n - 1] = min(flat[2 * n - 1] + lots, MAX_NUMBER)
            continue
        if n == most:
            break
        edge = floor_to(key, group)
        # The contract has no numbers beyond MAX_NUMBER: a bucket with its edge there is named by the last number.
        flat[2 * n] = max(edge, -MAX_NUMBER) * merge.side.sign
        flat[2 * n + 1] = lots
        n += 1
    summed += walked
    return n
