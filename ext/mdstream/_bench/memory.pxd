"""Memory that grows."""

from libc.stdlib cimport realloc


cdef inline void* grown(void* old, Py_ssize_t size) except NULL nogil:
    """``old``, moved to ``size`` bytes; MemoryError leaves it as it is."""
    cdef void* made = realloc(old, <size_t>size)
    if made == NULL:
        with gil:
            raise MemoryError(f"no memory for {size} bytes of a load test")
    return made
