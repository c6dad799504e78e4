from libc.stdlib cimport free

from mdstream._bench.memory cimport grown


cdef int timers_add(Timers* timers, int64_t at_ns, uint32_t client, uint32_t generation) except -1 nogil:
    cdef Py_ssize_t place = timers.count, above
    if timers.count == timers.capacity:
        timers.heap = <Timer*>grown(timers.heap, (2 * timers.capacity + 64) * <Py_ssize_t>sizeof(Timer))
        timers.capacity = 2 * timers.capacity + 64
    timers.count += 1
    while place:
        above = (place - 1) >> 1
        if timers.heap[above].at_ns <= at_ns:
            break
        timers.heap[place] = timers.heap[above]
        place = above
    timers.heap[place] = Timer(at_ns, client, generation)
    return 0


cdef Timer timers_take(Timers* timers) noexcept nogil:
    cdef Timer first = timers.heap[0]
    cdef Timer moved
    cdef Py_ssize_t place = 0, below = 1
    timers.count -= 1
    moved = timers.heap[timers.count]
    while below < timers.count:
        if below + 1 < timers.count and timers.heap[below + 1].at_ns < timers.heap[below].at_ns:
            below += 1
        if timers.heap[below].at_ns >= moved.at_ns:
            break
        timers.heap[place] = timers.heap[below]
        place = below
        below = 2 * place + 1
    timers.heap[place] = moved
    return first


cdef void timers_free(Timers* timers) noexcept nogil:
    free(timers.heap)
    timers.heap = NULL
    timers.count = timers.capacity = 0
