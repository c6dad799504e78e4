"""Heartbeats, spread over time: a wheel of slots, each with the sinks that it serves. There is no timer per connection."""

from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.fanout.outbox cimport Outbox
from mdstream._core.fanout.sink cimport Sink

cdef class Heartbeats:
    cdef readonly Py_ssize_t n_sinks
    cdef list slots
    cdef uint64_t interval_us
    cdef uint64_t slot_us
    cdef uint64_t turn          # the slot last served, counted from the clock's zero
    cdef uint32_t next_slot     # for the next sink
    cdef Buffer pairs           # (sub, seq) of what a heartbeat lists

    cdef int c_add(self, Sink sink) except -1
    cdef int c_remove(self, Sink sink) except -1
    # Sends what is due at out.now_us, and ends sinks whose peer was silent for too long.
    cdef int c_serve(self, Outbox out) except -1
    cdef int c_beat(self, Outbox out, Sink sink) except -1
    cdef Py_ssize_t c_collect_silent(self, Sink sink) except -1
