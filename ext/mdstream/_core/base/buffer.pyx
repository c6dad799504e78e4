from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc


cdef int buffer_reserve(Buffer* buffer, Py_ssize_t more) except -1 nogil:
    cdef Py_ssize_t needed = buffer.size + more
    cdef Py_ssize_t capacity
    cdef char* data
    check(0 <= buffer.size)
    check(buffer.size <= buffer.capacity)
    if more >= 0 and needed <= buffer.capacity:
        return 0
    if more < 0 or needed < 0:
        with gil:
            raise MemoryError(f"a buffer of {buffer.size} bytes cannot take {more} more")
    capacity = max(needed, buffer.capacity + (buffer.capacity >> 1), <Py_ssize_t> 256)
    data = <char*> PyMem_RawRealloc(buffer.data, <size_t> capacity)
    if data == NULL:
        with gil:
            raise MemoryError(f"no memory for a buffer of {capacity} bytes")
    buffer.data = data
    buffer.capacity = capacity
    return 0


cdef void buffer_free(Buffer* buffer) noexcept nogil:
    PyMem_RawFree(buffer.data)
    buffer.data = NULL
    buffer.size = 0
    buffer.capacity = 0
