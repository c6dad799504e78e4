"""One side of a book: contiguous prices and sizes, sorted so that the best is last.

Inline functions only, so that a book may be given another storage without touching what uses it. A level is named by its
``key``, which rises towards the best on both sides: the ticks of a bid, the negated ticks of an ask.
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport int64_t
from libc.string cimport memmove

cdef enum:
    SIDE_NEAR = 8           # levels from the touch that are searched one by one
    SIDE_STRIDE = 32        # the first stride of the search beyond

cdef struct Side:
    int64_t* keys           # ascending
    int64_t* lots           # of the same level; never 0
    Py_ssize_t count
    Py_ssize_t capacity
    int64_t sign            # key = ticks × sign: 1 bid, -1 ask


cdef inline void side_free(Side* side) noexcept nogil:
    PyMem_RawFree(side.keys)
    PyMem_RawFree(side.lots)
    side.keys = side.lots = NULL
    side.count = side.capacity = 0


cdef inline int side_reserve(Side* side, Py_ssize_t capacity) except -1 nogil:
    """Room for ``capacity`` levels in all, so that as many can be set without failing."""
    cdef Py_ssize_t grown
    cdef int64_t* moved
    if capacity <= side.capacity:
        return 0
    # Steps by half, and never a power of two: equal strides over many books would share few cache sets.
    grown = max(capacity, side.capacity + (side.capacity >> 1)) + 12
    moved = <int64_t*> PyMem_RawRealloc(side.keys, <size_t> grown * sizeof(int64_t))
    if moved != NULL:
        side.keys = moved
        moved = <int64_t*> PyMem_RawRealloc(side.lots, <size_t> grown * sizeof(int64_t))
    if moved == NULL:
        with gil:
            raise MemoryError(f"no memory for {grown} levels")
    side.lots = moved
    side.capacity = grown
    return 0


cdef inline Py_ssize_t side_find(const Side* side, int64_t key) noexcept nogil:
    """Levels below ``key``: where it stands, or where it would be inserted. Searched from the touch."""
    cdef const int64_t* keys = side.keys
    cdef Py_ssize_t high = side.count           # what is at or above `key` begins at or before `high`
    cdef Py_ssize_t low = max(high - SIDE_NEAR, <Py_ssize_t> 0)
    cdef Py_ssize_t stride = SIDE_STRIDE
    cdef Py_ssize_t half
    while high > low and keys[high - 1] >= key:
        high -= 1
    if high > low or low == 0:
        return high
    low = max(high - stride, <Py_ssize_t> 0)
    while low > 0 and keys[low - 1] >= key:
        high = low
        stride *= 2
        low = max(high - stride, <Py_ssize_t> 0)
    # The answer lies in low..high; halving without a branch that could be mispredicted.
    stride = high - low
    keys += low
    while stride > 0:
        half = stride - (stride >> 1)
        keys += half if keys[half - 1] < key else 0
        stride >>= 1
    return keys - side.keys


cdef inline int64_t side_get(const Side* side, int64_t key) noexcept nogil:
    """Lots at ``key``, 0 where there is no level."""
    cdef Py_ssize_t at = side_find(side, key)
    return side.lots[at] if at < side.count and side.keys[at] == key else 0


cdef inline int64_t side_set(Side* side, int64_t key, int64_t lots) noexcept nogil:
    """Sets the size of a level, 0 deletes it; returns the size it had. Room must have been reserved."""
    cdef Py_ssize_t at = side_find(side, key)
    cdef size_t above = <size_t> (side.count - at) * sizeof(int64_t)
    cdef int64_t old
    if at < side.count and side.keys[at] == key:
        old = side.lots[at]
        if lots:
            side.lots[at] = lots
            return old
        above -= sizeof(int64_t)
        memmove(&side.keys[at], &side.keys[at + 1], above)
        memmove(&side.lots[at], &side.lots[at + 1], above)
        side.count -= 1
        return old
    if lots:
        memmove(&side.keys[at + 1], &side.keys[at], above)
        memmove(&side.lots[at + 1], &side.lots[at], above)
        side.keys[at] = key
        side.lots[at] = lots
        side.count += 1
    return 0


# ---- iteration from the best on: at = side_best(side); while side_more(side, at): … ; at = side_next(side, at)

cdef inline Py_ssize_t side_best(const Side* side) noexcept nogil:
    return side.count - 1


cdef inline bint side_more(const Side* side, Py_ssize_t at) noexcept nogil:
    return at >= 0


cdef inline Py_ssize_t side_next(const Side* side, Py_ssize_t at) noexcept nogil:
    return at - 1


cdef inline Py_ssize_t side_top(const Side* side, Py_ssize_t depth, int64_t* flat) noexcept nogil:
    """Writes the best ``depth`` levels, flat and best first; returns how many there were."""
    cdef Py_ssize_t n = min(depth, side.count)
    cdef Py_ssize_t last = side.count - 1
    cdef const int64_t* keys = side.keys
    cdef const int64_t* lots = side.lots
    cdef int64_t sign = side.sign
    cdef Py_ssize_t i
    for i in range(n):
        flat[2 * i] = keys[last - i] * sign
        flat[2 * i + 1] = lots[last - i]
    return n
