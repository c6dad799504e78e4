"""What every client is told first, and the name that its session is given."""

from libc.stdint cimport uint64_t

cdef class WelcomeBytes:
    cdef tuple parts            # by format: the bytes before the name, between it and the time, and after that

    # `name` has sixteen ASCII characters, `time_us` is past 2**32.
    cdef bytes c_encode(self, int format, str name, uint64_t time_us)

cdef class Names:
    cdef str digits
    cdef Py_ssize_t at

    cdef str c_take(self)
