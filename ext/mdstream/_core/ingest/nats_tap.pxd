"""The scanner as a transport's protocol drives it."""

from mdstream._core.fanout.flush_scheduler cimport FlushScheduler
from mdstream._core.ingest.nats_scanner cimport NatsScanner

cdef class NatsTap:
    cdef NatsScanner scanner
    cdef dict counters
    cdef object pass_on
    cdef object on_fault
    cdef public FlushScheduler scheduler        # told of each read; or None
    cdef object space           # memoryview of what was offered last
    cdef char* space_at
    cdef Py_ssize_t space_size
    cdef bint given_up          # what came is not the NATS protocol: all is passed on

    cdef int c_sift(self) except -1
    cdef int c_pass(self, Py_ssize_t size) except -1
