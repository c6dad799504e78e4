"""A growing run of bytes that encoders write to: reserve once for the worst case, then write unchecked."""

cdef struct Buffer:
    char* data
    Py_ssize_t size
    Py_ssize_t capacity

cdef int buffer_reserve(Buffer* buffer, Py_ssize_t more) except -1 nogil    # room for `more` bytes past size
cdef void buffer_free(Buffer* buffer) noexcept nogil
