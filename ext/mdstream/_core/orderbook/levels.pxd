"""Flat runs of levels, [ticks, lots, ticks, lots, …], as they stand on the wire; best first unless said otherwise.

A zeroed ``Levels`` is an empty one. Whoever owns it ends with ``levels_free``.
"""

from libc.stdint cimport int64_t, uint32_t

cdef extern from *:
    """
    #define MDSTREAM_MAX_NUMBER ((int64_t) 9007199254740991)
    """
    # 2^53 - 1: the greatest magnitude of ticks, lots, seq, epoch and timestamps (an enum would not hold it).
    const int64_t MAX_NUMBER "MDSTREAM_MAX_NUMBER"

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


# What turns view `old` into view `new` (both best first): a changed or risen level with its size, a vanished one with 0.
# Replaces what `out` held; best first too.
cdef int levels_diff(const Levels* old, const Levels* new, bint is_bid, Levels* out) except -1 nogil
# CRC-32 (IEEE) of the contract's text over the best ten levels of both sides.
cdef uint32_t levels_crc(const Levels* bids, const Levels* asks) noexcept nogil
# Python sequences or int64 arrays (flat, or n × 2) to Levels and back; for tests, the publisher and the client.
# Raises TypeError (no integer), ValueError (odd length, wrong shape), OverflowError (beyond 64 bits). Ranges are not checked.
cdef int levels_from_object(Levels* levels, object flat) except -1
cdef list levels_to_list(const Levels* levels)
