"""The scanner as a transport's protocol drives it."""

from mdstream._core.fanout.after_read cimport AfterRead
from mdstream._core.ingest.nats_scanner cimport NatsScanner

cdef class NatsTap:
    cdef NatsScanner scanner
    cdef dict counters
    cdef object pass_on
    cdef object on_fault
    cdef AfterRead after_read
    cdef object space           # memoryview of what was offered last
    cdef char* space_at
    cdef Py_ssize_t space_size
    cdef readonly bint busy     # messages are being handed over
    cdef bint given_up          # what came is not the NATS protocol: all is passed on

    cdef int c_take(self) except -1
    cdef int c_sift(self) except -1
    cdef int c_pass(self, Py_ssize_t size) except -1
