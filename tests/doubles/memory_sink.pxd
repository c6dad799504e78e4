"""A sink that keeps what it is handed, and a sender that writes to such sinks."""

from libc.stdint cimport uint64_t

from mdstream._core.fanout.sender cimport Sender
from mdstream._core.fanout.sink cimport Delivery, Sink

cdef class MemorySink(Sink):
    cdef readonly uint64_t writes
    cdef readonly uint64_t bytes_written
    cdef readonly uint64_t compressed   # compressed messages that were kept
    cdef readonly int close_code
    cdef public uint64_t end_at_write
    cdef Py_ssize_t room
    cdef bint keep
    cdef list kept

    cdef void c_close(self) noexcept
    cdef int c_keep(self, const Delivery* first) except -1

cdef class MemorySender(Sender):
    cdef list sinks                     # by `fd`
