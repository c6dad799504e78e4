"""Flat runs of levels, [ticks, lots, ticks, lots, …], as on the wire; best first unless stated otherwise.

A zeroed ``Levels`` is empty. Its owner ends with ``levels_free``.
"""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #define MDSTREAM_MAX_NUMBER ((int64_t) 9007199254740991)
    """
    # 2^53 - 1: the greatest magnitude of ticks, lots, seq, epoch and timestamps (an enum would not hold it).
    const int64_t MAX_NUMBER "MDSTREAM_MAX_NUMBER"

cdef enum:
    SPARE_LEVELS = 64

cdef struct Levels:
    int64_t* values         # 2 × count numbers: ticks, lots, …
    Py_ssize_t count        # levels
    Py_ssize_t capacity     # levels

# Room for `capacity` levels in all; keeps what is there.
cdef int levels_reserve(Levels* levels, Py_ssize_t capacity) except -1 nogil
cdef void levels_free(Levels* levels) noexcept nogil
cdef int levels_append(Levels* levels, int64_t ticks, int64_t lots) except -1 nogil
cdef int levels_copy(Levels* to, const Levels* source) except -1 nogil
cdef inline void levels_swap(Levels* one, Levels* other) noexcept nogil:
    one[0], other[0] = other[0], one[0]

# `kept` takes over the levels of `scratch`: by exchange, or by a copy where scratch has far more room than they need. What is kept has
# room for twice its levels and a few at most, however large the scratch has become.
cdef inline int levels_keep(Levels* kept, Levels* scratch) except -1 nogil:
    if scratch.capacity <= 2 * scratch.count + SPARE_LEVELS:
        levels_swap(kept, scratch)
        return 0
    return levels_keep_copy(kept, scratch)


cdef int levels_keep_copy(Levels* kept, const Levels* scratch) except -1 nogil

# The changes from view `old` to view `new`: a new or changed level with its size, a removed one with 0; best first. Replaces what
# `out` held.
cdef int levels_diff(const Levels* old, const Levels* new, bint is_bid, Levels* out) except -1 nogil
# From a Python sequence or int64 array (flat, or n × 2) and back; for tests, the publisher and the client. Raises TypeError (no
# integer), ValueError (odd length, wrong shape) or OverflowError (beyond 64 bits). Does not check ranges.
cdef int levels_from_object(Levels* levels, object flat) except -1
cdef list levels_to_list(const Levels* levels)


cdef inline bint levels_in_order(const Levels* levels, int64_t sign, int64_t least_lots) noexcept nogil:
    """Whether a run is best first, each price once, no size below ``least_lots``; for checks."""
    cdef Py_ssize_t i
    for i in range(levels.count):
        if levels.values[2 * i + 1] < least_lots:
            return False
        if i and levels.values[2 * i] * sign >= levels.values[2 * i - 2] * sign:
            return False
    return True
