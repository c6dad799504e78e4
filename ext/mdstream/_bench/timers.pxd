"""What is to happen to which client when: a binary heap. An entry of a client's earlier generation is void."""

from libc.stdint cimport int64_t, uint32_t

cdef struct Timer:
    int64_t at_ns
    uint32_t client
    uint32_t generation

cdef struct Timers:             # zeroed: none
    Timer* heap
    Py_ssize_t count
    Py_ssize_t capacity

cdef int timers_add(Timers* timers, int64_t at_ns, uint32_t client, uint32_t generation) except -1 nogil
# Takes the earliest, which must be there.
cdef Timer timers_take(Timers* timers) noexcept nogil
cdef void timers_free(Timers* timers) noexcept nogil
