from libc.stdint cimport int64_t, uint64_t

cdef enum:
    EXACT = 2048                    # each value below has its own bucket; 1/1,024 is three significant digits
    HALF = EXACT // 2               # buckets of each doubling above
    EXACT_BITS = 11
    VALUE_BITS = 27                 # 2^27 µs are 134 s
    BUCKETS = EXACT + (VALUE_BITS - EXACT_BITS) * HALF

cdef extern from *:
    int highest_bit "63 - __builtin_clzll"(uint64_t word) noexcept nogil

cdef class Histogram:
    cdef uint64_t[BUCKETS] buckets
    cdef readonly uint64_t count
    cdef readonly uint64_t sum
    cdef int64_t low                # meaningless while count is 0
    cdef readonly int64_t max

    cdef void c_record(self, int64_t value, uint64_t count) noexcept nogil
    cdef void c_reset(self) noexcept nogil


cdef inline Py_ssize_t bucket_of(int64_t value) noexcept nogil:
    """The bucket of a value below 2^VALUE_BITS."""
    cdef int shift
    if value < EXACT:
        return value
    shift = highest_bit(<uint64_t>value) - EXACT_BITS + 1
    return EXACT + (shift - 1) * HALF + (value >> shift) - HALF


cdef inline int64_t bucket_end(Py_ssize_t bucket) noexcept nogil:
    """The greatest value of a bucket."""
    cdef int shift
    if bucket < EXACT:
        return bucket
    shift = <int>((bucket - EXACT) // HALF) + 1
    return (((bucket - EXACT) % HALF + HALF + 1) << shift) - 1
