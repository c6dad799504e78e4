from libc.string cimport memmove

from mdstream._core.orderbook.checksum cimport levels_crc
from mdstream._core.orderbook.levels cimport levels_copy, levels_free, levels_reserve


cdef void ladder_free(Ladder* ladder) noexcept nogil:
    levels_free(&ladder.bids)
    levels_free(&ladder.asks)


cdef bint ladder_load(Levels* side, const Levels* levels, bint is_bid) except -1 nogil:
    cdef int64_t sign = 1 if is_bid else -1
    cdef Py_ssize_t i
    for i in range(levels.count):
        if levels.values[2 * i + 1] <= 0 or i and levels.values[2 * i] * sign >= levels.values[2 * i - 2] * sign:
            return False
    levels_copy(side, levels)
    return True


cdef int ladder_apply(Levels* side, const Levels* changes, bint is_bid) except -1 nogil:
    cdef Py_ssize_t i
    for i in range(changes.count):
        set_level(side, changes.values[2 * i], changes.values[2 * i + 1], 1 if is_bid else -1)
    return 0


cdef int set_level(Levels* side, int64_t ticks, int64_t lots, int64_t sign) except -1 nogil:
    cdef Py_ssize_t at = 0, high = side.count, middle
    while at < high:
        middle = (at + high) >> 1
        if side.values[2 * middle] * sign > ticks * sign:
            at = middle + 1
        else:
            high = middle
    if at < side.count and side.values[2 * at] == ticks:
        if lots:
            side.values[2 * at + 1] = lots
            return 0
        side.count -= 1
        move_levels(side, at, at + 1, side.count - at)
    elif lots:
        levels_reserve(side, side.count + 1)
        move_levels(side, at + 1, at, side.count - at)
        side.values[2 * at], side.values[2 * at + 1] = ticks, lots
        side.count += 1
    return 0


cdef inline void move_levels(Levels* side, Py_ssize_t to, Py_ssize_t source, Py_ssize_t count) noexcept nogil:
    memmove(side.values + 2 * to, side.values + 2 * source, <size_t>count * 2 * sizeof(int64_t))


cdef bint ladder_crossed(const Ladder* ladder) noexcept nogil:
    return ladder.bids.count > 0 and ladder.asks.count > 0 and ladder.bids.values[0] >= ladder.asks.values[0]


cdef uint32_t ladder_crc(const Ladder* ladder) noexcept nogil:
    return levels_crc(&ladder.bids, &ladder.asks)
