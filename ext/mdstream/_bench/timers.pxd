"""The clients' timers: a binary heap. A timer is void if its client has a newer generation."""

from libc.stdint cimport int64_t, uint32_t

cdef struct Timer:
    int64_t at_ns
    uint32_t client
    uint32_t generation

cdef struct Timers:             # zeroed: empty
    Timer* heap
    Py_ssize_t count
    Py_ssize_t capacity

cdef int timers_add(Timers* timers, int64_t at_ns, uint32_t client, uint32_t generation) except -1 nogil
# Removes and returns the earliest; there must be one.
cdef Timer timers_take(Timers* timers) noexcept nogil
cdef void timers_free(Timers* timers) noexcept nogil
