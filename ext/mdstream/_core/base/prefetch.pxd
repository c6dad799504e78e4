"""Fetches memory into the cache before it is used. Any address may be named: the processor ignores one that it cannot read."""

cdef enum:
    CACHE_LINE = 64             # bytes

cdef extern from *:
    void prefetch "__builtin_prefetch" (const void* at) noexcept nogil


cdef inline void prefetch_range(const void* start, size_t size) noexcept nogil:
    """One fetch for each ``CACHE_LINE`` bytes of ``size``."""
    cdef size_t line
    for line in range((size + CACHE_LINE - 1) // CACHE_LINE):
        prefetch(<const char*>start + CACHE_LINE * line)
