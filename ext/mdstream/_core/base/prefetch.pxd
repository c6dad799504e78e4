"""Has the memory at an address fetched into the cache, soon enough before it is used; any address may be named."""

cdef extern from *:
    void prefetch "__builtin_prefetch" (const void* at) noexcept nogil
