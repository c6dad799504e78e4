"""Sinks that take no more: nothing is queued for them, and they are brought up to date when they take more again."""

from libc.stdint cimport uint64_t

from mdstream._core.fanout.outbox cimport Outbox
from mdstream._core.fanout.sink cimport Sink

cdef class SlowSinks:
    cdef Outbox out
    cdef set blocked
    cdef uint64_t limit_us      # how long one may be behind
    cdef uint64_t slice_us      # how long one is brought up to date at a time

    # Those that took no more in the last writes.
    cdef int c_mark_filled(self) except -1
    # The sink takes no more: from here on its subscriptions lag.
    cdef int c_block(self, Sink sink) except -1
    # Writes to one that has much linked to it.
    cdef int c_relieve(self, Sink sink) except -1
    # It takes more again.
    cdef int c_unblock(self, Sink sink) except -1
    # Brings its subscriptions up to date, for a slice at most.
    cdef int c_catch_up(self, Sink sink) except -1
    # Ends those that have been behind for too long.
    cdef int c_end_too_slow(self) except -1
