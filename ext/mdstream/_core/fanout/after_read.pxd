"""What follows a read from the bus: whoever has something due is called, then the socket may rest."""

from libc.stdint cimport uint64_t

cdef class Wake:
    cdef readonly bint due
    cdef object callback

    cdef int c_set(self) except -1

cdef class Patience:
    cdef public uint64_t us     # how long what comes may wait to be read; 0: somebody waits for it

cdef class AfterRead:
    cdef tuple waiters          # replaced, never changed: one that is called may take itself out
    cdef object socket          # a ReadTransport, or None
    cdef object call_later
    cdef object timer           # while it rests
    cdef uint64_t since_us      # the end of the last read, or of the rest after it

    cdef int c_run(self, bint more) except -1
    cdef uint64_t c_rest_us(self) noexcept
    cdef int c_rest(self, uint64_t rest_us) except -1
