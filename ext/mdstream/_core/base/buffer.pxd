"""A growing run of bytes for encoders: reserve the worst case once, then write without checks, then say where the end is."""

from mdstream._core.base.check cimport check

cdef struct Buffer:
    char* data
    Py_ssize_t size
    Py_ssize_t capacity

# Makes room for `more` bytes after `size`; MemoryError leaves the buffer as it was.
cdef int buffer_reserve(Buffer* buffer, Py_ssize_t more) except -1 nogil
cdef void buffer_free(Buffer* buffer) noexcept nogil


cdef inline int buffer_end(Buffer* buffer, const char* end) noexcept nogil:
    """The bytes written so far end at ``end``; returns 0."""
    check(buffer.data + buffer.size <= end)
    check(end <= buffer.data + buffer.capacity)
    buffer.size = end - buffer.data
    return 0
